"""Cumulative link models against published fits."""

from types import SimpleNamespace

import numpy as np
import pytest

from reader_study.analyses.ordinal import ORDINAL
from reader_study.statistics.ordinal import OrdinalFit, cumulative_link_mixed
from reader_study.statistics.ordinal_likelihood import clustered, negative_log_likelihood
from recon.errors import ReconError
from tests.reader_study.published import RATINGS, printed


def wine():
    scores = np.array([[float(digit) for digit in bottle] for bottle in RATINGS["wine"]["bottles"]]).ravel()
    warm, contact = np.repeat([0, 0, 0, 0, 1, 1, 1, 1], 9), np.repeat([0, 0, 1, 1, 0, 0, 1, 1], 9)
    return scores, np.column_stack([warm, contact]), np.tile(np.arange(9), 8)


def test_wine_cumulative_link_model():
    """Published without random effects: the same likelihood with a deviation of nought is there and stands still."""
    scores, design, judge = wine()
    data = clustered(scores.astype(int) - 1, design.astype(float), np.ones((scores.size, 1)), judge)
    thresholds = np.array([-1.3444, 1.2508, 3.4669, 5.0064])
    published = np.r_[2.5031, 1.5278, thresholds[0], np.log(np.diff(thresholds)), 0.0]
    value, gradient = negative_log_likelihood(published, data)
    assert printed(-value, "-86.49")
    assert np.abs(gradient[:-1]).max() < 1e-3


def test_wine_cumulative_link_mixed_model():
    """Published with the same data (judge as random intercept, ten quadrature nodes)."""
    scores, design, judge = wine()
    found = cumulative_link_mixed(scores, design, ("temp", "contact"), judge)
    assert [f"{value:.2f}" for value in found.coefficients] == ["3.06", "1.83"]
    assert [f"{value:.2f}" for value in found.thresholds] == ["-1.62", "1.51", "4.23", "6.09"]
    assert f"{found.random_deviation**2:.2f}" == "1.29"
    assert found.log_likelihood > -86.49


def test_ordinal_model_refuses_what_it_cannot_fit():
    with pytest.raises(ReconError, match="every score is the same"):
        cumulative_link_mixed(np.ones(6), np.arange(6.0)[:, None], ("arm",), np.arange(6))
    with pytest.raises(ReconError, match="finite"):
        cumulative_link_mixed(np.array([1, np.nan, 2]), np.arange(3.0)[:, None], ("arm",), np.arange(3))


def test_an_odds_ratio_that_the_scores_hardly_determine_is_not_printed():
    """Scores that all but follow case and arm: the example printed odds ratios of up to 10^6 (0.1 to 10^12)."""
    generator = np.random.default_rng(11)
    for _ in range(7):
        latent = 2 + 0.6 * generator.normal(size=18) + np.array([0.0, 1.0])[:, None, None]
        scores = np.clip(np.rint(latent + 0.15 * generator.normal(size=(2, 2, 18))), 1, 5)
    with pytest.raises(ReconError, match="hardly determine the odds ratio"):
        ORDINAL.compute(SimpleNamespace(own_compared=scores))


def test_an_interval_beyond_all_numbers_ends_at_infinity():
    nothing = np.zeros(1)
    fit = OrdinalFit(("arm",), np.array([2.0]), np.array([1e4]), nothing, 1.0, 1.0, -10.0, 20, 10)
    found = fit.effect("arm")
    assert (found["low"], found["high"]) == (0.0, np.inf)
