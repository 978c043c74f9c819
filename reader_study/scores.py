"""What the readers handed back, checked and gathered: signed sheets, and unsigned tables under a logged deviation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reader_study.deviations import deviations, excused
from reader_study.sheet import Package, Response, Sheet
from reader_study.sheet_check import check_response, check_sheet
from reader_study.sheet_files import read_sheet
from reader_study.study import SHEETS, Study
from reader_study.tables import ColumnMap, TableScore, read_table
from recon.errors import ReconError
from recon.folders import entries


@dataclass(frozen=True)
class Collected:
    """Checked sheets, one a package. ``unsigned`` names the files whose scores no signature covers."""

    sheets: tuple[Sheet, ...]
    unsigned: tuple[str, ...]


def is_sheet(path: str | Path) -> bool:
    """Is this file one of our score sheets (JSON, or CSV with our columns)? Other CSV and XLSX files are tables."""
    path = Path(path)
    if path.suffix.lower() == ".json":
        return True
    if path.suffix.lower() != ".csv":
        return False
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return file.readline().startswith("record,study,package,reader,")
    except OSError as error:
        raise ReconError(f"{path}: the score sheet cannot be read ({error.strerror})") from error


def find_sheets(paths: Sequence[str | Path]) -> list[Path]:
    """The files meant by ``paths``: files as they are, folders by their JSON, CSV and XLSX files, sorted.

    Raises ReconError for a path that does not exist or a folder without any.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = [entry for entry in entries(path) if entry.suffix.lower() in (".json", ".csv", ".xlsx")]
            if not inside:
                raise ReconError(f"{path}: no score sheets in this folder (JSON, CSV or XLSX)")
            found.extend(inside)
        elif path.is_file():
            found.append(path)
        else:
            raise ReconError(f"{path}: no such file or folder")
    return found


def collect(study: Study, paths: Sequence[str | Path] | None = None, columns: ColumnMap | None = None) -> Collected:
    """Read and check every sheet and table in ``paths`` (default: the study's own folder of sheets).

    The JSON and the CSV form of one sheet count once.

    Raises ReconError in one line naming the file and the presentation for: a sheet of another study, a broken
    signature, a score out of scale, one session handed in twice with different answers, and unsigned scores that no
    logged deviation of that reader covers.
    """
    study.require_export()
    sheets: dict[str, Sheet] = {}
    unsigned: list[str] = []
    for path in find_sheets(paths or [study.folder / SHEETS]):
        if is_sheet(path):
            sheet = read_sheet(path)
            if sheet.package in {package.id for package in study.reserved}:
                raise ReconError(
                    f"{path}: reader {sheet.reader} is a reserve who was not called in; log why with "
                    "'recon reader-study call-in', before the key is opened"
                )
            check_sheet(sheet, study.protocol, study.packages)
            _add(sheets, sheet)
            continue
        unsigned.append(path.name)
        for sheet in _from_table(
            study, path, read_table(path, study.protocol, columns, [package.reader for package in study.packages])
        ):
            _add(sheets, sheet)
    return Collected(tuple(sheets.values()), tuple(unsigned))


def _add(sheets: dict[str, Sheet], sheet: Sheet) -> None:
    known = sheets.setdefault(sheet.package, sheet)
    if known is sheet or known.payload() == sheet.payload() or goes_on(sheet, known):
        return
    if goes_on(known, sheet):
        sheets[sheet.package] = sheet
    else:
        raise ReconError(
            f"{sheet.path}: reader {sheet.reader}, session {sheet.session} was handed in twice with different content "
            f"(also {known.path}); keep the one that counts, and log why with 'recon reader-study deviation'"
        )


def goes_on(earlier: Sheet, later: Sheet) -> bool:
    """Was ``earlier`` saved on the way to ``later``: not finished, and every answer in it stands there unchanged?"""
    if earlier.finished or earlier.started != later.started:
        return False
    answers = {response.presentation: response for response in later.responses}
    guesses = set(later.guesses)
    return all(answers.get(row.presentation) == row for row in earlier.responses) and guesses >= set(earlier.guesses)


def _from_table(study: Study, path: Path, scores: list[TableScore]) -> list[Sheet]:
    """Unsigned sheets from a table's rows, package by package."""
    if any(score.case for score in scores):
        raise ReconError(f"{path}: the table tells the arm of each row; a sealed study takes presentation ids instead")
    owners = {entry.id: (package, entry) for package in study.packages for entry in package.presentations}
    gathered: dict[str, dict[str, list[TableScore]]] = {}
    packages: dict[str, Package] = {}
    for score in scores:
        owner = owners.get(score.presentation)
        if owner is None or owner[0].reader != score.reader:
            raise ReconError(
                f"{score.where}: presentation {score.presentation} was never given to reader {score.reader} "
                "in this study"
            )
        package = owner[0]
        if not excused(deviations(study.entries), "unsigned", package.reader, package.session):
            raise ReconError(
                f"{path}: the scores of reader {package.reader}, session {package.session} are not signed; "
                "log why with 'recon reader-study deviation --kind unsigned'"
                " before they can be used"
            )
        packages[package.id] = package
        gathered.setdefault(package.id, {}).setdefault(score.presentation, []).append(score)
    return [_unsigned_sheet(study, packages[name], answers, path) for name, answers in gathered.items()]


def _unsigned_sheet(study: Study, package: Package, answers: dict[str, list[TableScore]], path: Path) -> Sheet:
    responses = []
    for entry in package.presentations:
        rows = answers.get(entry.id)
        if rows is None:
            continue
        scores = {row.key: row.score for row in rows if row.marks is None}
        marks = [row.marks for row in rows if row.marks is not None]
        comment = next((row.comment for row in rows if row.comment), "")
        flags, typed = (marks[0], True) if marks else ((), False)
        response = Response(
            *(entry.id, entry.order, entry.training, scores, flags, comment, 0.0, "", ""), typed_marks=typed
        )
        check_response(response, f"{rows[0].where}: reader {package.reader}", study.protocol, entry)
        responses.append(response)
    return Sheet(
        study.protocol.hash, package.id, package.reader, package.session, "", "", tuple(responses), (), path=path
    )
