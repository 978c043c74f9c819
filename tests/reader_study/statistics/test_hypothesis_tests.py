"""Tests of a difference, by hand and against their definitions."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from reader_study.power_options import Assumptions
from reader_study.power_scores import Design, draw_scores, latent_means
from reader_study.statistics import missing, multiplicity
from reader_study.statistics.non_inferiority import case_differences, compare_by_case_means
from reader_study.statistics.nonparametric import signed_rank, signed_ranks
from reader_study.statistics.obuchowski_rockette import components, components_of_pairs
from recon.errors import ReconError


def test_signed_rank_agrees_with_its_definition():
    differences = np.array([0.5, -0.5, 1.0, 0.0, 1.5, 0.5, -1.0, 2.0, 0.5, 1.0])
    found = signed_rank(differences, 0.5)
    pairs = np.array([(a + b) / 2 for i, a in enumerate(differences) for b in differences[i:]])
    for centre in (0.0, 0.5, -0.5, 0.25):
        total, _ = signed_ranks(differences, centre)
        assert total == (pairs > centre).sum() - (pairs < centre).sum()
    # The exact test: every choice of signs of what is not zero.
    total, deviation = signed_ranks(differences, 0.0)
    signs = np.array(list(product((-1, 1), repeat=10)))
    ranks = np.where(differences == 0, 0.0, stats.rankdata(np.abs(differences)))
    sums = signs @ ranks
    middle = (np.abs(sums) > total).mean() + (np.abs(sums) == total).mean() / 2
    assert deviation == pytest.approx(sums.std())
    assert found.test.p_difference == pytest.approx(middle, abs=0.015)
    assert found.test.low < found.test.estimate < found.test.high
    assert 0.5 <= found.test.estimate <= 0.75  # between the median Walsh average and the next
    assert found.non_zero == 9
    with pytest.raises(ReconError, match="every reader scored in both arms"):
        signed_rank(np.zeros(0), 0.5)
    nothing = signed_rank(np.zeros(5), 0.5)
    assert (nothing.test.estimate, nothing.test.p_difference) == (0, 1)


def test_hodges_lehmann_interval_covers_what_it_says_on_likert_means():
    """The textbook interval covers 99 % here."""
    scores = _studies(400, readers=2, cases=60, effect=0.0, seed=2)
    tests = [signed_rank(case_differences(study), 0.25).test for study in scores]
    assert 0.93 <= np.mean([test.low <= 0 <= test.high for test in tests]) <= 0.97
    assert 0.03 <= np.mean([test.p_difference < 0.05 for test in tests]) <= 0.07


def _studies(count, readers, cases, effect, seed):
    design = Design(readers, cases, True, 0.25, 0.025, (1, 5))
    means = latent_means(design, Assumptions(), effect)
    return draw_scores(design, Assumptions(), means, count, np.random.default_rng(seed))


def sensitivity(scores, seed):
    planned = np.ones(scores.shape[1:], bool)
    return missing.sensitivity(scores, planned, (1, 5), 0.5, 0.025, np.random.default_rng(seed))


def test_one_missing_reading_costs_one_pair():
    """Not the case, and not the other readers' pairs of it."""
    scores = _studies(1, readers=3, cases=20, effect=0.0, seed=1)[0]
    whole = compare_by_case_means(scores, 0.5)
    assert whole.df == pytest.approx(19)
    by_case = case_differences(scores)
    assert (whole.estimate, whole.standard_error) == pytest.approx(
        (by_case.mean(), by_case.std(ddof=1) / np.sqrt(20)), abs=1e-12
    )
    scores[1, 0, 3] = np.nan
    found = compare_by_case_means(scores, 0.5)
    own = [np.nanmean(scores[1, reader] - scores[0, reader]) for reader in range(3)]
    assert found.estimate == pytest.approx(np.mean(own))
    assert found.cases == 20
    assert 18 < found.df < 19


def test_a_lost_reader_costs_himself():
    scores = _studies(1, readers=3, cases=20, effect=0.0, seed=1)[0]
    scores[1, 2] = np.nan  # his second session never came
    found, others = compare_by_case_means(scores, 0.5), compare_by_case_means(scores[:, :2], 0.5)
    assert (found.estimate, found.low, found.df) == pytest.approx((others.estimate, others.low, others.df))
    assert case_differences(scores).size == 20
    assert sensitivity(scores, 1).worst.estimate < found.estimate
    scores[1] = np.nan
    with pytest.raises(ReconError, match="nothing to compare"):
        compare_by_case_means(scores, 0.5)


def test_obuchowski_rockette_of_pairs_is_the_jackknife_where_nothing_is_missing():
    scores = _studies(1, readers=4, cases=20, effect=0.0, seed=3)[0]
    whole, pairs = components(scores), components_of_pairs(scores)
    for name in ("mean_square_arm", "mean_square_arm_reader", "variance", "covariance_same_reader"):
        assert getattr(pairs, name) == pytest.approx(getattr(whole, name), abs=1e-12), name
    for name in ("covariance_same_arm", "covariance_neither"):
        assert getattr(pairs, name) == pytest.approx(getattr(whole, name), abs=1e-12), name
    scores[0, 1, 5] = np.nan
    assert components_of_pairs(scores).covariance_same_arm == pytest.approx(whole.covariance_same_arm, abs=0.003)


def test_holm():
    found = {row.name: row for row in multiplicity.holm({"a": 0.01, "b": 0.04, "c": 0.03}, 0.05)}
    assert [round(found[name].p_adjusted, 12) for name in "abc"] == [0.03, 0.06, 0.06]
    assert found["a"].rejected
    assert not found["b"].rejected
    assert multiplicity.holm({}, 0.05) == []


def test_per_case_means_by_hand_and_two_tests_named_apart():
    scores = np.zeros((2, 2, 4))
    scores[1] = [[0, 1, 0, -1], [0, 0, 1, -1]]
    found = compare_by_case_means(scores, 0.9, 0.025)
    differences = np.array([0, 0.5, 0.5, -1])
    assert case_differences(scores).tolist() == differences.tolist()
    error = differences.std(ddof=1) / 2
    assert found.statistic == pytest.approx(0.9 / error)
    assert found.p_difference == 1
    assert found.low <= 0


def test_a_case_without_a_pair_is_left_out():
    scores = np.random.default_rng(0).normal(size=(2, 2, 10))
    scores[1, 0, 3] = np.nan
    assert compare_by_case_means(scores[:, :1], 0.5).cases == 9


def test_pooled_rows_are_refused_with_the_reason():
    rows = np.zeros((2, 60))  # arm x (reader x case), as a pooled analysis would want it
    with pytest.raises(ReconError, match=r"pooling reader x case rows is refused.*per-case means"):
        compare_by_case_means(rows, 0.5)


def test_constant_differences_decide_by_their_sign():
    scores = np.zeros((2, 2, 5))
    assert compare_by_case_means(scores, 0.5).claimed
    assert compare_by_case_means(scores, 0.5).low == 0
    scores[1] = -0.5
    assert not compare_by_case_means(scores, 0.5).claimed


@pytest.mark.parametrize("shared", [0, 2])
def test_nothing_is_imputed_from_two_pairs_that_readers_share(shared):
    """It was a bare error of NumPy's: no degree of freedom is left to draw the regression from."""
    scores = np.random.default_rng(1).integers(1, 6, (2, 2, 12)).astype(float)
    scores[1, 0, :6] = scores[1, 1, 6 + shared :] = np.nan
    scores[1, 1, 0] = np.nan
    found = sensitivity(scores, 2)
    assert found.imputed is None
    assert found.worst.estimate < found.best.estimate


def test_missing_data_sensitivity_brackets_and_tips():
    generator = np.random.default_rng(1)
    scores = np.clip(np.round(4 + 0.6 * generator.normal(size=(2, 2, 60))), 1, 5)
    complete = sensitivity(scores, 2)
    assert complete.missing_scores == 0
    assert complete.worst is None
    holes = scores.copy()
    holes[1, 0, :12] = np.nan
    found = sensitivity(holes, 2)
    assert found.missing_by_arm == (0, 12)
    assert found.incomplete_cases == 12
    assert found.worst is not None
    assert found.best is not None
    assert found.imputed is not None
    assert found.worst.estimate < found.imputed.test.estimate < found.best.estimate
    assert found.worst.claimed == (found.worst.low > -0.5)
    assert found.imputed.test.estimate == pytest.approx(compare_by_case_means(scores, 0.5).estimate, abs=0.15)
    again = sensitivity(holes, 2)
    assert again == found
    many = scores.copy()
    many[1, :, :30] = np.nan
    tipped = sensitivity(many, 2)
    assert tipped.imputed is not None
    assert tipped.imputed.test.claimed
    assert tipped.tipping_shift is not None
