"""The one result of testing a difference."""

import numpy as np
import pytest
from scipy import stats

from reader_study.statistics.hypothesis_test import t_test
from recon.errors import ReconError


def test_margin_and_zero_are_two_tests_of_one_estimate() -> None:
    generator = np.random.default_rng(3)
    differences = generator.normal(-0.1, 0.5, 40)
    error = differences.std(ddof=1) / np.sqrt(40)
    found = t_test(differences.mean(), error, 39, cases=40, margin=0.4, alpha=0.025, method="t")
    ahead = stats.ttest_1samp(differences, -0.4, alternative="greater")
    apart = stats.ttest_1samp(differences, 0.0)
    limits = apart.confidence_interval(0.95)
    assert (found.statistic, found.p_value) == pytest.approx((ahead.statistic, ahead.pvalue))
    assert found.p_difference == pytest.approx(apart.pvalue)
    assert (found.low, found.high) == pytest.approx((limits.low, limits.high))
    assert found.level == pytest.approx(0.95)
    assert found.claimed == (ahead.pvalue < 0.025)
    assert found.low <= 0


def test_infinite_degrees_of_freedom_are_the_normal_test() -> None:
    found = t_test(0.3, 0.1, float("inf"), cases=9, margin=0.0, alpha=0.025, method="z")
    assert found.p_value == pytest.approx(stats.norm.sf(3))
    assert found.low == pytest.approx(0.3 - 0.1 * stats.norm.ppf(0.975))


@pytest.mark.parametrize(("estimate", "claimed", "p_value"), [(0.0, True, 0.0), (-0.5, False, 0.5), (-0.6, False, 1.0)])
def test_where_nothing_varies_the_sign_decides(estimate: float, claimed: bool, p_value: float) -> None:
    found = t_test(estimate, 0.0, 5, cases=6, margin=0.5, alpha=0.025, method="t")
    assert (found.claimed, found.p_value) == (claimed, p_value)
    assert found.p_difference == float(estimate == 0)


@pytest.mark.parametrize(("margin", "alpha"), [(-0.1, 0.025), (float("nan"), 0.025), (0.5, 0.0), (0.5, 0.6)])
def test_impossible_margins_and_error_rates_are_refused(margin: float, alpha: float) -> None:
    with pytest.raises(ReconError, match=r"margin is a number|alpha is the one-sided"):
        t_test(0.0, 0.1, 5, cases=6, margin=margin, alpha=alpha, method="t")
