"""Slice axis, orientation, resampling, tokens in space, and the volumes that no encoder takes."""

import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from recon.encode.geometry import (
    check_volume,
    orient,
    pad_to_multiple,
    paint,
    resample_bspline,
    resize,
    same_grid,
    to_encoder_grid,
    upstream_slice_axis,
    volume_faults,
)
from recon.encode.neurovfm_preprocessing import prepare_neurovfm
from recon.encode.volumes import read_series
from recon.errors import ReconError
from recon.images.slice_axis import header_slice_axis
from tests.encode.conftest import save_nifti


def world(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def test_slice_axis_is_the_header_s_and_not_flipped_by_jitter() -> None:
    thick = np.diag([0.7, 0.7, 5, 1.0])
    assert header_slice_axis(thick).axis == 2
    assert header_slice_axis(thick[:, [2, 0, 1, 3]]).axis == 0
    jittered = np.diag([0.9999, 1, 1, 1.0])
    assert header_slice_axis(jittered).axis == 2
    # Upstream's rule takes the axis of unique size as soon as one spacing differs in the fourth decimal.
    assert upstream_slice_axis((176, 256, 256), np.eye(4)).axis == 2
    assert upstream_slice_axis((176, 256, 256), jittered).axis == 0
    with pytest.raises(ReconError, match="no slice axis"):
        upstream_slice_axis((128, 128, 128), thick)


def test_upstream_s_rule_compares_the_header_s_zooms(tmp_path: Path) -> None:
    """An oblique volume of 1 x 1 x 1 mm: norms of its affine differ in their last bits, the header's zooms do not."""
    oblique = np.eye(4)
    oblique[:3, :3] = Rotation.from_euler("xyz", (20, 7, 11), degrees=True).as_matrix()
    series = read_series(save_nifti(tmp_path / "oblique.nii.gz", np.ones((17, 25, 25), np.float32), oblique))
    assert series.affine is not None
    assert upstream_slice_axis((17, 25, 25), series.affine).axis == 0  # what norms made of it
    assert series.zooms == (1.0, 1.0, 1.0)
    chosen = upstream_slice_axis((17, 25, 25), series.affine, series.zooms)
    assert (chosen.axis, chosen.reason) == (2, "upstream's rule: all spacings equal, axis 2 of RPI")


def test_slices_of_3_999997_mm_are_all_kept() -> None:
    values = np.arange(36.0)[None, None, :] + np.zeros((16, 16, 1))
    thinner, _ = resample_bspline(values, np.diag([1, 1, 3.999997, 1.0]), np.array([1.0, 1.0, 4.0]))
    assert thinner.shape == (16, 16, 36)


@pytest.mark.parametrize(
    ("shape", "spacing", "grid", "tokens"),
    [
        ((240, 240, 155), (1, 1, 1), (36, 240, 240), 2025),
        ((320, 320, 16), (0.6875, 0.6875, 5), (20, 208, 208), 845),
    ],
)
def test_published_shapes(shape: tuple[int, int, int], spacing: tuple, grid: tuple, tokens: int) -> None:
    values = np.random.default_rng(0).random(shape, dtype=np.float32)
    prepared = prepare_neurovfm(values, np.diag([*spacing, 1.0]))
    assert prepared.preprocessing.grid_shape == grid
    assert prepared.mask.size == tokens


@settings(max_examples=25, deadline=None)
@given(
    permutation=st.permutations([0, 1, 2]),
    flips=st.tuples(*[st.booleans()] * 3),
    spacing=st.tuples(*[st.floats(0.6, 5)] * 3),
    axis=st.integers(0, 2),
)
def test_positions_in_the_patient_survive_the_grid(permutation: list, flips: tuple, spacing: tuple, axis: int) -> None:
    """A linear function of position, sampled on any grid, is the same function on the encoder's grid (inside)."""
    affine = np.eye(4)
    for column, row in enumerate(permutation):
        affine[:3, column] = 0
        affine[row, column] = spacing[column] * (-1 if flips[column] else 1)
    affine[:3, 3] = (3, -7, 11)
    shape = tuple(int(44 / edge) + 2 for edge in spacing)
    slope = np.array([1.0, -0.5, 0.25])
    grid = to_encoder_grid(world(affine, shape) @ slope, affine, axis, (4, 1, 1), (2, 4, 4))
    places = world(grid.affine, grid.values.shape)
    # The mirror boundary bends a ramp within two old voxels of the edge.
    index = (places - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    inside = ((index > 3) & (index < np.array(shape) - 4)).all(axis=-1)
    assert np.abs(grid.values - places @ slope)[inside].max(initial=0) < 0.05 * max(spacing)
    steps = np.linalg.norm(grid.affine[:3, :3], axis=0)
    assert np.allclose(steps, (4, 1, 1), atol=1e-9)
    # Depth runs along the chosen axis, whose direction in space is unchanged up to its sign.
    cosine = abs(grid.affine[:3, 0] @ affine[:3, axis]) / 4 / spacing[axis]
    assert cosine == pytest.approx(1)


def test_orientation_is_right_posterior_inferior(affine: np.ndarray) -> None:
    values = np.arange(2 * 3 * 4, dtype=float).reshape(2, 3, 4)
    turned, new, source = orient(values, affine, "RPI")
    assert nibabel.aff2axcodes(new) == ("R", "P", "I")
    assert np.array_equal(source, [0, 1, 2])
    assert np.array_equal(turned, values[::-1, :, ::-1])  # from L, P, S


def test_resampling_agrees_with_itk() -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed: upstream's resampler is not there")
    values = np.random.default_rng(1).random((30, 28, 12))
    spacing, target = np.array([0.7, 0.8, 5.0]), np.array([1.0, 1.0, 4.0])
    ours, _ = resample_bspline(values, np.diag([*spacing, 1.0]), target)
    image = sitk.GetImageFromArray(values.transpose(2, 1, 0))
    image.SetSpacing([float(edge) for edge in spacing])
    size = [int(n * old / new) for n, old, new in zip(values.shape, spacing, target, strict=True)]
    theirs = sitk.Resample(
        image, size, sitk.Transform(), sitk.sitkBSpline, (0, 0, 0), target.tolist(), image.GetDirection(), 0.0
    )
    assert np.abs(ours - sitk.GetArrayFromImage(theirs).transpose(2, 1, 0)).max() < 1e-6


@pytest.mark.parametrize("degrees", [0, 17])
def test_painting_puts_every_token_where_it_was_taken_from(affine: np.ndarray, degrees: float) -> None:
    """A volume whose value names its 16 mm cell comes back cell by cell, in an oblique stack too."""
    shape = (64, 48, 8)
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    affine = np.array([[cosine, 0, sine, 0], [0, 1, 0, 0], [-sine, 0, cosine, 0], [0, 0, 0, 1]]) @ affine
    rng = np.random.default_rng(0)
    prepared = prepare_neurovfm(1 + rng.random(shape), affine)
    coords = np.argwhere(np.ones(prepared.mask.shape))
    painted = paint(np.arange(1.0, len(coords) + 1), coords, prepared.token_to_world, shape, affine)
    places = world(affine, shape)
    index = np.rint((places - prepared.token_to_world[:3, 3]) @ np.linalg.inv(prepared.token_to_world[:3, :3]).T)
    inside = ((index >= 0) & (index < prepared.mask.shape)).all(axis=-1)
    expected = np.zeros(shape)
    expected[inside] = 1 + np.ravel_multi_index(tuple(index[inside].astype(int).T), prepared.mask.shape)
    assert np.mean(painted != expected) < 1e-3  # a centre on the border of two tokens may fall to either
    assert len(np.unique(painted[painted > 0])) == len(coords)
    assert prepared.token_size == pytest.approx((16, 16, 16))  # 4 x 16 x 16 voxels of 4 x 1 x 1 mm


def test_padding_and_stretching_keep_positions(affine: np.ndarray) -> None:
    values = (world(affine, (20, 24, 10)) @ np.array([1.0, 2, 3])).astype(np.float32)
    stretched, new = resize(values, affine, (40, 12, 5))
    inner = (slice(2, -2), slice(1, -1), slice(1, -1))
    assert np.abs(stretched - world(new, stretched.shape) @ np.array([1.0, 2, 3]))[inner].max() < 1e-3
    from recon.encode.geometry import Grid

    values = np.random.default_rng(0).random(values.shape).astype(np.float32)
    padded = pad_to_multiple(Grid(values, affine), (16, 16, 16))
    assert padded.values.shape == (32, 32, 16)
    at = np.argwhere(padded.values == values[3, 4, 5])[0]
    assert np.allclose(padded.affine[:3, :3] @ at + padded.affine[:3, 3], affine[:3, :3] @ (3, 4, 5) + affine[:3, 3])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda v, a: (v[..., :1], a), "single slice"),
        (lambda v, a: (v, None), "no affine"),
        (lambda v, a: (v, np.zeros((4, 4))), "invertible"),
        (lambda v, a: (v, a + np.eye(4)[[1, 2, 0, 3]] * 0.3), "sheared"),
        (lambda v, a: (np.where(v > 0.5, np.nan, v), a), "NaN"),
        (lambda v, a: (v.astype(complex), a), "complex"),
        (lambda v, a: (v * 0, a), "same value"),
        (lambda v, a: (v[None], a), "4-D"),
    ],
)
def test_volumes_that_are_refused(make, words: str, head: np.ndarray, affine: np.ndarray) -> None:
    values, place = make(head, affine)
    assert any(words in fault for fault in volume_faults(values, place))
    with pytest.raises(ReconError, match=words):
        check_volume(values, place)
    with pytest.raises(ReconError, match=words):
        prepare_neurovfm(values, place)


def test_a_volume_smaller_than_a_token_is_refused_with_its_size(head: np.ndarray, affine: np.ndarray) -> None:
    with pytest.raises(ReconError, match="less than one token of 16 x 16 x 16 mm along slice"):
        prepare_neurovfm(head[..., :3], affine)
    with pytest.raises(ReconError, match="along width"):
        prepare_neurovfm(head[:12], affine)


def test_grids_differ_by_a_tenth_of_a_voxel(affine: np.ndarray) -> None:
    for axis, step in itertools.product(range(3), (0.05, 0.2)):
        moved = affine.copy()
        moved[axis, 3] += step
        assert same_grid((8, 8, 8), affine, (8, 8, 8), moved) == (step == 0.05)
    assert not same_grid((8, 8, 8), affine, (8, 8, 9), affine)
