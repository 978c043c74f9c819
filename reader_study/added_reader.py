"""A reader added after the export: in the place of another one, whose cases, sessions and orders are taken over.

A line of the log, event ``reader-added``: ``{"reader", "experience", "in_place_of", "text", "packages", "worklists",
"shows"}``; ``shows`` has for each new presentation the one of the other reader that shows the same. As that tells no
arm, the key stays sealed, and what it commits to covers the new presentations too. The line counts as a deviation of
kind ``added``.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from reader_study import audit_log
from reader_study.additions import addition
from reader_study.allocation import Presentation
from reader_study.copied_packages import as_copied, copied_patients, write_copy
from reader_study.handed_out import exported
from reader_study.log_lines import ADDED
from reader_study.protocol import NAME
from reader_study.sheet import Package
from reader_study.study import Study, open_study, package_mapping
from reader_study.worklists import write_worklist
from recon.errors import ReconError


def add_reader(folder: str | Path, reader: str, experience: str, in_place_of: str, text: str) -> audit_log.LogEntry:
    """Write the packages and worklists of a new reader and log it. ``text`` says why; ``experience`` is for the report.

    Raises ReconError before the export and once the key was opened, for a name that is taken, a reader who does not
    read, and packages of that reader that are not here or were altered. Nothing is left behind then.
    """
    study = open_study(folder)
    _check(study, reader, experience, in_place_of, text)
    with addition(study) as new:
        copied = {package.session: as_copied(package) for package in study.packages if package.reader == in_place_of}
        packages: list[Package] = []
        worklists: dict[str, str] = {}
        for session, shown in copied.items():
            packages.append(write_copy(new.folder, study, shown, reader, session, {}))
            worklists |= write_worklist(new.folder, packages[-1], copied_patients(study, shown))
        details = {
            "reader": reader,
            "experience": experience.strip(),
            "in_place_of": in_place_of,
            "text": text.strip(),
            "packages": [package_mapping(package) for package in packages],
            "worklists": worklists,
            "shows": {entry.expected.id: entry.source for shown in copied.values() for entry in shown},
        }
        return new.logged(ADDED, details, packages, list(worklists))


def _check(study: Study, reader: str, experience: str, in_place_of: str, text: str) -> None:
    if exported(study.entries) is None:
        raise ReconError(f"{study.folder}: not exported yet; put the reader into the protocol")
    if study.unsealed:
        raise ReconError(f"{study.folder}: the key was opened; no reader can be added any more")
    third = study.protocol.adjudication
    others = [third.reader] if third is not None else []
    taken = {name.casefold() for name in (*others, *(entry.id for entry in study.protocol.readers), *study.readers)}
    if not NAME.fullmatch(reader) or reader.casefold() in taken:
        raise ReconError(f"reader '{reader}': choose a name that no reader has, of letters, digits, '-' and '_'")
    if study.adjudicated is not None:
        raise ReconError(f"{study.folder}: the disagreements were adjudicated; no reader can be added any more")
    if in_place_of not in study.readers:
        raise ReconError(f"reader '{in_place_of}' does not read here; readers are {', '.join(study.readers)}")
    if not text.strip() or not experience.strip():
        raise ReconError("adding a reader needs a text that says why, and the reader's --experience for the report")


def with_added(study: Study, key: Sequence[Presentation]) -> tuple[Presentation, ...]:
    """The key's presentations and those of the readers who were added after the export."""
    rows = {row.id: row for row in key}
    for entry in study.entries:
        if entry.event == ADDED:
            for new, source in entry.said.shows.items():
                rows[new] = replace(rows[source], id=new, reader=entry.said.reader)
    return tuple(rows.values())
