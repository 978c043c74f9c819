"""One rule for the slice direction, whoever reads the volume."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from reader_study.volumes import read_volume as read_for_readers
from recon.encode.placement import place_volume
from recon.encode.volumes import read_series
from recon.images.nifti import write_nifti
from recon.images.references import read_reference
from recon.images.result import ResultHeader, write_result
from recon.images.slice_axis import slice_axis, slices_first
from recon.images.volume import read_volume


def thick_first(path: Path) -> tuple[Path, np.ndarray]:
    """A sagittal stack whose file counts the slices along its first axis: 5 slices of 6 mm, 24 x 20 pixels of 2 mm."""
    generator = np.random.default_rng(0)
    values = generator.uniform(1, 2, (5, 24, 20)).astype(np.float32) + np.arange(5, dtype=np.float32)[:, None, None]
    affine = np.diag([6.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (-12, -20, -18)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path, values


def test_everyone_finds_the_same_slices(tmp_path: Path) -> None:
    """Before, ``evaluate`` took the last axis, the reader study the thickest and the encoders the header's."""
    path, values = thick_first(tmp_path / "sagittal.nii.gz")
    means = values.mean((1, 2))
    evaluated = read_reference(path)
    assert evaluated.values.shape == (5, 24, 20)
    assert evaluated.values.mean((1, 2)) == pytest.approx(means)
    shown = read_for_readers(path, "case")
    assert shown.pixels.shape[0] == 5
    assert shown.plane == "sagittal"
    assert sorted(shown.pixels.mean((1, 2))) == pytest.approx(sorted(means))
    series = read_series(path)
    placed = place_volume("recon-small", series.values, series.affine, None, None)
    assert placed.slice_axis == 0
    assert series.values.mean((1, 2)) == pytest.approx(means)


def test_the_affine_goes_with_the_axes(tmp_path: Path) -> None:
    path, values = thick_first(tmp_path / "sagittal.nii.gz")
    affine = nibabel.load(path).affine
    moved, new = slices_first(values, affine)
    for index in ((0, 0, 0), (3, 11, 7), (4, 23, 19)):
        old_place = affine @ [*index, 1]
        assert new @ [index[1], index[2], index[0], 1] == pytest.approx(old_place)
        assert moved[index] == values[index]


def test_an_isotropic_result_and_its_nifti_have_the_same_slices(tmp_path: Path) -> None:
    """Sagittal slices of 1 mm in pixels of 1 mm: the affine alone would cut the file axially."""
    images = np.random.default_rng(1).uniform(1, 2, (20, 24, 28)).astype(np.float32)
    affine = np.array([[0.0, 0, 1, -10], [0, -1, 0, 14], [-1, 0, 0, 12], [0, 0, 0, 1]])
    header = ResultHeader(
        slices=20, shape=(24, 28), contrast="T1", voxel_size=(1, 1, 1), affine=affine, configuration={}, attributes={}
    )
    with write_result(tmp_path / "a.h5", header) as writer:
        for index, image in enumerate(images):
            writer.put(index, reconstruction=image)
    write_nifti(tmp_path / "a.nii.gz", images, affine=affine)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").values, images)
    result, exported = (read_for_readers(tmp_path / name, "case") for name in ("a.h5", "a.nii.gz"))
    assert result.plane == exported.plane == "sagittal"
    np.testing.assert_array_equal(result.pixels, exported.pixels)


def test_slices_thinner_than_pixels_are_read_back_as_written(tmp_path: Path) -> None:
    """Without an affine nothing can turn the axes back, and in a cube no shape betrays them."""
    images = np.random.default_rng(2).uniform(1, 2, (24, 24, 24)).astype(np.float32)
    write_nifti(tmp_path / "a.nii.gz", images, voxel_size=(1.2, 1, 1))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").values, images)


def test_the_rule_in_its_four_parts() -> None:
    assert slice_axis((1, 30, 30), np.diag([2.0, 2.0, 9.0, 1.0]), stated=2).axis == 0
    assert slice_axis((30, 30, 8), np.diag([1.0, 1.0, 5.0, 1.0]), stated=1).axis == 1
    assert slice_axis((1, 30, 30), np.diag([2.0, 2.0, 9.0, 1.0])).axis == 0
    assert slice_axis((30, 30, 8), np.diag([1.0, 1.0, 5.0, 1.0])).axis == 2
    isotropic = np.eye(4)[:, [2, 0, 1, 3]]  # the first axis runs inferior-superior
    assert slice_axis((20, 30, 40), isotropic).axis == 0
