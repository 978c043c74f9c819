"""Where a study stands: who returned what, what is missing, and what comes next. Tells nothing about the arms."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from reader_study.canonical import digest
from reader_study.conduct import came_in, moment
from reader_study.deviations import deviations, excused
from reader_study.handed_out import exported
from reader_study.log_lines import ADDED
from reader_study.scores import collect, find_sheets
from reader_study.sheet import Package, Sheet
from reader_study.sheet_check import missing
from reader_study.study import KEY, SHEETS, Study
from reader_study.tables import ColumnMap
from reader_study.unsealing import unfinished
from recon.errors import ReconError


@dataclass(frozen=True)
class Sitting:
    """One reader's session. ``missing`` counts readings without a required answer, the whole session if no sheet."""

    reader: str
    session: int
    folder: str
    returned: bool
    underway: bool  # was the sheet saved on the way, so that the reader goes on with it?
    logged: bool  # by its hash, with 'check --sheets'
    missing: int
    excused: bool  # is all that is missing covered by logged deviations?
    presentations: int
    begun: str  # by the sheet's times; empty where not known
    ended: str
    received: str  # the day by the log on which a sheet came in that is not here; empty otherwise
    not_before: str  # of a session that waits for the washout; empty otherwise

    @property
    def state(self) -> str:
        """In one word or two."""
        if not self.returned:
            lost = f"came in on {self.received}, not here" if self.received else "not returned"
            return f"{lost if self.received else 'missing'}, excused" if self.excused else lost
        if self.underway:
            return f"under way, {self.missing} of {self.presentations} to go"
        if self.missing:
            return f"{self.missing} of {self.presentations} missing" + (", excused" if self.excused else "")
        return "complete"


@dataclass(frozen=True)
class StudyStatus:
    """``problem`` is what the first bad sheet suffers from, empty where all are sound; ``following`` what to do now."""

    phase: str  # planned, exported, reading, complete, unsealed, analysed
    sittings: tuple[Sitting, ...]
    deviations: tuple[str, ...]
    reserves: tuple[str, ...]  # who can be called in
    problem: str
    following: tuple[str, ...]


def study_status(
    study: Study, places: Sequence[str | Path] | None = None, columns: ColumnMap | None = None
) -> StudyStatus:
    """The status by the log and by the sheets in ``places`` (default: the study's own folder ``sheets``).

    ``columns`` of foreign tables among them.
    """
    logged = tuple(str(deviation) for deviation in deviations(study.entries))
    if exported(study.entries) is None:
        marks = " --lesions PATTERN" if study.protocol.localisation is not None else ""
        following = (f"export the images: recon reader-study export {study.folder} --images PATTERN{marks}",)
        return StudyStatus("planned", (), logged, (), "", following)
    own = study.folder / SHEETS
    wanted = list(places) if places else ([own] if own.is_dir() and any(own.iterdir()) else [])
    sheets: Sequence[Sheet] = ()
    problem = ""
    try:
        sheets = collect(study, wanted, columns).sheets if wanted else ()
    except ReconError as error:
        problem, sheets = str(error), _sound(study, wanted, columns)
    by_package = {sheet.package: sheet for sheet in sheets}
    sittings = tuple(_sitting(study, package, by_package) for package in study.packages)
    phase = _phase(study, sittings)
    reserves = tuple(dict.fromkeys(package.reader for package in study.reserved))
    return StudyStatus(phase, sittings, logged, reserves, problem, _following(study, phase, sittings, problem))


def _sound(study: Study, places: Sequence[str | Path], columns: ColumnMap | None) -> list[Sheet]:
    """The sheets of every file that is sound by itself: one that is not hides none of the others."""
    found: dict[str, Sheet] = {}
    for path in find_sheets(places):
        try:
            for sheet in collect(study, [path], columns).sheets:
                found.setdefault(sheet.package, sheet)
        except ReconError:
            continue  # named as the problem, if it is the first
    return list(found.values())


def _sitting(study: Study, package: Package, by_package: dict[str, Sheet]) -> Sitting:
    sheet = by_package.get(package.id)
    found = deviations(study.entries)
    left = missing([] if sheet is None else [sheet], study.protocol, [package])
    covered = all(excused(found, "missing", line["reader"], line["session"], line["presentation"]) for line in left)
    asked = sum(not entry.training for entry in package.presentations)
    times = sorted(row.started for row in sheet.responses if row.started) if sheet is not None else []
    hashes = {entry.said.sha256 for entry in study.entries if entry.event == "sheet"}
    return Sitting(
        reader=package.reader,
        session=package.session,
        folder=package.folder,
        returned=sheet is not None,
        underway=sheet is not None and bool(left and sheet.started) and unfinished(study, sheet),
        logged=sheet is not None and digest(sheet.payload()) in hashes,
        missing=asked if sheet is None else len(left),
        excused=bool(left) and covered,
        presentations=asked,
        begun=times[0] if times else "",
        ended=_ended(sheet),
        received=_received(study, package) if sheet is None else "",
        not_before=_not_before(study, package, by_package) if sheet is None else "",
    )


def _ended(sheet: Sheet | None) -> str:
    times = sorted(row.finished for row in sheet.responses if row.finished) if sheet is not None else []
    return times[-1] if times else ""


def _received(study: Study, package: Package) -> str:
    lines = came_in(study, package)
    return lines[-1].time[:10] if lines else ""


def _not_before(study: Study, package: Package, by_package: dict[str, Sheet]) -> str:
    """The day from which a session may begin, by the end of the reader's session before it."""
    before = next(
        (one for one in study.packages if (one.reader, one.session) == (package.reader, package.session - 1)), None
    )
    ended = moment(_ended(by_package.get(before.id))) if before is not None else None
    if ended is None:
        return ""
    day: datetime = ended + timedelta(weeks=study.protocol.sessions.washout_weeks)
    return day.date().isoformat()


def _phase(study: Study, sittings: Sequence[Sitting]) -> str:
    events = [entry.event for entry in study.entries if entry.index > study.require_export().index]
    if "analysis" in events:
        return "analysed"
    if "unseal" in events:
        return "unsealed"
    if all(not sitting.missing or sitting.excused for sitting in sittings):
        return "complete"
    return "reading" if any(sitting.returned for sitting in sittings) else "exported"


def _following(study: Study, phase: str, sittings: Sequence[Sitting], problem: str) -> tuple[str, ...]:
    folder = study.folder
    if phase == "analysed":
        return ("nothing is left to do",)
    if phase == "unsealed":
        marks = " --lesions PATTERN" if study.protocol.localisation is not None else ""
        return (f"analyse: recon reader-study analyze {folder} --out REPORT{marks}",)
    steps = [f"put this right first: {problem}"] if problem else []
    if any(sitting.returned and not sitting.logged for sitting in sittings):
        steps.append(f"log the sheets that came in: recon reader-study check {folder} --sheets {folder / SHEETS}")
    if phase == "complete" and study.protocol.adjudication is not None and study.adjudicated is None:
        return (*steps, f"hand the disagreements to the third reader: recon reader-study adjudicate {folder}")
    if phase == "complete":
        return (*steps, f"open the key ({folder / KEY}): recon reader-study unseal {folder} --reason WHY")
    replaced = {one.said.in_place_of: one.said.reader for one in study.entries if one.event == ADDED}
    for sitting in sittings:
        name = f"reader {sitting.reader}, session {sitting.session}"
        if not sitting.returned and not sitting.excused and sitting.reader in replaced:
            excuse = f"recon reader-study deviation {folder} WHY --kind missing --reader {sitting.reader}"
            steps.append(f"{name}: {replaced[sitting.reader]} reads it; log that it stays unread: {excuse}")
        elif sitting.received and not sitting.excused:
            steps.append(f"{name}: its sheet came in on {sitting.received}; put it back into {folder / SHEETS}")
        elif sitting.underway and not sitting.excused:
            steps.append(f"{name}: {sitting.missing} readings to go; the reader opens the saved sheet and goes on")
        elif sitting.returned and sitting.missing and not sitting.excused:
            steps.append(f"{name}: {sitting.missing} readings are missing; have them read, or log a deviation")
        elif not sitting.returned and not sitting.excused:
            earlier = [one for one in sittings if one.reader == sitting.reader and one.session < sitting.session]
            if all((one.returned and not one.underway) or one.excused for one in earlier):
                when = f", not before {sitting.not_before}" if sitting.not_before else ""
                page = f"{Path(sitting.folder).name}.html"
                beside = f"; to read on a PACS: {folder / 'worklists' / page}" if page in study.worklists else ""
                place = f"{folder / sitting.folder}{when}; its sheet goes to {folder / SHEETS}{beside}"
                steps.append(f"{name}: hand out {place}")
    return tuple(steps)
