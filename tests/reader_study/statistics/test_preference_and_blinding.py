"""Preference, its interval, and blinding indices against published figures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reader_study.statistics.blinding_index import blinding_index, james_index
from reader_study.statistics.preference import preference, tango_interval
from recon.errors import ReconError
from tests.reader_study.published import printed


def test_tango_interval():
    low, high = tango_interval(40, 20, 160)
    assert printed(low, ".03086")
    assert printed(high, ".21806")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 30))
def test_tango_interval_is_symmetric_and_holds_the_estimate(b, c, ties):
    low, high = tango_interval(b, c, b + c + ties)
    assert -1 <= low <= (b - c) / (b + c + ties) + 1e-9
    assert (b - c) / (b + c + ties) - 1e-9 <= high <= 1
    assert tango_interval(c, b, b + c + ties) == pytest.approx((-high, -low), abs=1e-8)


@pytest.mark.parametrize("n", [1, 5, 31])
def test_tango_interval_where_all_pairs_are_alike(n):
    """It had no width: five ties were 0 to 0, five of five 1 to 1. The score interval's closed forms are these."""
    squared = stats.norm.ppf(0.975) ** 2
    assert tango_interval(0, 0, n) == pytest.approx((-squared / (n + squared), squared / (n + squared)))
    assert tango_interval(n, 0, n) == pytest.approx(((n - squared) / (n + squared), 1.0))


def test_preference_keeps_ties_in_the_denominator():
    found = preference(12, 4, 24)
    assert found.net == pytest.approx(0.2)
    assert found.p_sign_test == pytest.approx(0.0768, abs=1e-4)
    with pytest.raises(ReconError):
        preference(0, 0, 0)


def test_bang_index_crisp():
    drug, placebo = blinding_index(82, 25, 170), blinding_index(29, 27, 83)
    assert printed(drug.index, ".2058")
    assert printed(drug.standard_error, ".0352")
    assert printed(placebo.index, ".0144")
    assert printed(placebo.standard_error, ".0538")


def test_five_of_five_is_not_certainty():
    """Wald's interval was [1, 1] with p = 0."""
    found = blinding_index(5, 0, 0)
    assert found.low < 0.1
    assert found.p_one_sided == pytest.approx(1 / 32)
    assert blinding_index(0, 0, 4).p_one_sided == 1


@pytest.mark.parametrize("total", [6, pytest.param(10, marks=pytest.mark.slow)])
def test_blinding_interval_covers_with_few_guesses(total):
    """Coverage over every possible outcome, not simulated."""
    found = {}
    for right, wrong in ((0.5, 0.5), (0.35, 0.35), (0.8, 0.1), (0.6, 0.2)):
        covered = false = 0.0
        for correct in range(total + 1):
            for mistaken in range(total + 1 - correct):
                key = (correct, mistaken, total - correct - mistaken)
                one = found.get(key) or found.setdefault(key, blinding_index(*key))
                chance = stats.multinomial.pmf(key, total, (right, wrong, 1 - right - wrong))
                covered += chance * (one.low <= right - wrong <= one.high)
                false += chance * (one.p_one_sided <= 0.05)
        assert covered >= 0.945
        assert right != wrong or false <= 0.05


JAMES_TRUTHS = [
    *[((0.4, 0.4), (0.4, 0.4)), ((0.5, 0.5), (0.5, 0.5)), ((0.6, 0.2), (0.6, 0.2)), ((0.8, 0.1), (0.8, 0.1))],
    *[((0.3, 0.3), (0.6, 0.3)), ((0.2, 0.2), (0.3, 0.2)), ((0.7, 0.3), (0.7, 0.3)), ((0.35, 0.25), (0.55, 0.25))],
]


@pytest.mark.parametrize("total", [5, pytest.param(10, marks=pytest.mark.slow)])
def test_interval_of_james_index_covers_with_few_guesses(total):
    """Coverage over every possible outcome of the guesses in both arms, in eight truths: 93 to 97 %."""
    generator = np.random.default_rng(3)
    outcomes = [
        (right, wrong, total - right - wrong) for right in range(total + 1) for wrong in range(total + 1 - right)
    ]
    found = [[james_index(one, other, generator) for other in outcomes] for one in outcomes]
    low, high = (np.array([[getattr(one, end) for one in row] for row in found]) for end in ("low", "high"))
    covered = []
    for arms in JAMES_TRUTHS:
        shares = np.array([[*arm, 1 - sum(arm)] for arm in arms])
        truth = james_value(1e6 * shares)
        chance = np.outer(*(stats.multinomial.pmf(outcomes, total, share) for share in shares))
        covered.append(float(chance[(low <= truth + 1e-9) & (truth - 1e-9 <= high)].sum()))
    print(f"James' index, {total} guesses of either arm: coverage {min(covered):.3f} to {max(covered):.3f}")
    assert min(covered) >= 0.93
    assert max(covered) <= 0.97


def james_value(counts):
    """The published formula: from counts `[arm, (right, wrong, unknown)]`."""
    known = counts[:, :2].sum()
    unknown = counts[:, 2].sum() / counts.sum()
    if known == 0:
        return 1.0
    guessed = np.array([[counts[0, 0], counts[0, 1]], [counts[1, 1], counts[1, 0]]]) / known  # [arm, guess]
    expected = 1 - (guessed.sum(axis=0) * guessed.sum(axis=1)).sum()
    disagreement = (1 - np.trace(guessed) - expected) / expected
    return (1 + unknown + (1 - unknown) * disagreement) / 2


def test_james_index_crisp():
    found = james_index((29, 27, 83), (82, 25, 170), np.random.default_rng(0))
    assert found.index == pytest.approx(0.748, abs=5e-4)
    assert 0.69 < found.low < found.index < found.high < 0.81
    assert james_index((5, 0, 0), (5, 0, 0), np.random.default_rng(0)).index == 0
    assert james_index((0, 0, 5), (0, 0, 5), np.random.default_rng(0)).index == 1
    with pytest.raises(ReconError, match="either arm"):
        james_index((0, 0, 0), (5, 0, 0), np.random.default_rng(0))
