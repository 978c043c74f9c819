"""Where the scores of an analysis came from."""

from dataclasses import dataclass, field

from reader_study.conduct import Conduct


@dataclass(frozen=True)
class Provenance:
    """Where the scores came from: for the report's first page and its audit section."""

    study: str
    protocol_version: str
    log_head: str
    deviations: tuple[str, ...] = ()
    unsigned: tuple[str, ...] = ()
    sealed: bool = True
    conduct: Conduct = field(default_factory=Conduct)
    notice: str = ""
    version: str = ""

    @property
    def departures(self) -> tuple[str, ...]:
        """What differs from the plan, for the first page: what log and sheets tell, and what was logged as a deviation.

        A reader added after the export is among the former.
        """
        logged = (f"Logged: {text}" for text in self.deviations if not text.startswith("added,"))
        return (*self.conduct.departures, *logged)
