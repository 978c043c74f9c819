"""Deviations from the protocol: each has a kind and a scope, and excuses that and nothing else.

A line of the log, event ``deviation``: ``{"kind", "text", "reader", "session", "presentation"}``. ``missing`` lets the
key be opened without the readings in its scope, ``unsigned`` takes scores that no signature covers, ``exchanged`` takes
a sheet other than the one that was received or stood when the key was opened; these three name a reader. ``other``
only stands in the report. With ``population: per-protocol`` the readings in the scope of any but ``missing`` are left
out, one presentation where it names one. A reader added after the export (event ``reader-added``) is a deviation
of kind ``added`` with this reader as its scope.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from reader_study import audit_log
from reader_study.log_lines import ADDED
from reader_study.study import LOG, Study, open_study
from recon.errors import ReconError

DeviationKind = Literal["missing", "unsigned", "exchanged", "other"]
KINDS: tuple[str, ...] = get_args(DeviationKind)


@dataclass(frozen=True)
class Deviation:
    """One logged deviation. ``reader``, ``session`` and ``presentation`` narrow its scope; None is all of them."""

    index: int  # of its line in the log
    time: str  # UTC, ISO 8601
    kind: str
    text: str
    reader: str | None
    session: int | None
    presentation: str | None

    def within(self, reader: str, session: int, presentation: str | None = None) -> bool:
        """Does the scope hold this session, or this presentation of it?"""
        return (
            self.reader in (None, reader)
            and self.session in (None, session)
            and self.presentation in (None, presentation)
        )

    def excuses(self, kind: DeviationKind, reader: str, session: int, presentation: str | None = None) -> bool:
        """Is it of this kind, and within its scope?"""
        return self.kind == kind and self.within(reader, session, presentation)

    def __str__(self) -> str:
        names = ("reader", "session", "presentation")
        scope = ", ".join(f"{name} {getattr(self, name)}" for name in names if getattr(self, name) is not None)
        return f"{self.kind}, {scope or 'whole study'}: {self.text}"


def deviations(entries: Iterable[audit_log.LogEntry]) -> tuple[Deviation, ...]:
    """The deviations in a log. One without a known kind, or without the reader that its kind needs, is ``other``."""
    found = []
    for entry in entries:
        said = entry.said
        if entry.event == "deviation":
            kind = said.kind if said.kind in KINDS and said.reader else "other"
            scope = (said.reader, said.session, said.presentation)
            found.append(Deviation(entry.index, entry.time, kind, said.text, *scope))
        if entry.event == ADDED:
            text = f"added after the export in place of {said.in_place_of}: {said.text}"
            found.append(Deviation(entry.index, entry.time, "added", text, said.reader, None, None))
    return tuple(found)


def excused(
    found: Sequence[Deviation], kind: DeviationKind, reader: str, session: int, presentation: str | None = None
) -> bool:
    """Does one of the deviations excuse this?"""
    return any(deviation.excuses(kind, reader, session, presentation) for deviation in found)


def log_deviation(
    folder: str | Path,
    kind: str,
    text: str,
    reader: str | None = None,
    session: int | None = None,
    presentation: str | None = None,
) -> audit_log.LogEntry:
    """Log a deviation from the protocol; a presentation tells reader and session itself.

    Raises ReconError for a kind or a scope that does not exist, and where the kind needs a reader and names none.
    """
    study = open_study(folder)
    if kind not in KINDS:
        raise ReconError(f"deviation: kind '{kind}' is not one of {', '.join(KINDS)}")
    if not text.strip():
        raise ReconError("a deviation needs a text that says what happened")
    if presentation is not None:
        reader, session = _owner(study, presentation, reader, session)
    if reader is not None and reader not in _names(study):
        raise ReconError(f"deviation: reader '{reader}' is not in the protocol")
    if session is not None and not 1 <= session <= study.protocol.sessions.count:
        raise ReconError(f"deviation: the protocol has no session {session}, only {study.protocol.sessions.count}")
    if kind != "other" and reader is None:
        raise ReconError(f"deviation: kind '{kind}' excuses something, so it must name whose with --reader")
    details: dict[str, Any] = {"kind": kind, "text": text.strip(), "reader": reader, "session": session}
    return audit_log.append(study.folder / LOG, "deviation", {**details, "presentation": presentation})


def _names(study: Study) -> set[str]:
    rule = study.protocol.adjudication
    third = [rule.reader] if rule is not None else []
    return {*study.readers, *third, *(entry.id for entry in study.protocol.readers)}


def _owner(study: Study, presentation: str, reader: str | None, session: int | None) -> tuple[str, int]:
    for package in study.packages:
        if presentation in {entry.id for entry in package.presentations}:
            if reader not in (None, package.reader) or session not in (None, package.session):
                raise ReconError(
                    f"deviation: presentation {presentation} belongs to reader {package.reader}, session "
                    f"{package.session}"
                )
            return package.reader, package.session
    raise ReconError(f"deviation: presentation {presentation} was never exported for this study")
