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
