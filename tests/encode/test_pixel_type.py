"""Files of integers: NeuroVFM's preparation resamples them in their own type, as upstream does; others do not care."""

import itertools
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from recon.encode.drift import view_reference
from recon.encode.interface import Embedding, PreparedVolume
from recon.encode.latent_prediction.preparation import prepare_small
from recon.encode.neurovfm import NeuroVFM
from recon.encode.neurovfm_preprocessing import prepare_neurovfm
from recon.encode.options import DriftOptions
from recon.encode.pixel_type import stored, truncated
from recon.encode.volumes import onto_reference, read_series
from tests.encode.conftest import make_head, save_nifti

BLOCKS = 2
THICK = np.array([[-0.9, 0, 0, 30], [0, -0.9, 0, 40], [0, 0, 5.0, -22], [0, 0, 0, 1]])


def stripped(scale: float) -> np.ndarray:
    """Magnitude [128, 144, 14] of a head whose wide surroundings are exactly zero, as skull-stripping leaves it."""
    head = ndimage.zoom(make_head(background=0.0), (96 / 64, 112 / 80, 14 / 12), order=1)
    return scale * np.pad(np.where(head > 0.05, head, 0), ((16, 16), (16, 16), (0, 0)))


def tokens_by_hand(values: np.ndarray, pixel_type: np.dtype | None) -> int:
    """Tokens of an axial volume with THICK's header, upstream's steps written out one by one."""
    edges, targets = (0.9, 0.9, 5), (1, 1, 4)
    grid = [int(size * edge / target) for size, edge, target in zip(values.shape, edges, targets, strict=True)]
    flipped = values[::-1, :, ::-1].astype(np.float64)  # L, P, S -> R, P, I
    places = np.meshgrid(
        *(np.arange(n) * target / edge for n, edge, target in zip(grid, edges, targets, strict=True)),
        indexing="ij",
    )
    resampled = ndimage.map_coordinates(flipped, places, order=3, mode="mirror")
    for axis in range(3):
        resampled[places[axis] > flipped.shape[axis] - 0.5 - 1e-9] = 0
    if pixel_type is not None:
        limits = np.iinfo(pixel_type)
        resampled = np.minimum(np.maximum(np.fix(resampled), limits.min), limits.max)
    size = [n // patch * patch for n, patch in zip(grid, (16, 16, 4), strict=True)]
    start = [(n - kept) // 2 for n, kept in zip(grid, size, strict=True)]
    cropped = resampled[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))].astype(np.float32)
    foreground = cropped > np.percentile(cropped, 10)
    return sum(
        bool(foreground[x : x + 16, y : y + 16, z : z + 4].all())
        for x, y, z in itertools.product(range(0, size[0], 16), range(0, size[1], 16), range(0, size[2], 4))
    )


@pytest.mark.parametrize("pixel_type", ["int16", "uint8", "uint16", "int32"])
def test_tokens_of_an_integer_file_follow_itk_s_rule(tmp_path: Path, pixel_type: str) -> None:
    values = stripped(200.0).astype(pixel_type)
    series = read_series(save_nifti(tmp_path / "stripped.nii.gz", values, THICK))
    assert series.pixel_type == np.dtype(pixel_type)
    assert series.values.dtype == np.float32
    found = len(prepare_neurovfm(series.pixels, series.affine).coords)
    assert found == tokens_by_hand(values, np.dtype(pixel_type))
    assert found != tokens_by_hand(values, None)  # what resampling in floating point makes of the same file


def test_a_file_of_floating_point_is_prepared_as_ever(tmp_path: Path) -> None:
    values = stripped(1.0).astype(np.float32)
    series = read_series(save_nifti(tmp_path / "stripped.nii.gz", values, THICK))
    assert series.pixel_type is None
    assert series.pixels is series.values
    assert len(prepare_neurovfm(series.pixels, series.affine).coords) == tokens_by_hand(values, None)


def test_a_scale_factor_makes_floating_point_of_a_file(tmp_path: Path) -> None:
    def read(slope: float, intercept: float):
        image = nibabel.Nifti1Image(stripped(200.0).astype(np.int16), THICK)
        image.header.set_slope_inter(slope, intercept)
        nibabel.save(image, tmp_path / "scaled.nii")
        return read_series(tmp_path / "scaled.nii").pixel_type

    assert read(1, 0) == read(float("nan"), float("nan")) == np.dtype("int16")
    assert read(0.5, 0) is None
    assert read(1, 3) is None


def test_other_encoders_take_an_integer_file_as_before(tmp_path: Path) -> None:
    series = read_series(save_nifti(tmp_path / "stripped.nii.gz", stripped(200.0).astype(np.int16), THICK))
    one, other = (prepare_small(values, series.affine) for values in (series.pixels, series.values))
    assert one.inputs.equal(other.inputs)


def test_replicas_of_an_integer_series_are_stored_in_its_type(encoder: NeuroVFM, tmp_path: Path) -> None:
    values = stripped(200.0).astype(np.uint8)
    series = read_series(save_nifti(tmp_path / "stripped.nii.gz", values, THICK))
    seen = []

    class Watching:
        name, licence, weights_hash = encoder.name, encoder.licence, encoder.weights_hash

        def prepare(self, volume, *arguments, **options) -> PreparedVolume:
            seen.append(volume)
            return encoder.prepare(volume, *arguments, **options)

        def encode(self, prepared: PreparedVolume) -> Embedding:
            return encoder.encode(prepared)

    view_reference(Watching(), replace(series, noise_std=4.0), DriftOptions(replicas=2))
    assert [volume.dtype for volume in seen] == [np.dtype("uint8")] * 3
    assert np.array_equal(seen[0], values)
    assert 2 < np.std(seen[1][values > 50].astype(float) - values[values > 50]) < 6
    turned = onto_reference(series, series)
    assert turned.pixel_type == np.dtype("uint8")
    moved = replace(series, affine=THICK + np.outer([1, 0, 0, 0], [0, 0, 0, 0.4]))
    with pytest.warns(match="interpolated"):
        assert onto_reference(series, moved, resample=True).pixel_type is None


def test_integers_at_their_limits() -> None:
    for pixel_type in ("uint8", "int16", "uint16", "int32", "int64", "uint64"):
        limits = np.iinfo(pixel_type)
        held = stored(np.array([-1e30, 1e30, 3.6]), np.dtype(pixel_type))
        assert held[0] == limits.min
        assert int(held[1]) == pytest.approx(int(limits.max), rel=1e-9)
        assert held[2] == 4
    assert truncated(np.array([-3.9, 3.9, 300.0, -300.0]), np.dtype("int8")).tolist() == [-3, 3, 127, -128]
