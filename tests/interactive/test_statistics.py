"""Area, censored clicks and paired comparisons against values computed by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.interactive.figures import ClicksTo, clicks_to, interaction_area, order, reached_by
from recon.interactive.session import Interaction
from recon.interactive.statistics import Case, compared


def case(curve: list[float], person: str, rate: float | None) -> Case:
    interaction = Interaction(tuple(curve), tuple(curve), (), 0.0)
    return Case(person, person, "FLAIR", "sense", rate, "random-walker", interaction, clicks_to(curve, 0.8))


def test_area_by_the_trapezoid_rule() -> None:
    assert interaction_area([0.0, 0.5, 1.0]) == pytest.approx((0.25 + 0.75) / 2)
    assert interaction_area([0.4]) == 0.4
    assert interaction_area([1.0] * 7) == 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_area_is_a_mean_of_the_curve(curve: list[float]) -> None:
    assert min(curve) - 1e-9 <= interaction_area(curve) <= max(curve) + 1e-9


def test_clicks_are_counted_to_the_first_crossing_and_censored_at_the_budget() -> None:
    assert clicks_to([0.1, 0.8, 0.7], 0.8) == ClicksTo(2, True)
    assert clicks_to([0.1, 0.2, 0.3], 0.8) == ClicksTo(3, False)


def test_the_order_of_censored_numbers() -> None:
    last, never = ClicksTo(3, True), ClicksTo(3, False)
    assert order(last, never) == -1  # reached with the last click is less than not reached
    assert order(never, last) == 1
    assert order(never, never) == 0
    assert order(ClicksTo(1, True), ClicksTo(2, True)) == -1


def test_the_share_that_reached_is_one_minus_kaplan_meier() -> None:
    """Against statsmodels, and its area against the restricted mean."""
    from statsmodels.duration.survfunc import SurvfuncRight

    numbers = [ClicksTo(1, True), ClicksTo(3, True), ClicksTo(3, True), ClicksTo(5, False), ClicksTo(5, False)]
    survival = SurvfuncRight([n.clicks for n in numbers], [int(n.reached) for n in numbers])
    reached = reached_by(numbers, 5)
    steps = dict(zip(survival.surv_times, survival.surv_prob, strict=True))
    assert reached[0] == pytest.approx(1 - steps[1])
    assert reached[2] == reached[4] == pytest.approx(1 - steps[3])
    # Area under the survival curve from 0 to the budget: 1 + sum of the survival after clicks 1 to 4.
    assert 1 + float((1 - reached[:4]).sum()) == pytest.approx(np.mean([n.clicks for n in numbers]))


def test_compared_with_the_references_by_person() -> None:
    pairs = [
        (case([0.5, 0.6, 0.7], person, 4.0), case([0.5, 0.8, 0.9], person, None)) for person in ("a", "b", "c", "d")
    ]
    found = compared(pairs, repeats=200, seed=0)
    assert found["persons"] == found["scans"] == 4
    assert found["dice"] == pytest.approx(0.7)
    assert found["dice_change"] == pytest.approx(-0.2)
    assert (found["dice_change_low"], found["dice_change_high"]) == pytest.approx((-0.2, -0.2))
    assert found["dice_p"] == pytest.approx(2 / 2**4)  # all four differ alike: exact signed-rank
    assert found["clicks"] == 3
    assert found["clicks_change"] == pytest.approx(1)
    assert found["clicks_p"] == pytest.approx(2 / 2**4)  # all four need surely more
    assert (found["reached"], found["reached_reference"]) == (0, 1)
    assert (found["reached_by_click"], found["reached_by_click_reference"]) == ([0, 0, 0], [0, 1, 1])


def test_scans_of_a_person_are_averaged_first() -> None:
    pairs = [(case([value], person, 4.0), case([0.5], person, None)) for person, value in
             (("a", 0.1), ("a", 0.3), ("b", 0.8), ("c", 0.8))]  # fmt: skip
    found = compared(pairs, repeats=200, seed=0)
    assert (found["persons"], found["scans"]) == (3, 4)
    assert found["dice"] == pytest.approx((0.2 + 0.8 + 0.8) / 3)


def test_no_interval_of_two_persons_and_no_difference_of_nothing() -> None:
    same = [(case([0.5], person, 4.0), case([0.5], person, None)) for person in ("a", "b", "c")]
    found = compared(same, repeats=200, seed=0)
    assert found["dice_p"] == found["clicks_p"] == 1
    few = compared(same[:2], repeats=200, seed=0)
    assert few["dice_low"] is few["dice_p"] is few["clicks_p"] is None
