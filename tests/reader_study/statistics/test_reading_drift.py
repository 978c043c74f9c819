"""Drift over the reading order."""

import numpy as np
import pytest

from reader_study.statistics.drift import drift, pair_drift


def test_drift_finds_a_planted_slope_and_spares_a_flat_reader():
    generator = np.random.default_rng(5)
    case, arm = np.tile(np.arange(60), 2), np.repeat([0.0, 1.0], 60)
    order = generator.permutation(120) + 1.0
    noise = generator.normal(scale=0.2, size=120) + generator.normal(size=60)[case]
    planted = drift(4 - order / 120 + noise, order, arm, case)
    flat = drift(4 + noise, order, arm, case)
    assert planted is not None
    assert flat is not None
    assert planted.slope_high < -0.6
    assert planted.slope_p < 1e-6
    assert flat.slope_low < 0 < flat.slope_high
    pairs = np.stack([4 + noise[:60], 4 + noise[:60] - np.arange(60) / 60])
    both = pair_drift(pairs, np.arange(60.0))
    assert both is not None
    assert both.interaction == pytest.approx(-59 / 60, abs=1e-6)
    assert drift(np.full(4, 3.0), np.arange(4.0), np.array([0.0, 1, 0, 1]), np.array([0, 0, 1, 1])) is None
