"""The paper in miniature runs from end to end in its quick form, twice over the same folder."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "stroke_flair" / "run.py"


@pytest.mark.slow
def test_quick_form_finishes_and_answers_every_question(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RECON_SHARED_DATA"}
    command = [sys.executable, str(SCRIPT), "--out", str(tmp_path / "out"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(results["answers"]) == 8
    assert set(results["nrmse"]) == {"2", "4"}
    for by in results["nrmse"].values():
        assert set(by) == {*"0123456", "5b"}
        assert all(entry["low"] < entry["mean"] < entry["high"] and 0 < entry["mean"] < 2 for entry in by.values())
    text = (tmp_path / "out" / "REPORT.md").read_text()
    assert all(entry["measured"] in text for entry in results["answers"])
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "priors").rglob("*.safetensors")}
    started = time.monotonic()
    again = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert again.returncode == 0, again.stderr[-3000:]
    assert time.monotonic() - started < 120, "what is finished is kept"
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "priors").rglob("*.safetensors")}
