"""Partial Fourier is decided by one rule, wherever it is asked."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recon.acquisition.coverage import covered_shares, lacks_an_edge
from recon.acquisition.masks import describe_mask
from recon.reconstruction.partial_fourier import acquired_ranges


def lines_from(first: int, last: int, size: int = 128) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[first:last] = True
    return mask


@given(st.integers(0, 60), st.integers(66, 128))
def test_what_is_said_and_what_is_completed_agree(first: int, last: int) -> None:
    mask = lines_from(first, last)
    said = describe_mask(mask)
    assert (said == "partial Fourier") == lacks_an_edge(mask)
    assert (
        (acquired_ranges(torch.from_numpy(mask)) is None) == (covered_shares(mask) is None) == (not lacks_an_edge(mask))
    )


@pytest.mark.parametrize(("mask", "shares"), [(lines_from(32, 128), (1, 0.75)), (lines_from(0, 80), (1, 0.625))])
def test_shares_are_those_of_protocols(mask: np.ndarray, shares: tuple[float, float]) -> None:
    """6/8 and 5/8, whichever edge is missing."""
    assert covered_shares(mask) == shares
    assert covered_shares(np.repeat(mask[:, None], 40, axis=1)) == shares[::-1]


def test_a_shift_of_few_lines_is_no_missing_edge() -> None:
    """Scanners centre zero-padded lines to within a few places; only more than a sixteenth is a missing edge."""
    assert describe_mask(lines_from(33, 100)) == "central lines only"
    assert describe_mask(lines_from(20, 120)) == "partial Fourier"
    assert covered_shares(np.zeros(40, bool)) is None
