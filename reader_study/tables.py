"""Score tables that came from elsewhere: CSV or XLSX with a column map, and REDCap exports.

A column map is a YAML file that says which column holds what:

    reader: radiologist            # column with the reader's id (or, with `readers`, what stands for it)
    presentation: image_id         # column with the presentation's id as shown by the viewer and the worklist
    items:                         # wide tables: protocol item -> column
      sharpness: sharp_score
    # long tables instead: item: question, score: answer; marks of lesions: ``typed_marks``
    readers: {Dr A: R1}            # optional: what stands in the table -> reader id
    sheet: Scores                  # optional: worksheet of an XLSX file
    # tables that already tell the arm (nothing was sealed): case: patient, arm: protocol, reading: visit

Without a map the columns must carry these names themselves. Nothing in a table is signed: the caller decides what
that needs (a logged deviation).
"""

import csv
import io
import itertools
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reader_study.item import Item
from reader_study.protocol import Protocol
from reader_study.redcap import is_export, redcap_name
from reader_study.sheet import Flag
from reader_study.typed_marks import parse_marks
from recon.configuration import load_config
from recon.errors import ReconError
from recon.foreign.archive import check_members

LARGEST = 50_000_000  # bytes of a table, and of one part of a workbook
MOST_ROWS = 100_000  # of a worksheet


@dataclass(frozen=True)
class ColumnMap:
    """Which column holds what; see the module's text. Empty strings: the table has no such column."""

    reader: str = "reader"
    presentation: str = "presentation"
    case: str = ""
    arm: str = ""
    reading: str = ""
    item: str = ""
    score: str = ""
    items: dict[str, str] = field(default_factory=dict)
    readers: dict[str, str] = field(default_factory=dict)
    arms: dict[str, str] = field(default_factory=dict)
    sheet: str = ""


@dataclass(frozen=True)
class TableScore:
    """One checked score. ``presentation`` for sealed studies, else ``case``, ``arm`` and ``reading`` (from 1)."""

    where: str  # "FILE row 7", for messages
    reader: str
    presentation: str
    case: str
    arm: str
    reading: int
    key: str
    score: int | str
    marks: tuple[Flag, ...] | None = None  # of the item that is answered by marks, in place of a score
    comment: str = ""  # of the row: the column of that name

    @property
    def subject(self) -> str:
        """What was scored, for messages."""
        return f"presentation {self.presentation}" if self.presentation else f"case {self.case}, {self.arm}"


def load_column_map(path: str | Path | None) -> ColumnMap | None:
    """Read a column map, None where none is given. Raises ReconError naming the file and the wrong key."""
    return None if path is None else load_config(ColumnMap, path)


def read_table(
    path: str | Path, protocol: Protocol, columns: ColumnMap | None = None, added: Sequence[str] = ()
) -> list[TableScore]:
    """Read and check a CSV or XLSX table, REDCap exports recognised by their columns.

    A table whose columns carry the plain names, and not the map's, is read by its own: tables of several origins may
    lie together.

    ``added``: readers outside the protocol. Raises ReconError naming file, row, reader and presentation (or case) for
    a missing column, an unknown reader, arm or case, a score out of scale, or a score given twice.
    """
    path = Path(path)
    mapping = columns or ColumnMap()
    rows = list(_rows(path, mapping.sheet))
    if not rows:
        raise ReconError(f"{path}: the table has no rows")
    header = list(rows[0][1])
    plain = ColumnMap()
    if mapping.reader not in header and {plain.reader, plain.presentation} <= {*header}:
        mapping = replace(plain, readers=mapping.readers)  # the map is of another table beside this one
    redcap = is_export(header)
    found = list(_scores(path, rows, header, protocol, mapping, redcap, added))
    if not found:
        raise ReconError(f"{path}: no scores found; name the columns with --columns MAP.yaml")
    seen: dict[tuple[str, ...], str] = {}
    for score in found:
        identity = (score.reader, score.presentation, score.case, score.arm, str(score.reading), score.key)
        if identity in seen:
            raise ReconError(
                f"{score.where}: {score.key} of reader {score.reader}, {score.subject} stands twice "
                f"(first in {seen[identity]})"
            )
        seen[identity] = score.where
    return found


def _rows(path: Path, worksheet: str) -> Iterator[tuple[int, Mapping[str, str]]]:
    """(row number as a spreadsheet shows it, column -> text) of a CSV or XLSX file."""
    try:
        if path.suffix.lower() in (".xlsx", ".xlsm"):
            yield from _workbook(path, worksheet)
            return
        if path.stat().st_size > LARGEST:
            raise ReconError(f"{path}: larger than {LARGEST} bytes; no table of scores is")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ReconError(f"{path}: the table cannot be read ({error}); save it as CSV in UTF-8 or as XLSX") from error
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        for row in reader:
            if None in row or None in row.values():
                raise ReconError(f"{path} row {reader.line_num}: has not as many columns as the header")
            yield reader.line_num, {name.strip(): value.strip() for name, value in row.items()}
    except csv.Error as error:
        raise ReconError(f"{path}: not readable as CSV ({error})") from error


def _workbook(path: Path, worksheet: str) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Rows of an XLSX worksheet: values only, formulas by their stored result."""
    import openpyxl

    book: Any = None
    try:
        _check_workbook(path)
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        if worksheet and worksheet not in book.sheetnames:
            raise ReconError(f"{path}: no worksheet '{worksheet}'; there are {', '.join(book.sheetnames)}")
        lines = (book[worksheet] if worksheet else book.worksheets[0]).iter_rows(values_only=True)
        rows = [[_text(cell) for cell in cells] for cells in itertools.islice(lines, MOST_ROWS + 1)]
    except ReconError:
        raise
    except Exception as error:  # openpyxl raises many kinds for a damaged workbook, some only when a row is asked for
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise ReconError(f"{path}: not readable as XLSX ({said}); save it again, or as CSV") from error
    finally:
        if book is not None:
            book.close()
    if len(rows) > MOST_ROWS:
        raise ReconError(f"{path}: has more than {MOST_ROWS} rows; no table of scores does")
    header = rows[0] if rows else []
    for number, values in enumerate(rows[1:], start=2):
        if any(values):
            yield number, dict(zip(header, values, strict=False))


def _check_workbook(path: Path) -> None:
    """Raises ReconError when a part of the workbook unpacks to more than a table has."""
    with zipfile.ZipFile(path) as archive:
        check_members(path, archive)
        for member in archive.infolist():
            if member.file_size > LARGEST:
                raise ReconError(f"{path}: '{member.filename}' unpacks to {member.file_size} bytes; no table does")


def _text(cell: Any) -> str:
    """A cell as text: 4.0 is "4", an empty cell is ""."""
    if cell is None:
        return ""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()


def _scores(
    path: Path,
    rows: list[tuple[int, Mapping[str, str]]],
    header: list[str],
    protocol: Protocol,
    columns: ColumnMap,
    redcap: bool,
    added: Sequence[str],
) -> Iterator[TableScore]:
    named = _item_columns(header, protocol, columns, redcap)
    open_label = bool(columns.case and columns.arm)
    needed = [columns.reader, *([columns.case, columns.arm] if open_label else [columns.presentation])]
    needed += [columns.item, columns.score] if columns.item else []
    absent = [name for name in needed if name not in header]
    if absent:
        raise ReconError(
            f"{path}: no column {', '.join(map(repr, absent))}; there are {', '.join(header)}; "
            "say which column is which with --columns MAP.yaml"
        )
    readers = {*added, *(reader.id for reader in protocol.readers)}
    for number, row in rows:
        if redcap and _unfinished(row):
            continue
        if not row[columns.reader] and not any(row.get(column) for column in named.values()):
            continue  # REDCap writes one row per event; rows of other instruments are empty here
        look = _look(row, f"{path} row {number}", protocol, columns, readers)
        answers = (
            [(row[columns.item], row[columns.score])]
            if columns.item
            else [(key, _answer(row, column, redcap)) for key, column in named.items()]
        )
        for key, answer in answers:
            if answer == "":
                continue
            if key not in _keys(protocol):
                raise ReconError(f"{look.where}: '{key}' is not an item of the protocol")
            asked = f"{look.where}: reader {look.reader}, {look.subject}"
            if key not in protocol.score_keys:
                yield replace(look, key=key, marks=parse_marks(protocol, answer, asked))
            else:
                yield replace(look, key=key, score=parse_score(protocol, key, answer, asked))


def _look(row: Mapping[str, str], where: str, protocol: Protocol, columns: ColumnMap, readers: set[str]) -> TableScore:
    """What a row says of reader and image, without an answer."""
    reader = columns.readers.get(row[columns.reader], row[columns.reader])
    if reader not in readers:
        raise ReconError(f"{where}: reader {reader!r} is not in the protocol ({', '.join(sorted(readers))})")
    look = TableScore(where, reader, "", "", "", 1, "", "", comment=row.get("comment", ""))
    if not (columns.case and columns.arm):
        if not row[columns.presentation]:
            raise ReconError(f"{where}: reader {reader}: no presentation id")
        return replace(look, presentation=row[columns.presentation])
    case, arm = row[columns.case], columns.arms.get(row[columns.arm], row[columns.arm])
    if case not in protocol.case_ids:
        raise ReconError(f"{where}: case {case!r} is not in the protocol")
    if arm not in protocol.arm_names:
        raise ReconError(f"{where}: arm {arm!r} of case {case} is not in the protocol")
    reading = row.get(columns.reading) if columns.reading else ""
    number = _whole(reading, f"{where}: reading of case {case}") if reading else 1
    return replace(look, case=case, arm=arm, reading=number)


def _item_columns(header: list[str], protocol: Protocol, columns: ColumnMap, redcap: bool) -> dict[str, str]:
    """Score key -> column of a wide table; REDCap names are lower case with underscores."""
    if columns.item:
        return {}
    wanted = {key: columns.items.get(key, key) for key in _keys(protocol)}
    stems = {name.split("___")[0] for name in header}
    for key, column in list(wanted.items()):
        if column not in header and redcap and column not in stems:
            plain = redcap_name(key)
            wanted[key] = plain if plain in stems else column
        if wanted[key] not in header and wanted[key] not in stems:
            del wanted[key]
    return wanted


def _keys(protocol: Protocol) -> tuple[str, ...]:
    """What is answered: the score keys, and the item that is answered by marks."""
    return (*protocol.score_keys, *(item.id for item in protocol.items if protocol.located(item)))


def _unfinished(row: Mapping[str, str]) -> bool:
    """Is the row's REDCap instrument marked incomplete (0) or unverified (1)? Raw codes and labels both occur."""
    states = [value.lower() for name, value in row.items() if name.endswith("_complete") and value]
    return bool(states) and all(state in ("0", "1", "incomplete", "unverified") for state in states)


def _answer(row: Mapping[str, str], column: str, redcap: bool) -> str:
    """The answer in a column; a REDCap checkbox is spread over columns ``name___code`` of 0 and 1."""
    if column in row:
        return row[column]
    if not redcap:
        return ""
    ticked = [
        name.split("___")[1]
        for name, value in row.items()
        if name.startswith(f"{column}___") and value.lower() in ("1", "checked")
    ]
    return ticked[0] if len(ticked) == 1 else ",".join(ticked)


def parse_score(protocol: Protocol, key: str, answer: str, where: str) -> int | str:
    """A typed or labelled answer ("4", "4.0", "4 - good", "good") as a score of the item's scale.

    Raises ReconError naming ``where`` and the scale.
    """
    allowed = protocol.allowed(key)
    item = protocol.item(key.split("@")[0])
    text = answer.strip()
    if item.scale:
        number = re.fullmatch(r"(-?\d{1,9})(?:\.0+)?(?:\s*[-,:=.)]\s*\D.*)?", text)
        score: int | str = int(number.group(1)) if number else _labelled(item, text)
    else:
        score = {"a": "A", "b": "B", "tie": "tie", "equal": "tie", "no difference": "tie"}.get(text.lower(), text)
    if score not in allowed:
        raise ReconError(f"{where}: {key} is {answer[:40]!r}, out of scale ({', '.join(map(str, allowed))})")
    return score


def _labelled(item: Item, text: str) -> int | str:
    """The score whose anchor is ``text``; ``text`` itself where there is none."""
    matches = [int(score) for score, anchor in item.anchors.items() if anchor.strip().lower() == text.lower()]
    return matches[0] if len(matches) == 1 else text


def _whole(text: str, where: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise ReconError(f"{where} is {text[:40]!r}, expected 1, 2 ...")
    return int(text)
