"""The documents name what is there."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


def _make_modules() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_modules", ROOT / "docs" / "make_modules.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_module_is_on_the_map():
    made = _make_modules()
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
