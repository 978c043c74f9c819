"""Drift over the reading order."""

import numpy as np
import pytest

from reader_study.statistics.drift import drift


def test_drift_finds_a_planted_slope_and_spares_a_flat_reader():
    generator = np.random.default_rng(5)
    order = generator.permutation(120).reshape(2, 60) + 1.0
    noise = generator.normal(scale=0.2, size=(2, 60)) + generator.normal(size=60)
    planted, flat = drift(4 - order / 120 + noise, order, generator), drift(4 + noise, order, generator)
    assert planted is not None
    assert flat is not None
    assert planted.slope_high < -0.6
    assert planted.slope_p == 0.001
    assert flat.slope_low < 0 < flat.slope_high
    pairs = np.stack([4 + noise[0], 4 + noise[0] - np.arange(60) / 60])
    both = drift(pairs, np.arange(60.0), generator)
    assert both is not None
    assert both.interaction == pytest.approx(-59 / 60, abs=1e-6)
    assert drift(np.full((2, 6), 3.0), np.arange(12.0).reshape(2, 6), generator) is None
    assert drift(noise[:, :5], order[:, :5], generator) is None


def test_interval_and_p_value_say_the_same():
    generator = np.random.default_rng(6)
    for _ in range(20):
        order = generator.permutation(40).reshape(2, 20) + 1.0
        scores = np.rint(4 - 0.6 * order / 40 + 0.5 * generator.normal(size=(2, 20)))
        found = drift(scores, order, generator)
        assert found is not None
        assert (found.slope_p < 0.05) == (not found.slope_low <= 0 <= found.slope_high) or 0.045 < found.slope_p < 0.055


def test_size_at_twenty_cases():
    """Errors clustered by 20 cases, taken at their word, reject 7 to 10 % at 5 %."""
    generator = np.random.default_rng(7)
    rejected = []
    for _ in range(200):
        order = generator.permutation(40).reshape(2, 20) + 1.0
        level = 4 + 0.5 * generator.normal(size=20) + 0.6 * generator.normal(size=(2, 20))
        found = drift(np.clip(np.rint(level), 1, 5), order, generator)
        assert found is not None
        rejected.append((found.slope_p < 0.05, found.interaction_p < 0.05))
    assert np.mean(rejected, axis=0) == pytest.approx([0.05, 0.05], abs=0.035)
