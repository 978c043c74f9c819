"""Sheets, tables and workbooks that cannot be right are refused in one line that names the file."""

import json
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from reader_study.protocol import Protocol, load_protocol
from reader_study.sheet import Expected, Flag, Package, Response, Sheet
from reader_study.sheet_check import check_sheet
from reader_study.sheet_files import read_sheet, write_sheet
from reader_study.signing import new_signing_key
from reader_study.tables import parse_score, read_table
from recon.errors import ReconError
from tests.fuzzing.bombs import write_zip
from tests.reader_study.study_maker import write_protocol

WHEN = "2025-01-01T10:00:00Z"


@pytest.fixture(scope="module")
def protocol(tmp_path_factory: pytest.TempPathFactory) -> Protocol:
    return load_protocol(write_protocol(tmp_path_factory.mktemp("plan") / "plan.yaml"))


def sheet_of(protocol: Protocol) -> Sheet:
    flag = Flag("artifact", "A", 1, 3, 4)
    response = Response("P1", 1, False, {"overall": 4}, (flag,), "fine", 12.5, WHEN, WHEN)
    return Sheet(protocol.hash, "package-1", "R1", 1, WHEN, WHEN, (response,), ())


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "5", "null", '{"format": 5}', "{" + '"a": ' + "9" * 5000 + "}", "\ud7ff", '"\\ud800"', ""]
)
@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_texts_of_sheets(text: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"sheet.{suffix}"
    path.write_text(text, "utf-8")
    with pytest.raises(ReconError, match=rf"sheet\.{suffix}: not a score sheet"):
        read_sheet(path)


def test_a_field_of_a_sheet_that_is_too_long(protocol: Protocol, tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    write_sheet(path, sheet_of(protocol))
    path.write_text(path.read_text("utf-8").replace("fine", "x" * 140_000), "utf-8")
    with pytest.raises(ReconError, match=r"sheet\.csv: not a score sheet .*field larger than"):
        read_sheet(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seconds", float("nan")),
        ("seconds", 1e400),
        ("comment", "\ud800"),
        ("scores", {"overall": [4]}),
        ("flags", [5]),
    ],
)
def test_values_of_responses(key: str, value: Any, protocol: Protocol, tmp_path: Path) -> None:
    jwk, public = new_signing_key()
    path = tmp_path / "sheet.json"
    write_sheet(path, sheet_of(protocol).signed(jwk))
    content = json.loads(path.read_text("utf-8"))
    content["responses"][0][key] = value
    path.write_text(json.dumps(content), "utf-8")
    package = Package("package-1", "R1", 1, "packages/R1", public, "0" * 64, (Expected("P1", 1, False, False),))
    with pytest.raises(ReconError, match=r"sheet\.json: "):
        check_sheet(read_sheet(path), protocol, [package])


@pytest.mark.parametrize("key", ["study", "package", "reader", "started", "signature"])
def test_heads_of_sheets(key: str, protocol: Protocol, tmp_path: Path) -> None:
    path = tmp_path / "sheet.json"
    write_sheet(path, sheet_of(protocol))
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), key: ["a", {}]}), "utf-8")
    with pytest.raises(ReconError, match=rf"sheet\.json: not a score sheet .*key '{key}' is \['a', {{}}\]"):
        read_sheet(path)


def workbook(path: Path) -> dict[str, bytes]:
    book = openpyxl.Workbook()
    book.active.append(["reader", "presentation", "overall"])
    book.active.append(["R1", "P1", 4])
    book.save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize(
    "part", ["xl/worksheets/sheet1.xml", "xl/workbook.xml", "[Content_Types].xml", "xl/styles.xml"]
)
def test_damaged_workbooks(part: str, protocol: Protocol, tmp_path: Path) -> None:
    path = tmp_path / "table.xlsx"
    members = workbook(path)
    members[part] = members[part][: len(members[part]) // 2]
    write_zip(path, members, "", b"", 0)
    with pytest.raises(ReconError, match=r"table\.xlsx: not readable as XLSX"):
        read_table(path, protocol)


def test_a_packed_workbook_is_not_unpacked(protocol: Protocol, tmp_path: Path) -> None:
    path = tmp_path / "table.xlsx"
    write_zip(path, workbook(path), "xl/worksheets/sheet1.xml", b"<worksheet>", 16)
    with pytest.raises(ReconError, match=r"table\.xlsx: '.*sheet1\.xml' claims"):
        read_table(path, protocol)


def test_a_table_whose_field_is_too_long(protocol: Protocol, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"reader,presentation,overall\nR1,{'x' * 140_000},4\n", "utf-8")
    with pytest.raises(ReconError, match=r"table\.csv: not readable as CSV"):
        read_table(path, protocol)


@pytest.mark.parametrize("answer", ["9" * 5000, "-" + "9" * 5000])
def test_a_score_of_thousands_of_digits(answer: str, protocol: Protocol) -> None:
    """Python refuses to read such a number in words of its own."""
    with pytest.raises(ReconError, match="out of scale") as refusal:
        parse_score(protocol, "overall", answer, "table.csv, row 2")
    assert len(str(refusal.value)) < 200
