"""How the study was run, told by the log's lines and the sheets' times and by nothing that was only planned.

Times in the log are the coordinator's computer's, times in the sheets the readers' computers'. What cannot be told is
said to be unknown; what differs from the plan is a departure and stands on the report's first page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import pairwise

from reader_study import audit_log
from reader_study.audit_log import LogEntry
from reader_study.canonical import digest
from reader_study.log_lines import ADDED, ADJUDICATION, CALLED_IN
from reader_study.protocol import Protocol
from reader_study.sheet import Package, Sheet
from reader_study.sheet_check import missing
from reader_study.study import Study

SHORTEST_LOOK = 1.0  # seconds on the screen; nobody reads an image in less
CLOCKS = timedelta(minutes=10)  # by which the computers' clocks may differ


@dataclass(frozen=True)
class Conduct:
    """``facts`` are sentences about what went as planned, ``departures`` about what did not, ``unknown`` the rest.

    ``sealed_until_complete``: were the sheets of all sittings in when the key was opened, and are they those analysed?
    ``shortest_washout`` in weeks, None where no reader's two sessions have times.
    """

    facts: tuple[str, ...] = ()
    departures: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    sealed_until_complete: bool = False
    shortest_washout: float | None = None


@dataclass(frozen=True)
class _Sitting:
    """One sheet with the times in it; None where they are not known."""

    package: Package
    sheet: Sheet
    begun: datetime | None
    ended: datetime | None

    @property
    def name(self) -> str:
        return f"reader {self.package.reader}, session {self.package.session}"


def conduct(study: Study, sheets: Sequence[Sheet], noted_head: str | None = None) -> Conduct:
    """What the log of ``study`` and its checked ``sheets`` tell. ``noted_head``: a verified earlier hash of the log."""
    export = study.require_export()
    by_package = {sheet.package: sheet for sheet in sheets}
    sittings = [_sitting(package, by_package[package.id]) for package in study.packages if package.id in by_package]
    facts, departures, unknown = _log_facts(study, noted_head)
    opening = [entry for entry in study.entries if entry.event == "unseal" and entry.index > export.index]
    late = _openings(study, by_package, opening, departures)
    gaps = [line for line in missing(sheets, study.protocol, study.packages) if line["presentation"]]
    if gaps:
        departures.append(f"{len(gaps)} readings in the sheets are missing or lack an answer.")
    complete = bool(opening) and not late and not gaps
    if complete:
        all_in = f"the sheets of all {len(study.packages)} sittings were in, complete; they are the sheets analysed"
        facts.append(f"By the log the key was first opened on {_day(opening[0].time)}, when {all_in}.")
    _receipts(study, sittings, facts, unknown)
    departures += _replaced(study, sittings)
    for sitting in sittings:
        departures += _times(sitting, export, _receipt(study, sitting), opening)
        departures += _looks(sitting)
    without = [sitting.name for sitting in sittings if sitting.begun is None]
    if without:
        unknown.append(f"When these were read is not known, for their scores carry no times: {'; '.join(without)}.")
    _beside_pacs(sittings, unknown)
    washout = _washout(study.protocol, sittings, facts, departures)
    return Conduct(tuple(facts), tuple(departures), tuple(unknown), complete, washout)


def _sitting(package: Package, sheet: Sheet) -> _Sitting:
    begun = [time for row in sheet.responses if (time := moment(row.started)) is not None]
    ended = [time for row in sheet.responses if (time := moment(row.finished)) is not None]
    return _Sitting(package, sheet, min(begun, default=None), max([*begun, *ended], default=None))


def moment(text: str) -> datetime | None:
    """A time of a sheet or the log; None where it is none."""
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    if not 1900 <= found.year < 9000:  # near the ends of the calendar nothing can be added or taken away
        return None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


def ends_ahead(sheet: Sheet) -> bool:
    """Does a sheet that came in now end later than now, by its own times?"""
    times = [moment(text) for text in (sheet.finished, *(row.finished for row in sheet.responses))]
    return any(time is not None and time > audit_log.now() + CLOCKS for time in times)


def _day(text: str) -> str:
    return text[:16].replace("T", " ") + " UTC"


def _log_facts(study: Study, noted_head: str | None) -> tuple[list[str], list[str], list[str]]:
    """Facts, departures and unknowns that the log alone tells."""
    facts, departures, unknown = [], [], []
    events = [entry.event for entry in study.entries]
    for entry in study.entries:
        if entry.event == "protocol-changed":
            facts.append(f"The protocol was changed on {_day(entry.time)}, before the export: {entry.said.reason}")
        if entry.event == CALLED_IN:
            facts.append(
                f"The reserve reader {entry.said.reader} was called in on {_day(entry.time)}, before the key was "
                f"opened: {entry.said.text}"
            )
        if entry.event == ADJUDICATION:
            facts.append(
                f"On {_day(entry.time)} {len(entry.said.shows)} of {entry.said.compared} images that two "
                f"readers or more had scored were handed to {entry.said.reader} for adjudication."
            )
        if entry.event == ADDED:
            opened = any(other.event == "unseal" and other.index < entry.index for other in study.entries)
            departures.append(
                f"Reader {entry.said.reader} ({entry.said.experience}) was added on {_day(entry.time)}, "
                f"after the export and {'after' if opened else 'before'} the key was opened, with the "
                f"cases, sessions and orders of reader {entry.said.in_place_of}: {entry.said.text}"
            )
        if entry.event == "check" and entry.said.key_opened:
            departures.append(f"The key was opened on {_day(entry.time)} for a check of the pairs.")
    if "export-refused" in events:
        facts.append(f"The blind check refused {events.count('export-refused')} earlier export(s).")
    if "unseal-failed" in events:
        departures.append(f"{events.count('unseal-failed')} attempt(s) to open the key failed.")
    if "analysis" in events:
        facts.append(f"The log holds {events.count('analysis')} earlier analysis(es) of this study.")
    if noted_head is None:
        unknown.append(
            "No hash of the log noted earlier was given (--expect-head): that the log was neither cut nor rewritten "
            "rests on the coordinator's word."
        )
    else:
        facts.append(f"The log still holds the line noted earlier, {noted_head[:16]}.")
    return facts, departures, unknown


def _openings(study: Study, by_package: dict[str, Sheet], opening: Sequence[LogEntry], departures: list[str]) -> bool:
    """Did a score come in, change or go with the key open? Adds what did to the departures."""
    if not opening:
        return False
    before = opening[0].said.sheets
    found = []
    if len(before) < len(study.packages):
        found.append(
            f"The key was opened on {_day(opening[0].time)} with {len(before)} of {len(study.packages)} sheets in."
        )
    for package in study.packages:
        name, sheet = f"reader {package.reader}, session {package.session}", by_package.get(package.id)
        then, now = before.get(package.id), None if sheet is None else digest(sheet.payload())
        if now is None:
            lines = came_in(study, package)
            found.append(
                f"There is no sheet of {name}."
                if not lines
                else f"The sheet of {name} that came in on {_day(lines[-1].time)} is not among those analysed."
            )
        elif then is None:
            found.append(f"The sheet of {name} came in after the key was opened.")
        elif then != now:
            found.append(f"The sheet of {name} is not the one that stood when the key was opened.")
    departures += found
    if len(opening) > 1:
        departures.append(f"The key was opened {len(opening)} times.")
    return bool(found)


def _receipts(study: Study, sittings: Sequence[_Sitting], facts: list[str], unknown: list[str]) -> None:
    opened = next((entry.index for entry in study.entries if entry.event == "unseal"), len(study.entries) + 1)
    logged = {entry.said.sha256 for entry in study.entries if entry.event == "sheet" and entry.index < opened}
    left = [sitting.name for sitting in sittings if digest(sitting.sheet.payload()) not in logged]
    if left:
        unknown.append(
            "Not logged when they came in ('check --sheets'), so that an earlier version may have been replaced before "
            f"the key was opened: the sheets of {'; '.join(left)}."
        )
    else:
        facts.append("Every sheet was logged when it came in, before the key was opened.")


def _replaced(study: Study, sittings: Sequence[_Sitting]) -> list[str]:
    """Sheets that came in for a sitting before the one that is analysed; those saved on the way are no others."""
    found = []
    for sitting in sittings:
        mark = digest(sitting.sheet.payload())
        lines = [one for one in came_in(study, sitting.package) if not one.said.unfinished]
        others = [one for one in lines if one.said.sha256 != mark]
        if others:
            found.append(
                f"Another sheet of {sitting.name} came in on {_day(others[0].time)}; it is not the one analysed."
            )
    return found


def _beside_pacs(sittings: Sequence[_Sitting], unknown: list[str]) -> None:
    read = [f"{one.name} ({count})" for one in sittings if (count := one.package.on_pacs(one.sheet))]
    if read:
        unknown.append(
            "Read on a PACS, where the signed page names the series to open by the hash of its exported files and "
            f"cannot see what was opened, and where no spots can be marked (number of images): {'; '.join(read)}."
        )


def came_in(study: Study, package: Package) -> list[LogEntry]:
    """The lines of the log by which sheets of this package came in, the last one last."""
    return [one for one in study.entries if one.event == "sheet" and one.said.package == package.id]


def _receipt(study: Study, sitting: _Sitting) -> LogEntry | None:
    """The line of the log by which this sheet came in."""
    known = digest(sitting.sheet.payload())
    return next((one for one in came_in(study, sitting.package) if one.said.sha256 == known), None)


def _times(sitting: _Sitting, export: LogEntry, receipt: LogEntry | None, opening: Sequence[LogEntry]) -> list[str]:
    """Was this sitting after the export, before its sheet came in, and before the key was opened?"""
    if sitting.begun is None or sitting.ended is None:
        return []
    found = []
    made, opened = moment(export.time), moment(opening[0].time) if opening else None
    received = moment(receipt.time) if receipt is not None else None
    if made is not None and sitting.begun < made - CLOCKS:
        found.append(
            f"By its times {sitting.name} began on {_day(sitting.begun.isoformat())}, before the export on "
            f"{_day(export.time)}."
        )
    after = []
    if receipt is not None and received is not None and sitting.ended > received + CLOCKS:
        after.append(f"after its sheet came in on {_day(receipt.time)}")
    if opened is not None and sitting.ended > opened + CLOCKS:
        after.append(f"after the key was opened on {_day(opening[0].time)}")
    if after:
        found.append(f"By its times {sitting.name} ended on {_day(sitting.ended.isoformat())}, {' and '.join(after)}.")
    return found


def _looks(sitting: _Sitting) -> list[str]:
    """Order and length of the looks at the images."""
    rows = sorted((row for row in sitting.sheet.responses if row.started), key=lambda row: row.order)
    if not rows or sitting.begun is None or sitting.ended is None:
        return []
    found = []
    short = sum(row.seconds < SHORTEST_LOOK for row in rows)
    if short:
        found.append(f"In {sitting.name} {short} of {len(rows)} images were looked at for less than a second.")
    begun = [time for row in rows if (time := moment(row.started)) is not None]
    swapped = sum(later < earlier for earlier, later in pairwise(begun))
    if swapped:
        found.append(
            f"In {sitting.name} {swapped} of {len(rows)} images were begun before the one planned ahead of them."
        )
    looked, passed = sum(row.seconds for row in rows), (sitting.ended - sitting.begun).total_seconds()
    if looked > passed + CLOCKS.total_seconds():
        found.append(f"In {sitting.name} the images were looked at for {looked:.0f} s within {passed:.0f} s.")
    return found


def _washout(protocol: Protocol, sittings: Sequence[_Sitting], facts: list[str], departures: list[str]) -> float | None:
    """Shortest time in weeks between two sessions of one reader; says whether it was kept."""
    gaps: list[float] = []
    planned, kept = protocol.sessions.washout_weeks, True
    for reader in dict.fromkeys(one.package.reader for one in sittings):
        mine = sorted((one for one in sittings if one.package.reader == reader), key=lambda one: one.package.session)
        for first, second in pairwise(mine):
            if first.ended is None or second.begun is None:
                continue
            weeks = (second.begun - first.ended) / timedelta(weeks=1)
            gaps.append(weeks)
            if weeks < planned:
                kept = False
                what = f"began {_length(weeks)} after" if weeks >= 0 else f"began {_length(-weeks)} before the end of"
                departures.append(
                    f"Session {second.package.session} of reader {reader} {what} session {first.package.session}; "
                    f"{planned:g} weeks were planned."
                )
    if gaps and kept:
        facts.append(
            f"By the sheets' times the sessions of one reader were {min(gaps):.1f} weeks apart or more "
            f"({planned:g} planned)."
        )
    return min(gaps, default=None)


def _length(weeks: float) -> str:
    hours = 168 * weeks
    return f"{weeks:.1f} weeks" if weeks >= 1 else f"{hours / 24:.1f} days" if hours >= 24 else f"{hours:.1f} hours"
