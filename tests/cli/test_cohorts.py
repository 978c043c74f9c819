"""Several scans in one command: one bad scan is said, the others are done, and the exit code says so."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recon.scans.opening import open_scan
from tests.small_world import write_small_scan

Run = Callable[..., Any]


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Three scans in a folder; the second is cut short."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for seed, name in enumerate(("a", "b", "c")):
        write_small_scan(folder / f"{name}.h5", seed=seed)
    bad = folder / "b.h5"
    bad.write_bytes(bad.read_bytes()[:-4000])
    return folder


def left_out(outcome: Any, bad: Path) -> None:
    """One scan was refused, by name, in one line."""
    assert outcome.code == 2
    assert [line for line in outcome.err.splitlines() if line.startswith("recon: ")], outcome.err
    assert [entry["scan"] for entry in outcome.json["refused"]] == [str(bad)]
    assert str(bad) in outcome.json["refused"][0]["problem"]
    assert "Traceback" not in outcome.err


def test_undersample(cohort: Path, tmp_path: Path, run_cli: Run) -> None:
    out = tmp_path / "fast"
    words = ("--acceleration", 2, "--calibration-lines", 12, "--out", out, "--json")
    outcome = run_cli("undersample", cohort, *words)
    left_out(outcome, cohort / "b.h5")
    assert sorted(path.name for path in out.iterdir()) == ["a.h5", "c.h5"]
    assert all(open_scan(path).acceleration > 1.3 for path in out.iterdir())
    one = run_cli("undersample", cohort / "a.h5", *words[:-3], "--out", tmp_path / "one.h5", "--json")
    assert one.json["output"] == str(tmp_path / "one.h5")
    assert "refused" not in one.json
    assert (tmp_path / "one.h5").read_bytes() == (out / "a.h5").read_bytes()


def test_convert(cohort: Path, tmp_path: Path, run_cli: Run) -> None:
    out = tmp_path / "copies"
    left_out(run_cli("convert", cohort, "--contrast", "T2", "--out", out, "--json"), cohort / "b.h5")
    assert {open_scan(path).contrast for path in out.iterdir()} == {"T2"}
    arrays = [tmp_path / "x.npy", tmp_path / "y.npy"]
    for path in arrays:
        np.save(path, open_scan(cohort / "a.h5").read_kspace(0))
    outcome = run_cli("convert", *arrays, "--axes", "coil,readout,phase", "--out", out, "--json")
    assert outcome.code == 0
    assert [Path(entry["output"]).name for entry in outcome.json["scans"]] == ["x.h5", "y.h5"]


def test_info(cohort: Path, run_cli: Run) -> None:
    outcome = run_cli("info", cohort, "--json")
    left_out(outcome, cohort / "b.h5")
    assert [entry["can_reconstruct"] for entry in outcome.json["scans"]] == [True, True]
    (cohort / "b.h5").unlink()
    assert run_cli("info", cohort).code == 0
    assert run_cli("info", cohort / "a.h5", "--json").json["path"] == str(cohort / "a.h5")


def test_reconstruct_and_evaluate(cohort: Path, tmp_path: Path, run_cli: Run) -> None:
    out = tmp_path / "results"
    outcome = run_cli("reconstruct", cohort, "--method", "sense", "--out", out, "--json")
    left_out(outcome, cohort / "b.h5")
    assert sorted(path.name for path in out.iterdir()) == ["a.h5", "c.h5"]
    (cohort / "b.h5").unlink()
    good = run_cli("evaluate", out, "--reference", cohort, "--json")
    assert good.code == 0
    assert [row["scan"] for row in good.json["scans"]] == ["a", "c"]
    assert good.json["refused"] == []
    broken = out / "b.h5"
    broken.write_bytes((out / "a.h5").read_bytes()[:-3000])
    write_small_scan(cohort / "b.h5", seed=1)
    table = tmp_path / "table.csv"
    outcome = run_cli("evaluate", out, "--reference", cohort, "--table", table, "--json")
    left_out(outcome, broken)
    assert outcome.json["nrmse"] == pytest.approx(good.json["nrmse"])
    with table.open(newline="") as file:
        assert [row["scan"] for row in csv.DictReader(file)] == ["a", "c", "mean"]


def test_two_scans_of_one_name_would_overwrite_each_other(cohort: Path, tmp_path: Path, run_cli: Run) -> None:
    other = tmp_path / "a.h5"
    write_small_scan(other)
    for command in (("convert",), ("undersample", "--acceleration", 2), ("reconstruct",)):
        outcome = run_cli(command[0], cohort / "a.h5", other, *command[1:], "--out", tmp_path / "out")
        assert outcome.code == 2
        assert "same name" in outcome.err
        assert not (tmp_path / "out").exists()


def test_several_scans_need_a_folder(cohort: Path, tmp_path: Path, run_cli: Run) -> None:
    taken = tmp_path / "taken.h5"
    write_small_scan(taken)
    outcome = run_cli("undersample", cohort, "--acceleration", 2, "--out", taken)
    assert outcome.code == 2
    assert "need a folder" in outcome.err
