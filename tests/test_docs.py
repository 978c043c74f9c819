"""The documents name what is there."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def test_every_module_is_on_the_map():
    made = _script("make_modules")
    assert made.TARGET.read_text(encoding="utf-8") == made.page(), "run python docs/make_modules.py"


@pytest.mark.parametrize("document", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_links_and_paths_lead_somewhere(document: str):
    text = (ROOT / document).read_text(encoding="utf-8")
    folder = (ROOT / document).parent
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        assert target.startswith("http") or (folder / target).exists(), target


def test_what_is_chosen_by_hand_is_where_the_table_says():
    table = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8").split("## Chosen by hand")[1].split("##")[0]
    for path in re.findall(r"`([a-z0-9_]+/[a-z0-9_]+\.py)`", table):
        assert (ROOT / "recon" / path).is_file(), path
    for path, name in re.findall(r"`([a-z0-9_/]+\.py)` \(`(\w+)`\)", table):
        if "/" in path:
            assert name in (ROOT / "recon" / path).read_text(encoding="utf-8"), name


def test_formats_are_those_of_the_code():
    text = (ROOT / "docs" / "file-formats.md").read_text(encoding="utf-8")
    for package in ("recon", "reader_study"):
        for path in (ROOT / package).rglob("*.py"):
            for name in re.findall(r'FORMAT = "(recon-[a-z-]+-\d+)"', path.read_text(encoding="utf-8")):
                assert name in text, f"{path}: {name}"


def test_every_defect_of_the_audit_names_a_test_that_exists() -> None:
    rows = re.findall(r"^\| (\d+) \|.*$", (ROOT / "docs" / "hardening.md").read_text("utf-8"), re.MULTILINE)
    assert rows == [str(number) for number in range(1, 28)]
    assert _missing_tests((ROOT / "docs" / "hardening.md").read_text("utf-8")) == []


def test_every_promise_of_reader_studies_names_a_test_that_exists() -> None:
    text = (ROOT / "docs" / "reader-study.md").read_text("utf-8")
    found = re.findall(r"^\| (I?S?\d+) \|", text, re.MULTILINE)
    wanted = [*(f"I{one}" for one in range(1, 12)), *(f"S{one}" for one in range(1, 9)), *map(str, range(1, 8))]
    assert list(dict.fromkeys(found)) == wanted
    assert _missing_tests(text) == []


def _missing_tests(text: str) -> list[str]:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    return [f"{path}::{name}" for path, name in named if f"def {name}(" not in (ROOT / path).read_text("utf-8")]


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))  # as for a script that is run there
    return _script("measure")


def test_tables_that_are_measured_again_are_on_their_pages(measure: ModuleType) -> None:
    for name, table in measure.TABLES.items():
        text = (ROOT / table.page).read_text("utf-8")
        lines = text.splitlines()
        rows = [measure.pages.cells(lines[number]) for number in measure.pages.place_of(table, text)]
        assert rows or table.told, name
        assert len({tuple(row) for row in measure.pages.names_of(rows, table.keys)}) == len(rows), name
        assert list(measure.pages.differences(table, text, rows)) == [], name
        assert set(table.needs) <= set(measure.ABOUT), name
        for told in table.told:
            sentence = (ROOT / told.page).read_text("utf-8")
            assert len(measure.pages.figures_of(told, sentence)) == told.words.count("#"), name
            if rows:  # what a page says in sentences is what the table says
                assert measure.pages.untold(told, sentence, rows) == [], name


def test_what_is_measured_is_this_working_tree(measure: ModuleType) -> None:
    run = sys.modules["measured.table"].run
    where = run(["-c", "import recon; print(recon.__file__)"], stdout=subprocess.PIPE)
    assert Path(where.strip()).resolve() == (ROOT / "recon" / "__init__.py").resolve()
    with pytest.raises(SystemExit, match="because this failed"):
        run(["-c", "raise SystemExit(2)"], stdout=subprocess.PIPE)


def test_every_file_that_a_table_needs_has_an_option(measure: ModuleType) -> None:
    assert set(measure.ABOUT) == set(measure.Sources.__dataclass_fields__)


def test_a_figure_that_changed_is_found_and_written_and_one_that_rounds_otherwise_is_not(measure: ModuleType) -> None:
    page = "text\n\n| a | NRMSE |\n|---|---|\n| **mean** | **.0767** (.93) |\n| DDS | .084 |\nmore"
    table = measure.Table("page.md", "| a | NRMSE |", 1, 1, lambda folder, sources: [])
    same = [["mean", ".0768 (.93)"], ["DDS", ".083"]]
    assert list(measure.pages.differences(table, page, same)) == []
    changes = list(measure.pages.differences(table, page, [["mean", ".0769 (.93)"], ["DDS", ".086"]]))
    assert changes == [(4, 1, ".0767 (.93)", ".0769 (.93)"), (5, 1, ".084", ".086")]
    now = measure.pages.updated(page, changes)
    assert list(measure.pages.differences(table, now, [["mean", ".0769 (.93)"], ["DDS", ".086"]])) == []
    assert now.startswith("text\n\n| a | NRMSE |\n|---|---|\n| **mean** | **.0769** (.93) |")
    assert now.endswith("| DDS | .086 |\nmore")
    with pytest.raises(SystemExit, match="no row SENSE"):
        list(measure.pages.differences(table, page, [["SENSE", ".1"]]))
    with pytest.raises(SystemExit, match="2 cells, and 3 came out"):
        list(measure.pages.differences(table, page, [["DDS", ".084", ".9"]]))
    exact = [(4, 1, ".0767 (.93)", ".0768 (.93)"), (5, 1, ".084", ".083")]
    assert list(measure.pages.differences(table, page, same, 0.0)) == exact
    assert not measure.pages.same("–", ".10")
    assert not measure.pages.same(".8 %", ".8")


def test_a_sentence_that_tells_of_a_table_is_held_against_it_and_written_anew(measure: ModuleType) -> None:
    page = "At R = 4 the mean leaves\n.089, DDS .100.\nMore."
    told = measure.comparisons.Told("page.md", "the mean leaves #, DDS #.", lambda rows: [row[1] for row in rows])
    assert measure.pages.untold(told, page, [["mean", ".090"], ["DDS", ".1001"]]) == []
    changes = measure.pages.untold(told, page, [["mean", ".093"], ["DDS", ".12"]])
    assert [(said.group(), now) for said, now in changes] == [(".089", ".093"), (".100", ".12")]
    assert measure.pages.told_anew(page, changes) == "At R = 4 the mean leaves\n.093, DDS .12.\nMore."
    with pytest.raises(SystemExit, match="0 sentences"):
        measure.pages.figures_of(measure.comparisons.Told("page.md", "the mean has #", lambda rows: []), page)


def test_rows_are_found_by_what_stands_above_them_and_cells_that_nothing_makes_are_left(measure: ModuleType) -> None:
    page = (
        "the first:\n\n| R | series | Dice | seconds |\n|--|--|--|--|\n| 2 | T1 | .1 | 7 |\n\nthe second:\n\n"
        "| R | series | Dice | seconds |\n|--|--|--|--|\n| 2 | T1 | .3 | 7 |\n| | T2 | .4 | 8 |\n"
        "| 4 | T1 | **.5** | 9 |\n| | T2 | .6 | 9 |"
    )
    table = measure.Table("page.md", "| R | series |", 2, 1, lambda folder, sources: [], after="the second")
    made = [["2", "T1", ".3", ""], ["2", "T2", ".4", ""], ["4", "T1", ".7", ""], ["4", "T2", ".6", ""]]
    changes = list(measure.pages.differences(table, page, made))
    assert changes == [(12, 2, ".5", ".7")]
    assert "| 4 | T1 | **.7** | 9 |" in measure.pages.updated(page, changes)
    grouped = "| | NRMSE |\n|--|--|\n| **R = 2** | .1 |\n| FLAIR | .2 |\n| **R = 4** | .3 |\n| FLAIR | .4 |"
    by_group = measure.Table("page.md", "| | NRMSE |", 1, 1, lambda folder, sources: [])
    rows = [["R = 2", ".1"], ["FLAIR", ".2"], ["R = 4", ".3"], ["FLAIR", ".6"]]
    assert list(measure.pages.differences(by_group, grouped, rows)) == [(5, 1, ".4", ".6")]
    with pytest.raises(SystemExit, match="2 tables begin"):
        measure.pages.place_of(measure.Table("page.md", "| R |", 2, 1, lambda folder, sources: []), page)


def test_cells_of_measured_tables_are_written_as_their_pages_write_them(measure: ModuleType) -> None:
    table = measure.tasks
    row = {
        "segmenter": "random-walker", "method": "posterior", "acceleration": 1.6842, "persons": 10, "reached": 0.9,
        "clicks": 1.7, "clicks_change": -0.1, "clicks_change_low": -0.6, "clicks_change_high": 0.3, "clicks_p": 1.0,
    }  # fmt: skip
    assert [names for names, _ in table.in_order([row])] == [["random walker", "posterior mean", "1.68"]]
    assert (table.clicks(row), table.chance(row)) == ("1.7, -.1 (-.6 to .3)", ["1", "9 of 10"])
    assert [table.p_value(p) for p in (0.0625, 0.015625, 0.0039)] == [".06", ".016", ".004"]
    group = {"acceleration": 6.0, "group": "all", "scans": 24, "ratio": 1.107, "ratio_error": 0.031}
    for name, value in (("coverage", 0.897), ("region_coverage", 0.9), ("lesion_coverage", 0.875)):
        group |= {name: value, f"{name}_error": 0.0049}
    assert measure.deviations.calibration_row(group) == [
        "R = 6", "24", "1.11 ± .03", "89.7 ± .5", "90.0 ± .5", "88 ± 0"
    ]  # fmt: skip
    assert measure.pages.cells("| | **.5** | |") == ["", ".5", ""]
