"""Agreement coefficients against published figures, to the printed digits."""

import numpy as np
import pytest

from reader_study.statistics import agreement
from reader_study.statistics.interchangeability import interchangeability
from reader_study.statistics.intraclass import intraclass
from reader_study.statistics.repeatability import repeatability
from tests.reader_study.published import printed

SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float).T


def test_shrout_fleiss_intraclass_correlations():
    found = intraclass(SHROUT_FLEISS)
    expected = {"ICC(1,1)": ".1657", "ICC(2,1)": ".2898", "ICC(3,1)": ".7148"}
    expected |= {"ICC(1,k)": ".4428", "ICC(2,k)": ".6201", "ICC(3,k)": ".9093"}
    for model, text in expected.items():
        assert printed(found[model].coefficient, text), model
        assert found[model].low < found[model].coefficient < found[model].high


def test_intraclass_of_perfect_agreement_is_one():
    found = intraclass(np.array([[1.0, 2, 3, 5], [1, 2, 3, 5]]))
    assert all((value.low, value.coefficient, value.high) == pytest.approx((1, 1, 1)) for value in found.values())


def test_readers_a_point_apart_have_an_interval_for_their_agreement():
    """The degrees of freedom were nought by nought, and with other rounding anything."""
    apart = np.array([[1.0, 2, 4, 3, 2, 5], [2, 3, 5, 4, 3, 6]])
    found, near = intraclass(apart)["ICC(2,1)"], intraclass(apart + 1e-5 * np.eye(2, 6))["ICC(2,1)"]
    assert found.low < found.coefficient < found.high
    assert (found.low, found.high) == pytest.approx((near.low, near.high), abs=1e-4)


TABLE = np.array([[13, 0, 0], [0, 20, 7], [0, 4, 56]])
PAIRED = np.array([(i, j) for i in range(3) for j in range(3) for _ in range(TABLE[i, j])], float).T


def test_weighted_kappa_and_ac1():
    plain = agreement.cohen(TABLE)
    assert printed(plain.kappa, ".79641")
    assert printed(plain.standard_error, ".05891")
    assert printed(agreement.cohen(TABLE, "quadratic").kappa, ".89216")
    assert printed(agreement.gwet(PAIRED, [0, 1, 2]).coefficient, ".84933")
    assert (agreement.cross_table(PAIRED[0], PAIRED[1], [0, 1, 2]) == TABLE).all()


def test_the_interval_of_kappa_stays_within_one_and_leans_towards_nought():
    """Kappa plus or minus 1.96 errors went beyond 1, and covered 91 %."""
    found = agreement.cohen(agreement.cross_table(np.r_[np.ones(9), 2], np.r_[np.ones(8), 2, 2], [1, 2]))
    assert found.kappa + 1.96 * found.standard_error > 1
    assert found.high < 1
    assert found.kappa - found.low > found.high - found.kappa
    whole = agreement.cohen(agreement.cross_table(np.array([1.0, 2, 3]), np.array([1.0, 2, 3]), [1, 2, 3]))
    assert (whole.low, whole.high) == (1, 1)


def test_agreement_by_hand():
    """Fleiss' kappa against Scott's pi."""
    margins = (TABLE.sum(axis=0) + TABLE.sum(axis=1)) / 200
    pi = (0.89 - (margins**2).sum()) / (1 - (margins**2).sum())
    assert agreement.fleiss(PAIRED, [0, 1, 2]) == pytest.approx(pi)
    # AC2 with quadratic weights, by its definition.
    weights = agreement.category_weights(3, "quadratic")
    observed = (TABLE / 100 * weights).sum()
    chance = weights.sum() / 6 * (margins * (1 - margins)).sum()
    assert agreement.gwet(PAIRED, [0, 1, 2], "quadratic").coefficient == pytest.approx(
        (observed - chance) / (1 - chance)
    )


def test_krippendorff_ordinal_published_example():
    """Krippendorff 2011, example C: four observers, twelve units, missing values."""
    nan = np.nan
    ratings = np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, nan, nan, nan],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, nan, 3],
            [nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, nan],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, nan],
        ]
    )
    assert printed(agreement.krippendorff(ratings, [1, 2, 3, 4, 5]), ".815")


def test_agreement_where_everything_is_one_category_is_not_a_number_and_no_warning():
    same = np.full((2, 6), 4.0)
    assert np.isnan(agreement.cohen(agreement.cross_table(same[0], same[1], [1, 2, 3, 4, 5]), "quadratic").kappa)
    assert np.isnan(agreement.fleiss(same, [1, 2, 3, 4, 5]))
    assert np.isnan(agreement.krippendorff(same, [1, 2, 3, 4, 5]))
    assert agreement.gwet(same, [1, 2, 3, 4, 5]).coefficient == 1


def test_repeatability():
    found = repeatability(np.array([3.0, 4, np.nan, 5]), np.array([3.0, 5, 4, 3]), (1, 2, 3, 4, 5))
    assert found is not None
    assert (found.pairs, found.exact_agreement, found.within_one_point) == (3, 1 / 3, 2 / 3)
    assert found.within_deviation == pytest.approx(np.sqrt((0 + 1 + 4) / 3 / 2))
    assert repeatability(np.array([np.nan]), np.array([1.0]), (1, 2)) is None


def test_interchangeability_by_hand():
    reference = np.array([[3.0, 4, 4, 5], [3, 4, 5, 5]])
    new = np.array([[3.0, 4, 4, 4], [2, 4, 5, 5]])
    found = interchangeability(np.stack([reference, new]), np.ones((2, 4), bool), np.random.default_rng(0))
    assert found.disagree_reference_reference == 0.25
    # new of one reader against reference of the other: 0.5, 0, 1, 0.5
    assert found.disagree_new_reference == 0.5
    assert found.low <= found.difference <= found.high
    near = interchangeability(np.stack([reference, new]), np.ones((2, 4), bool), np.random.default_rng(0), tolerance=1)
    assert near.difference == 0


def test_where_all_cases_are_alike_their_agreement_has_no_interval():
    alike = intraclass(np.array([[4.0] * 8, [5.0] * 8]))["ICC(2,1)"]
    assert np.isnan([alike.low, alike.high]).all()
