"""Dice and surface distance by hand, and what must hold of them for any masks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recon.interactive.agreement import dice, surface_agreement

masks = arrays(bool, (2, 6, 5))


def square(first: int, last: int, shape: tuple[int, int, int] = (1, 12, 12)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[:, 2:6, first:last] = True
    return mask


def test_dice_by_hand() -> None:
    assert dice(square(2, 6), square(4, 8)) == pytest.approx(2 * 8 / (16 + 16))
    assert dice(square(2, 6), square(2, 6)) == 1
    assert dice(square(0, 0), square(0, 0)) == 1
    assert dice(square(0, 0), square(2, 6)) == 0


def test_surface_distance_of_a_shifted_square_by_hand() -> None:
    """4 x 4 squares have 12 outline pixels each, rows 1 mm and columns 2 mm apart; one is moved by a column. They share
    3 of 4 pixels of the upper and lower rows (6 of 12). In the two inner rows, the one's right side lies 1 mm below or
    above the other's row (2 more); what is left is 2 mm away."""
    here, there = square(2, 6), square(3, 7)
    spacing = (5.0, 1.0, 2.0)
    for tolerance, share in ((0.0, 6), (0.9, 6), (1.0, 8), (1.9, 8), (2.0, 12)):
        assert surface_agreement(here, there, spacing, tolerance) == pytest.approx(share / 12)


def test_a_slice_that_was_left_out_counts() -> None:
    truth = square(2, 6, (2, 12, 12))
    found = truth.copy()
    found[1] = False
    assert surface_agreement(found, truth, (5.0, 1.0, 1.0), 2.0) == pytest.approx((12 + 12) / (12 + 24))
    assert surface_agreement(found, truth, (5.0, 1.0, 1.0), 5.0) == pytest.approx(1)


def test_empty_masks() -> None:
    assert surface_agreement(square(0, 0), square(0, 0), (1, 1, 1), 1) == 1
    assert surface_agreement(square(0, 0), square(2, 6), (1, 1, 1), 1) == 0


@settings(max_examples=60, deadline=None)
@given(masks, masks, st.floats(0, 5), st.floats(0, 5))
def test_agreement_is_symmetric_and_grows_with_the_tolerance(first, second, narrow, wide) -> None:
    spacing = (3.0, 1.0, 1.2)
    narrow, wide = sorted((narrow, wide))
    found = surface_agreement(first, second, spacing, narrow)
    assert found == pytest.approx(surface_agreement(second, first, spacing, narrow))
    assert 0 <= found <= surface_agreement(first, second, spacing, wide) <= 1
    assert dice(first, second) == dice(second, first)
    assert surface_agreement(first, first, spacing, narrow) == 1
