"""Masks: what was asked for is what is sampled; what is found in data is what was put there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.acquisition.masks import (
    KINDS,
    PLANE_MASKS,
    SMALLEST_CALIBRATION,
    caipirinha_mask,
    calibration_extent,
    centre_block,
    describe_mask,
    detect_mask,
    draw_mask,
    equispaced_mask,
    net_acceleration,
    poisson_mask,
    random_mask,
)
from recon.errors import ReconError
from recon.scans.undersample import default_calibration_lines


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(
    phase=st.integers(20, 200),  # 12 calibration lines fit between any of the limits
    acceleration=st.integers(1, 8),
    calibration=st.integers(0, 12),
    seed=st.integers(0, 1000),
    cut=st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
@settings(deadline=None)
def test_equispaced_is_equispaced(
    phase: int, acceleration: int, calibration: int, seed: int, cut: tuple[int, int]
) -> None:
    """Outside the calibration every R-th line exactly and no other; nothing outside the encoding limits."""
    limits = (cut[0], phase - cut[1])
    mask = equispaced_mask(phase, acceleration, calibration, generator(seed), limits=limits)
    block = centre_block(phase, calibration)
    assert mask[block][max(limits[0] - block.start, 0) : limits[1] - block.start].all()
    outside = np.flatnonzero(mask)
    outside = outside[(outside < block.start) | (outside >= block.stop)]
    assert np.unique(outside % acceleration).size <= 1
    expected = (
        {line for line in range(*limits) if line % acceleration == (outside[0] % acceleration)}
        if len(outside)
        else set()
    )
    assert set(outside) == {line for line in expected if not block.start <= line < block.stop}
    assert not mask[: limits[0]].any()
    assert not mask[limits[1] :].any()


def test_equispaced_offset_is_drawn_or_given() -> None:
    drawn = {int(np.argmax(equispaced_mask(64, 4, 0, generator(seed)))) for seed in range(40)}
    assert drawn == {0, 1, 2, 3}
    assert np.flatnonzero(equispaced_mask(12, 4, 0, generator(), offset=3)).tolist() == [3, 7, 11]
    with pytest.raises(ReconError, match="offset"):
        equispaced_mask(12, 4, 0, generator(), offset=4)
    with pytest.raises(ReconError, match="whole acceleration"):
        equispaced_mask(64, 2.5, 8, generator())


@given(phase=st.integers(40, 300), acceleration=st.floats(1, 6), calibration=st.integers(0, 6), seed=st.integers(0, 99))
@settings(deadline=None)
def test_random_meets_the_acceleration(phase: int, acceleration: float, calibration: int, seed: int) -> None:
    limits = (2, phase - 3)
    mask = random_mask(phase, acceleration, calibration, generator(seed), limits=limits)
    assert mask.sum() == round((phase - 5) / acceleration)
    assert mask[centre_block(phase, calibration)].all()
    assert not mask[:2].any()
    assert not mask[-3:].any()


def test_random_lines_are_uniform_outside_the_calibration() -> None:
    count = sum(random_mask(60, 3, 8, generator(seed)).astype(int) for seed in range(3000))
    outside = np.delete(count, np.r_[centre_block(60, 8)])
    share = 12 / 52  # 20 lines, 8 of them calibration, 52 left to choose from
    assert np.abs(outside / 3000 - share).max() < 5 * np.sqrt(share * (1 - share) / 3000)


@pytest.mark.parametrize(
    ("shape", "acceleration", "calibration"),
    [((230, 180), 8, 24), ((96, 96), 4, 16), ((65, 50), 3, 11), ((64, 64), 1.5, 8), ((120, 200), 15, 16)],
)
def test_poisson_meets_the_acceleration_and_keeps_its_distances(
    shape: tuple[int, int], acceleration: float, calibration: int
) -> None:
    mask = poisson_mask(shape, acceleration, (calibration, calibration), generator(3))
    assert net_acceleration(mask) == pytest.approx(acceleration, rel=0.002)
    block = mask[centre_block(shape[0], calibration), centre_block(shape[1], calibration)]
    assert block.all()
    assert not mask[0, 0]
    centre = mask[shape[0] // 4 : -shape[0] // 4, shape[1] // 4 : -shape[1] // 4].mean()
    assert centre > min(1.5 * mask.mean(), 0.99)  # denser in the middle
    if acceleration >= 8:  # at the rim, samples of a random mask would touch, these do not
        rows, columns = np.nonzero(mask)
        rim = np.hypot((rows - shape[0] / 2) / shape[0], (columns - shape[1] / 2) / shape[1]) > 0.42
        points = np.stack([rows[rim], columns[rim]], axis=1)
        gaps = np.linalg.norm(points[:, None] - points[None], axis=2)
        assert gaps[~np.eye(len(points), dtype=bool)].min() >= 2


def test_poisson_that_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ReconError, match="empty corners"):
        poisson_mask((64, 64), 1.1, (8, 8), generator())
    with pytest.raises(ReconError, match="no Poisson mask"):
        poisson_mask((64, 64), 30, (24, 24), generator())
    assert net_acceleration(poisson_mask((64, 64), 1.1, (8, 8), generator(), elliptical=False)) < 1.11


@pytest.mark.parametrize(
    ("acceleration", "steps", "shift"), [(2, (1, 2), 1), (4, (2, 2), 1), (6, (2, 3), 1), (8, (2, 4), 2)]
)
def test_caipirinha_is_a_sheared_lattice(acceleration: int, steps: tuple[int, int], shift: int) -> None:
    mask = caipirinha_mask((48, 60), acceleration, (12, 12), generator(1))
    assert mask[centre_block(48, 12), centre_block(60, 12)].all()
    corner = mask[:16, :20]
    rows = np.flatnonzero(corner.any(axis=1))
    assert (np.diff(rows) == steps[0]).all()
    first = [int(np.flatnonzero(corner[row])[0]) for row in rows]
    assert (np.diff(first) % steps[1] == shift).all()
    assert corner.sum() == pytest.approx(corner.size / acceleration, rel=0.1)
    with pytest.raises(ReconError, match="whole acceleration"):
        caipirinha_mask((48, 60), 2.5, (12, 12), generator())
    with pytest.raises(ReconError, match="do not fit"):
        caipirinha_mask((48, 60), 4, (52, 12), generator())


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_repeats_with_its_seed_and_obeys_limits(kind: str) -> None:
    masks = [draw_mask(kind, (48, 64), 4, 8, generator(seed), (3, 62)) for seed in (5, 5, 6)]
    assert masks[0].shape == ((48, 64) if kind in PLANE_MASKS else (64,))
    np.testing.assert_array_equal(masks[0], masks[1])
    assert (masks[0] != masks[2]).any() or "magic" in kind
    assert not masks[0][..., :3].any()
    assert not masks[0][..., 62:].any()
    assert calibration_extent(masks[0], 48)[1] >= 7
    assert 2.2 < net_acceleration(masks[0], (3, 62)) < 5


def test_fastmri_masks_are_the_packages_own() -> None:
    from fastmri.data.subsample import EquispacedMaskFractionFunc

    seed = int(generator(9).integers(2**31))
    theirs = EquispacedMaskFractionFunc([0.08], [4])((1, 320, 2), seed=seed)[0].numpy().reshape(-1)
    ours = draw_mask("fastmri-equispaced-fraction", (320, 320), 4, round(0.08 * 320), generator(9))
    assert (theirs.astype(bool) == ours).mean() > 0.99  # 26 of 320 lines is not exactly a fraction of .08


@pytest.mark.parametrize(
    ("kind", "acceleration", "lines", "message"),
    [
        ("spiral", 2, 8, "unknown mask"),
        ("equispaced", 0.5, 8, "at least 1"),
        ("equispaced", float("nan"), 8, "at least 1"),
        ("random", 8, 20, "more than"),
        ("equispaced", 2, 65, "do not fit"),
    ],
)
def test_impossible_masks(kind: str, acceleration: float, lines: int, message: str) -> None:
    with pytest.raises(ReconError, match=message):
        draw_mask(kind, (48, 64), acceleration, lines, generator())


@given(size=st.integers(1, 40), data=st.data(), readout=st.integers(1, 20))
@settings(deadline=None)
def test_calibration_extent_of_lines_is_the_largest(size: int, data: st.DataObject, readout: int) -> None:
    mask = np.array(data.draw(st.lists(st.sampled_from([True, True, True, False]), min_size=size, max_size=size)))
    widths = [n for n in range(1, size + 1) if mask[centre_block(size, n)].all()]
    expected = (readout, max(widths)) if mask[size // 2] else (0, 0)
    assert calibration_extent(mask, readout) == expected


def test_calibration_extent_of_two_dimensional_masks() -> None:
    mask = generator(1).random((60, 50)) < 0.2
    mask[centre_block(60, 20), centre_block(50, 16)] = True
    mask[30 - 10 - 1, :] = False
    height, width = calibration_extent(mask, 60)
    assert (height, width) in ((20, 16), (20, 17))
    lines = np.zeros((60, 50), bool)
    lines[:, 20:30] = True
    lines[:8] = False  # asymmetric echo
    assert calibration_extent(lines, 60) == (45, 10)
    assert calibration_extent(np.zeros((6, 6), bool), 6) == (0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_detection_finds_the_mask_that_was_used(kind: str) -> None:
    mask = draw_mask(kind, (48, 64), 3, 10, generator(2))
    noise = generator(3).normal(size=(4, 48, 64)) + 1j
    noise[:, 5, 7] = 0  # a coincidence of integer data, not a mask
    found = detect_mask(noise * mask)
    if mask.ndim == 2:
        mask[5, 7] = False
    np.testing.assert_array_equal(found, mask)


def test_detection_sees_an_asymmetric_echo() -> None:
    kspace = np.ones((2, 48, 64), complex)
    kspace[:, :10] = 0
    kspace[..., ::2] = 0
    mask = detect_mask(kspace)
    assert mask.shape == (48, 64)
    assert mask.sum() == 38 * 32


def test_descriptions() -> None:
    assert describe_mask(np.ones(20, bool)) == "fully sampled"
    assert describe_mask(equispaced_mask(96, 3, 16, generator(1))) == "equispaced by 3"
    assert describe_mask(random_mask(96, 3, 16, generator(1))) == "irregular lines"
    assert describe_mask(poisson_mask((40, 40), 4, (8, 8), generator())) == "2-D"
    partial = np.ones(40, bool)
    partial[:10] = False
    assert describe_mask(partial) == "partial Fourier"
    assert describe_mask(partial, (10, 40)) == "fully sampled"
    for lines in (slice(12, 28), slice(12, 29), slice(13, 28)):  # centre 20: zero-padded, not an edge that is missing
        central = np.zeros(40, bool)
        central[lines] = True
        assert describe_mask(central) == "central lines only"
    echo = np.ones((40, 30), bool)
    echo[:5] = False
    assert describe_mask(echo) == "partial readout"


@given(st.integers(64, 400), st.sampled_from([2.0, 3.0, 4.0, 5.0, 6.0, 8.0]), st.integers(0, 99))
def test_the_default_calibration_is_enough_for_coil_maps(phase: int, acceleration: float, seed: int) -> None:
    lines = default_calibration_lines((96, phase), acceleration, "equispaced")
    mask = draw_mask("equispaced", (96, phase), acceleration, lines, np.random.default_rng(seed))
    assert calibration_extent(mask, 96)[1] >= SMALLEST_CALIBRATION
