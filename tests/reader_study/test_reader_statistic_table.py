"""The table of statistics: one module with one row is all that a statistic of the report needs."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_reader_analysis import PASSPHRASE, Built

from reader_study.analyses import table
from reader_study.analyses.statistic import OTHER_ANALYSES, Readings, Statistic
from reader_study.analysis_result import Analysis, ItemResult
from reader_study.document import ReportBlock, Table
from reader_study.observations import Observations
from recon.errors import ReconError

# --- what a module of its own would hold


def compute(readings: Readings) -> float:
    """Share of cases in which no reader scored the arms differently."""
    return float((readings.scores[0] == readings.scores[1])[:, readings.complete].all(axis=0).mean())


def blocks(analysis: Analysis, observations: Observations) -> tuple[ReportBlock, ...]:
    rows = tuple((item.item, f"{UNCHANGED.of(item):.3f}") for item in analysis.items)
    return (Table(("item", "share of unchanged cases"), rows),)


def line(analysis: Analysis) -> tuple[str, str, str, str, str]:
    return "Toy: unchanged cases", f"{UNCHANGED.of(analysis.primary):.3f}", "–", "–", "–"


UNCHANGED = Statistic("unchanged", compute, "Toy method.", section="A toy's section", blocks=blocks, line=line)


def refuse(readings: Readings) -> float:
    raise ReconError("the toy cannot be computed today")


# ---


@pytest.fixture
def opened(run_cli, tmp_path):
    built = Built(tmp_path)
    built.write(built.folder / "sheets")
    built.open_key(built.folder / "sheets")
    assert PASSPHRASE

    def analyze(out):
        found = run_cli("reader-study", "analyze", built.folder, "--out", out, "--json")
        assert found.code == 0, found.err
        return json.loads((out / "analysis.json").read_text()), (out / "report.html").read_text()

    return analyze


def test_a_statistic_is_one_row(opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the command line: JSON, report, methods, table of other analyses; no other result changes."""
    before, _ = opened(tmp_path / "before")
    assert "unchanged" not in before["items"][0]
    monkeypatch.setattr(table, "STATISTICS", (UNCHANGED, *table.STATISTICS))
    values, page = opened(tmp_path / "after")
    shares = [item.pop("unchanged") for item in values["items"]]
    assert all(0 <= share <= 1 for share in shares)
    for text in ("A toy&#x27;s section", "share of unchanged cases", "Toy method.", "Toy: unchanged cases"):
        assert text in page
    assert f"{shares[0]:.3f}" in page
    assert values == before


def test_what_cannot_be_computed_is_a_note_and_ends_nothing(
    opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "STATISTICS", (*table.STATISTICS, Statistic("refused", refuse, "")))
    values, page = opened(tmp_path / "report")
    assert values["items"][0]["refused"] is None
    assert values["items"][0]["notes"] == ["the toy cannot be computed today"]
    assert "overall: the toy cannot be computed today." in page


def test_names_are_unique_and_hide_no_field() -> None:
    names = [statistic.name for statistic in table.STATISTICS]
    fields = {*ItemResult.__dataclass_fields__, *Analysis.__dataclass_fields__, "format", "claim", "limits", "notice"}
    assert len(set(names)) == len(names)
    assert not set(names) & fields
    assert any(statistic.section == OTHER_ANALYSES for statistic in table.STATISTICS)
    assert np.all([statistic.methods or statistic.blocks for statistic in table.STATISTICS])
