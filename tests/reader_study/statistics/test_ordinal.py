"""Cumulative link models against published fits."""

from types import SimpleNamespace

import numpy as np
import pytest

from reader_study.analyses.ordinal import ORDINAL
from reader_study.statistics.ordinal import cumulative_link_mixed
from reader_study.statistics.ordinal_likelihood import clustered, information, negative_log_likelihood
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
    assert f"{found.deviations[0] ** 2:.2f}" == "1.29"
    assert found.summit.log_likelihood > -86.49


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
    with pytest.raises(ReconError, match=r"hardly determine the odds ratio|likelihood has no maximum"):
        ORDINAL.compute(SimpleNamespace(own_compared=scores))


def tossed(seed, readers=3, cases=15, effect=0.0):
    """Scores of one study from the model itself: arm in cases, four categories."""
    generator = np.random.default_rng(seed)
    case, slope = generator.normal(scale=1.5, size=cases), generator.normal(scale=0.8, size=cases)
    arm = np.array([0.0, 1.0])[:, None, None]
    latent = arm * effect + case + (arm - 0.5) * slope + generator.logistic(size=(2, readers, cases))
    scores = np.digitize(latent, [-1.0, 0.5, 2.0]).astype(float)
    places = [axis.ravel() for axis in np.indices(scores.shape)]
    return scores.ravel(), places[0][:, None].astype(float), places[2], places[0] - 0.5


def test_the_interval_ends_where_the_likelihood_ratio_is_at_its_level():
    scores, design, case, slope = tossed(3, effect=1.0)
    fit = cumulative_link_mixed(scores, design, ("arm",), case, slope)
    found = fit.effect("arm")
    for end in ("low", "high"):
        assert fit.p_value("arm", np.log(found[end])) == pytest.approx(0.05, abs=1e-4)
    assert fit.p_value("arm", fit.coefficients[0]) == 1.0
    assert found["p_value"] == fit.p_value("arm")
    ordered = np.log([found["low"], found["odds_ratio"], found["high"]])
    assert ordered == pytest.approx(fit.coefficients[0] + np.array([-1.96, 0, 1.96]) * fit.standard_errors[0], rel=0.2)


def test_exchanged_arms_give_the_inverse_odds_ratio():
    scores, design, case, slope = tossed(4, effect=0.7)
    one = cumulative_link_mixed(scores, design, ("arm",), case, slope).effect("arm")
    other = cumulative_link_mixed(scores, 1 - design, ("arm",), case, -slope).effect("arm")
    assert one["p_value"] == pytest.approx(other["p_value"], abs=1e-5)
    assert [one["low"], one["odds_ratio"]] == pytest.approx([1 / other["high"], 1 / other["odds_ratio"]], rel=1e-3)


def test_information_is_the_derivative_of_the_gradient():
    scores, design, case, slope = tossed(5)
    data = clustered(scores.astype(int), design, np.column_stack([np.ones_like(slope), slope]), case)
    at = np.array([0.3, -1.0, 0.4, 0.2, 1.1, 0.7])
    moved = [negative_log_likelihood(at + step, data)[1] for step in np.eye(at.size) * 1e-5]
    back = [negative_log_likelihood(at - step, data)[1] for step in np.eye(at.size) * 1e-5]
    assert information(at, data) == pytest.approx((np.array(moved) - np.array(back)) / 2e-5, abs=1e-4)
