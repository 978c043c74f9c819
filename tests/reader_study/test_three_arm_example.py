"""The three-arm example from plan to report, as a coordinator types it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("three") / "example"
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "reader_study" / "run.py"), "three-arms.yaml", str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder, done.stdout


def test_the_three_arm_example_runs_from_plan_to_report(example):
    folder, out = example
    values = json.loads((folder / "report" / "analysis.json").read_text())
    assert [row["new"] for row in values["comparisons"]] == ["accelerated", "wavelet"]
    assert all(row["decision"]["cases"] == 18 for row in values["comparisons"])
    assert "familywise error" in out
    page = (folder / "report" / "report.html").read_text()
    assert "SIMULATED" in page
    assert "Departure from the plan" not in page
    assert "wavelet against standard: Results" in page
    assert "share one error rate" in page


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools are not installed")
def test_its_series_are_valid_dicom(example):
    folder, _ = example
    series = sorted((folder / "study" / "dicom").glob("*/0001.dcm"))
    assert len(series) == 3 * (18 + 3 + 2)
    for path in series[:3]:
        done = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, check=False)
        assert "Error" not in done.stdout + done.stderr
