"""Tests of a difference, by hand and against their definitions."""

import numpy as np
import pytest

from reader_study.statistics import missing, multiplicity
from reader_study.statistics.non_inferiority import case_differences, compare_by_case_means
from reader_study.statistics.nonparametric import signed_rank
from recon.errors import ReconError


def test_signed_rank_agrees_with_its_definition():
    differences = np.array([0.5, -0.5, 1.0, 0.0, 1.5, 0.5, -1.0, 2.0, 0.5, 1.0])
    found = signed_rank(differences, 0.5)
    pairs = sorted((a + b) / 2 for i, a in enumerate(differences) for b in differences[i:])
    assert found.test.estimate == pytest.approx(np.median(pairs))
    # For ten differences the exact 95 % interval ends at the ninth Walsh average from either side (tables of V).
    assert (found.test.low, found.test.high) == (pairs[8], pairs[-9])
    assert found.test.low <= found.test.estimate <= found.test.high
    assert found.non_zero == 9
    nothing = signed_rank(np.zeros(5), 0.5)
    assert (nothing.test.estimate, nothing.test.p_difference) == (0, 1)


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
    assert not found.superior


def test_missing_scores_leave_the_case_out():
    scores = np.random.default_rng(0).normal(size=(2, 2, 10))
    scores[1, 0, 3] = np.nan
    assert compare_by_case_means(scores, 0.5).cases == 9


def test_pooled_rows_are_refused_with_the_reason():
    rows = np.zeros((2, 60))  # arm x (reader x case), as a pooled analysis would want it
    with pytest.raises(ReconError, match=r"pooling reader x case rows is refused.*per-case means"):
        compare_by_case_means(rows, 0.5)


def test_constant_differences_decide_by_their_sign():
    scores = np.zeros((2, 2, 5))
    assert compare_by_case_means(scores, 0.5).claimed
    assert not compare_by_case_means(scores, 0.5).superior
    scores[1] = -0.5
    assert not compare_by_case_means(scores, 0.5).claimed


def test_missing_data_sensitivity_brackets_and_tips():
    generator = np.random.default_rng(1)
    scores = np.clip(np.round(4 + 0.6 * generator.normal(size=(2, 2, 60))), 1, 5)
    complete = missing.sensitivity(scores, (1, 5), 0.5, 0.025, generator)
    assert complete.missing_scores == 0
    assert complete.worst is None
    holes = scores.copy()
    holes[1, 0, :12] = np.nan
    found = missing.sensitivity(holes, (1, 5), 0.5, 0.025, np.random.default_rng(2))
    assert found.missing_by_arm == (0, 12)
    assert found.incomplete_cases == 12
    assert found.worst is not None
    assert found.best is not None
    assert found.imputed is not None
    assert found.worst.estimate < found.imputed.test.estimate < found.best.estimate
    assert found.worst.claimed == (found.worst.lower_bound > -0.5)
    assert found.imputed.test.estimate == pytest.approx(compare_by_case_means(scores, 0.5).estimate, abs=0.15)
    again = missing.sensitivity(holes, (1, 5), 0.5, 0.025, np.random.default_rng(2))
    assert again == found
    many = scores.copy()
    many[1, :, :30] = np.nan
    tipped = missing.sensitivity(many, (1, 5), 0.5, 0.025, np.random.default_rng(2))
    assert tipped.imputed is not None
    assert tipped.imputed.test.claimed
    assert tipped.tipping_shift is not None
