"""The click policy: the middle of the largest error, whichever kind, mirrored with the image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recon.interactive.clicks import click_places, next_click

SPACING = (4.0, 1.0, 1.5)
masks = arrays(bool, st.tuples(st.integers(1, 3), st.integers(2, 7), st.integers(2, 7)))


def block(shape: tuple[int, int, int], *ranges: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*one) for one in ranges)] = True
    return mask


def test_the_first_click_is_the_middle_of_the_lesion() -> None:
    truth = block((1, 9, 9), (0, 1), (2, 7), (1, 6))
    places = click_places(np.zeros_like(truth), truth, (1.0, 1.0, 1.0), slicewise=True)
    assert places is not None
    assert places.foreground
    assert places.indices.tolist() == [[0, 4, 3]]


def test_the_largest_error_is_clicked_missed_or_wrongly_included() -> None:
    truth = block((1, 20, 20), (0, 1), (1, 4), (1, 4))
    segmented = truth | block(truth.shape, (0, 1), (10, 15), (10, 15))
    segmented[0, 1, 1] = False
    places = click_places(segmented, truth, (1.0, 1.0, 1.0))
    assert places is not None
    assert not places.foreground
    assert places.indices.tolist() == [[0, 12, 12]]


def test_depth_is_in_millimetres_and_ends_at_the_edge_of_the_volume() -> None:
    truth = block((1, 5, 9), (0, 1), (0, 5), (0, 9))
    wide = click_places(np.zeros_like(truth), truth, (1.0, 10.0, 1.0), slicewise=True)
    assert wide is not None
    # Columns are 1 mm: the middle column is 5 mm from either side, and rows are 10 mm from the edge everywhere.
    assert {tuple(place[1:]) for place in wide.indices.tolist()} == {(row, 4) for row in range(5)}


def test_slicewise_regions_do_not_hang_together_across_slices() -> None:
    truth = block((3, 9, 9), (0, 3), (4, 5), (4, 5)) | block((3, 9, 9), (1, 2), (7, 9), (0, 1))
    slicewise = click_places(np.zeros_like(truth), truth, SPACING, slicewise=True)
    volume = click_places(np.zeros_like(truth), truth, SPACING)
    assert slicewise is not None
    assert volume is not None
    assert set(slicewise.indices[:, 1]) == {7, 8}  # two pixels of one slice are more than one
    assert set(volume.indices[:, 1]) == {4}  # three voxels in a column are more than two


@settings(max_examples=80, deadline=None)
@given(masks, st.randoms(use_true_random=False), st.booleans(), st.floats(0, 1))
def test_a_click_lies_in_the_error_it_corrects(truth, random, slicewise, scatter) -> None:
    segmented = np.array([random.random() < 0.4 for _ in range(truth.size)]).reshape(truth.shape)
    places = click_places(segmented, truth, SPACING, slicewise, scatter)
    if places is None:
        assert (segmented == truth).all()
        return
    at = tuple(places.indices.T)
    assert (truth[at] == places.foreground).all()
    assert (segmented[at] != places.foreground).all()
    click = next_click(places, np.random.default_rng(0))
    assert list(click.index) in places.indices.tolist()
    assert click == next_click(places, np.random.default_rng(0))


@settings(max_examples=80, deadline=None)
@given(masks, st.randoms(use_true_random=False), st.booleans(), st.sampled_from([0, 1, 2]))
def test_clicks_of_a_mirrored_image_are_mirrored(truth, random, slicewise, axis) -> None:
    segmented = np.array([random.random() < 0.4 for _ in range(truth.size)]).reshape(truth.shape)
    here = click_places(segmented, truth, SPACING, slicewise)
    there = click_places(np.flip(segmented, axis), np.flip(truth, axis), SPACING, slicewise)
    if here is None or there is None:
        assert here is there
        return
    mirrored = there.indices.copy()
    mirrored[:, axis] = truth.shape[axis] - 1 - mirrored[:, axis]
    assert here.foreground == there.foreground
    assert sorted(here.indices.tolist()) == sorted(mirrored.tolist())


def test_regions_of_two_thick_slices_are_clicked_in_the_middle() -> None:
    truth = block((4, 21, 21), (1, 3), (3, 18), (3, 18))
    places = click_places(np.zeros_like(truth), truth, (2.0, 1.0, 1.0))
    assert places is not None
    assert sorted(places.indices.tolist()) == [[1, 10, 10], [2, 10, 10]]


def test_nothing_is_clicked_where_nothing_is_wrong() -> None:
    truth = block((1, 4, 4), (0, 1), (1, 3), (1, 3))
    assert click_places(truth, truth, SPACING) is None


@pytest.mark.parametrize("slicewise", [False, True])
def test_scatter_allows_the_whole_error(slicewise: bool) -> None:
    truth = block((1, 7, 7), (0, 1), (1, 6), (1, 6))
    anywhere = click_places(np.zeros_like(truth), truth, (1.0, 1.0, 1.0), slicewise, scatter=1.0)
    assert anywhere is not None
    assert len(anywhere.indices) == 25
