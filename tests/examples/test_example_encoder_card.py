"""The example that makes the figures of the encoder's card: its table, on answers that are known."""

import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "encoder_drift"


@pytest.fixture
def lesions(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import lesions as module

    yield module
    for name in ("lesions", "tables"):
        sys.modules.pop(name, None)


def test_cohorts_and_sizes_stand_apart(lesions, capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.tile([0, 1], 40)
    cohorts = np.repeat(["PTBP", "ICBM"], 40)
    millilitres = np.where(labels, np.tile([0, 0.5, 0, 9.0], 20), 0.0)
    right = np.stack([1 - labels, labels], axis=1).astype(float)
    large_only = np.where((millilitres > 6)[:, None], [[0.0, 1.0]], [[1.0, 0.0]])
    persons = tuple(str(index // 4) for index in range(80))
    cases = lesions.Cases(labels, {"recon-small": right, "hand-made": large_only}, persons, cohorts, millilitres)
    found = lesions.results(cases, 100)
    assert list(found) == [
        f"{cohort}, {size}" for cohort in ("PTBP", "ICBM", "both") for size in ("any lesion", "under 1 mL", "over 6 mL")
    ]
    small, large = found["PTBP, under 1 mL"], found["PTBP, over 6 mL"]
    assert (small["persons"], small["lesions"]) == (10, 10)
    assert small["hand-made"][0] == 0.5
    assert large["hand-made"][0] == 1
    assert small["difference to hand-made"][0] == 0.5
    lesions.show(found)
    assert "| ICBM, over 6 mL | 10, 30, 10 |" in capsys.readouterr().out
