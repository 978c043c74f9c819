"""Obuchowski-Rockette against published analyses, to the printed digits."""

import numpy as np
import pytest
from scipy import stats

from reader_study.statistics import obuchowski_rockette
from reader_study.statistics.figure_of_merit import area_under_curve
from reader_study.statistics.non_inferiority import compare_by_case_means
from reader_study.statistics.obuchowski_rockette_power import noncentrality
from recon.errors import ReconError
from tests.reader_study.published import RATINGS, printed


def mrmc(name):
    """Published ratings `[treatment, reader, case]` and truth `[case]`."""
    study = RATINGS[name]
    scores = np.array(
        [[[float(digit) for digit in row] for row in study[key]] for key in ("treatment_1", "treatment_2")]
    )
    return scores, np.arange(scores.shape[-1]) >= study["negatives"]


@pytest.fixture(scope="module")
def van_dyke():
    scores, truth = mrmc("van_dyke")
    return obuchowski_rockette.components(scores, truth, area_under_curve)


@pytest.fixture(scope="module")
def franken():
    scores, truth = mrmc("franken")
    return obuchowski_rockette.components(scores, truth, area_under_curve)


def test_van_dyke_mean_squares_and_jackknife_covariances(van_dyke):
    assert van_dyke.cases == 114
    assert printed(van_dyke.figures.mean(axis=1)[0], ".89703704")
    assert printed(van_dyke.figures.mean(axis=1)[1], ".94083736")
    assert printed(van_dyke.mean_square_arm, ".00479617")
    assert printed(van_dyke.mean_square_arm_reader, ".00055103")
    assert printed(van_dyke.variance, ".00080229")
    assert printed(van_dyke.covariance_same_reader, ".00034661")
    assert printed(van_dyke.covariance_same_arm, ".00034407")
    assert printed(van_dyke.covariance_neither, ".00023903")


def test_van_dyke_random_readers_and_cases(van_dyke):
    test = obuchowski_rockette.equality(van_dyke)
    assert printed(test.statistic, "4.46")
    assert printed(test.df_denominator, "15.26")
    assert printed(test.p_value, ".0517")
    found = obuchowski_rockette.difference(van_dyke)
    assert printed(found.estimate, ".04380")
    assert printed(found.low, "-.00036")
    assert printed(found.high, ".08796")


def test_van_dyke_non_inferiority(van_dyke):
    found = obuchowski_rockette.difference(van_dyke, 0.05)
    assert printed(found.statistic, "4.5208")
    assert f"{found.p_value:.3e}" == "1.949e-04"
    assert found.claimed


def test_franken_where_cov2_is_smaller_than_cov3(franken):
    assert franken.covariance_same_arm < franken.covariance_neither
    assert printed(franken.figures.mean(axis=1)[0], ".84774989")
    assert printed(franken.figures.mean(axis=1)[1], ".83689507")
    test = obuchowski_rockette.equality(franken)
    assert printed(test.statistic, "4.69")
    assert test.df_denominator == 3
    assert printed(test.p_value, ".1188")


@pytest.mark.parametrize(
    ("pilot", "readers", "cases", "effect", "expected"),
    [("van_dyke", 10, 165, None, ".80542"), ("franken", 6, 121, 0.05, ".8004469")],
)
def test_obuchowski_rockette_power(pilot, readers, cases, effect, expected, request):
    """``effect`` None is the pilot's own."""
    found = request.getfixturevalue(pilot)
    within = found.variance - found.covariance_same_reader
    across = found.covariance_same_arm - found.covariance_neither
    effect = np.diff(found.figures.mean(axis=1))[0] if effect is None else effect
    away, df = noncentrality(
        found.mean_square_arm_reader, within, across, scale=found.cases / cases, readers=readers, effect=effect
    )
    assert printed(stats.ncf.sf(stats.f.ppf(0.95, 1, df), 1, df, away), expected)


def test_likert_means_through_obuchowski_rockette_agree_with_their_closed_form():
    scores = np.random.default_rng(3).normal(size=(2, 3, 17))
    found = obuchowski_rockette.components(scores)
    covariance = np.cov(scores.reshape(6, 17)) / 17
    assert found.variance == pytest.approx(np.diag(covariance).mean())
    assert found.covariance_same_reader == pytest.approx(np.mean([covariance[i, i + 3] for i in range(3)]))
    # With readers fixed, the contrast's variance is that of the per-case mean differences.
    by_case = compare_by_case_means(scores, 0.5)
    shared = found.covariance_same_arm - found.covariance_neither
    error = found.variance - found.covariance_same_reader + 2 * shared
    assert np.diff(found.figures.mean(axis=1))[0] == pytest.approx(by_case.estimate)
    assert np.sqrt(2 * error / 3) == pytest.approx(by_case.standard_error)


def test_obuchowski_rockette_refuses_missing_scores_and_single_readers():
    scores = np.zeros((2, 2, 5))
    scores[0, 0, 0] = np.nan
    with pytest.raises(ReconError, match="every reader to score every case"):
        obuchowski_rockette.components(scores)
    with pytest.raises(ReconError, match="two or more"):
        obuchowski_rockette.components(np.zeros((2, 1, 5)))
