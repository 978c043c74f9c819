"""The packages that the log's lines hand out, checked against the protocol and against each other."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from reader_study.audit_log import LogEntry
from reader_study.log_lines import ADDED, ADJUDICATION, CALLED_IN, Added, Adjudicated, CalledIn, Exported
from reader_study.protocol import Protocol
from reader_study.sheet import Package


def exported(entries: Sequence[LogEntry]) -> LogEntry | None:
    """The export line that belongs to the newest version of the protocol, or None."""
    for entry in reversed(entries):
        if entry.event == "export":
            return entry
        if entry.event in ("protocol-frozen", "protocol-changed"):
            return None
    return None


def packages_of(protocol: Protocol, entries: Sequence[LogEntry]) -> tuple[Package, ...]:
    """The packages of the export, of added readers and of the adjudicator, in the order of their lines.

    Raises ValueError that names the line and what in it does not fit the protocol or an earlier line.
    """
    export = exported(entries)
    found: list[Package] = []
    for entry in entries:
        if entry is not export and entry.event not in (CALLED_IN, ADDED, ADJUDICATION):
            continue
        packages = getattr(entry.said, "packages", ())
        try:
            if entry.event in (ADDED, ADJUDICATION) and (export is None or entry.index < export.index):
                raise ValueError("it stands before the export")
            _CHECKS[entry.event](protocol, entry.said, packages, found)
            _check_packages(protocol, packages, found)
        except ValueError as error:
            raise ValueError(f"line {entry.index} ({entry.event}): {error}") from error
        found += packages
    return tuple(found)


def _check_export(protocol: Protocol, _line: Exported, packages: Sequence[Package], _: Sequence[Package]) -> None:
    _check_readers(packages, {reader.id for reader in protocol.readers})


def _check_call(protocol: Protocol, said: CalledIn, *_: Sequence[Package]) -> None:
    if said.reader not in {reader.id for reader in protocol.readers if reader.reserve}:
        raise ValueError(f"reader {said.reader!r} is no reserve of the protocol")


def _check_added(protocol: Protocol, said: Added, packages: Sequence[Package], earlier: Sequence[Package]) -> None:
    taken = {reader.id for reader in protocol.readers} | {package.reader for package in earlier}
    if said.reader in taken:
        raise ValueError(f"reader {said.reader!r} read before")
    if said.in_place_of not in taken:
        raise ValueError(f"reader {said.in_place_of!r}, whose place is taken, never read")
    _check_readers(packages, {said.reader})
    replaced = [package for package in earlier if package.reader == said.in_place_of]
    _check_shows(said.shows, said.shows.values(), packages, replaced)


def _check_adjudication(
    protocol: Protocol, said: Adjudicated, packages: Sequence[Package], earlier: Sequence[Package]
) -> None:
    rule = protocol.adjudication
    if rule is None or said.reader != rule.reader:
        raise ValueError(f"reader {said.reader!r} is no adjudicator of the protocol")
    if any(package.reader == rule.reader for package in earlier):
        raise ValueError("the disagreements were handed out before")
    _check_readers(packages, {rule.reader})
    _check_shows(said.shows, (row.presentation for row in said.shows.values()), packages, earlier)
    for row in said.shows.values():
        if not set(row.items) <= set(rule.items) or len(set(row.items)) < len(row.items):
            raise ValueError(f"'shows' names the items {row.items}, adjudicated are {', '.join(rule.items)}")


_CHECKS: dict[str, Callable[..., None]] = {
    "export": _check_export,
    CALLED_IN: _check_call,
    ADDED: _check_added,
    ADJUDICATION: _check_adjudication,
}


def _check_readers(packages: Sequence[Package], readers: set[str]) -> None:
    for package in packages:
        if package.reader not in readers:
            raise ValueError(f"a package is of reader {package.reader!r}, not of {', '.join(sorted(readers))}")


def _check_shows(new: Iterable[str], old: Iterable[str], packages: Sequence[Package], shown: Sequence[Package]) -> None:
    """Does each new presentation show one that was handed out before?"""
    if set(new) != {entry.id for package in packages for entry in package.presentations}:
        raise ValueError("'shows' does not name the presentations of its packages")
    strangers = set(old) - {entry.id for package in shown for entry in package.presentations}
    if strangers:
        raise ValueError(f"'shows' names presentation {min(strangers)!r}, which was not handed out before")


def _check_packages(protocol: Protocol, packages: Sequence[Package], earlier: Sequence[Package]) -> None:
    """Their sessions, folders, identifiers and shapes."""
    together = [*earlier, *packages]
    names = Counter([package.id for package in together])
    names.update(entry.id for package in together for entry in package.presentations)
    series = len(protocol.sequence_names) * (2 if protocol.paired else 1)
    for package in packages:
        if not 1 <= package.session <= protocol.sessions.count:
            raise ValueError(f"a package of {package.reader} is of none of the {protocol.sessions.count} sessions")
        if package.folder != f"packages/{package.reader}-session-{package.session}":
            raise ValueError(f"the package of {package.reader}, session {package.session} lies in {package.folder!r}")
        for entry in package.presentations:
            if entry.shapes and len(entry.shapes) != series:
                raise ValueError(f"presentation {entry.id!r} has {len(entry.shapes)} shapes, not {series}")
    twice = next((name for name, count in names.items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"identifier {twice!r} stands twice")
    folders = Counter(package.folder for package in together)
    if folders and folders.most_common(1)[0][1] > 1:
        raise ValueError(f"{folders.most_common(1)[0][0]} stands twice")
