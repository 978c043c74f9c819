"""One rule for the slice direction, whoever reads the volume."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from reader_study.volumes import read_volume as read_for_readers
from recon.encode.placement import place_volume
from recon.encode.volumes import read_series
from recon.errors import ReconError
from recon.images.nifti import write_nifti
from recon.images.references import read_reference
from recon.images.result import ResultHeader, write_result
from recon.images.slice_axis import header_slice_axis, slice_axis, slices_first
from recon.quality.comparison import compare_files


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


def test_evaluate_counts_the_slices_of_the_rule(tmp_path: Path) -> None:
    path, values = thick_first(tmp_path / "sagittal.nii.gz")
    affine = nibabel.load(path).affine
    nibabel.Nifti1Image((values > values.mean()).astype(np.uint8), affine).to_filename(tmp_path / "mask.nii")
    rows = compare_files([path], [path], [tmp_path / "mask.nii"], per_slice=True)
    assert [row["slice"] for row in rows] == [None, 0, 1, 2, 3, 4]
    assert rows[0]["lesion_pixels"] == int((values > values.mean()).sum())
    # A result that does not know its place has the slices first; so has the reference, without an affine to go by.
    with write_result(tmp_path / "result.h5", ResultHeader(5, (24, 20), "T1")) as writer:
        for index, image in enumerate(values):
            writer.put(index, reconstruction=image)
    assert compare_files([tmp_path / "result.h5"], [path], [])[0]["nrmse"] < 1e-6


def test_what_is_not_one_grey_volume_is_refused_in_words(tmp_path: Path) -> None:
    colours = np.zeros((8, 8, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.Nifti1Image(colours, np.eye(4)).to_filename(tmp_path / "colours.nii")
    for read in (read_reference, read_series, lambda path: read_for_readers(path, "case")):
        with pytest.raises(ReconError, match="image of numbers"):
            read(tmp_path / "colours.nii")
    waves = np.full((8, 8, 8), 1 + 1j, np.complex64)
    nibabel.Nifti1Image(waves, np.eye(4)).to_filename(tmp_path / "waves.nii")
    with pytest.raises(ReconError, match=r"case: .*complex"):
        read_for_readers(tmp_path / "waves.nii", "case")


def test_the_affine_goes_with_the_axes(tmp_path: Path) -> None:
    path, values = thick_first(tmp_path / "sagittal.nii.gz")
    affine = nibabel.load(path).affine
    moved, new = slices_first(values, affine)
    for index in ((0, 0, 0), (3, 11, 7), (4, 23, 19)):
        old_place = affine @ [*index, 1]
        assert new @ [index[1], index[2], index[0], 1] == pytest.approx(old_place)
        assert moved[index] == values[index]


def test_slices_thinner_than_pixels_are_read_back_as_written(tmp_path: Path) -> None:
    """Without an affine nothing can turn the axes back, and in a cube no shape betrays them."""
    images = np.random.default_rng(2).uniform(1, 2, (24, 24, 24)).astype(np.float32)
    write_nifti(tmp_path / "a.nii.gz", images, voxel_size=(1.2, 1, 1))
    np.testing.assert_array_equal(read_reference(tmp_path / "a.nii.gz").values, images)


def test_the_rule_in_its_four_parts() -> None:
    assert slice_axis((1, 30, 30), np.diag([2.0, 2.0, 9.0, 1.0]), stated=2).axis == 0
    assert slice_axis((30, 30, 8), np.diag([1.0, 1.0, 5.0, 1.0]), stated=1).axis == 1
    assert slice_axis((1, 30, 30), np.diag([2.0, 2.0, 9.0, 1.0])).axis == 0
    assert slice_axis((30, 30, 8), np.diag([1.0, 1.0, 5.0, 1.0])).axis == 2
    isotropic = np.eye(4)[:, [2, 0, 1, 3]]  # the first axis runs inferior-superior
    assert slice_axis((20, 30, 40), isotropic).axis == 2
    assert header_slice_axis(isotropic).axis == 0  # as encoders' networks were trained


def test_an_isotropic_result_and_its_own_nifti_have_the_same_slices(tmp_path: Path) -> None:
    """A coronal acquisition: a reader study takes one arm as a result and the other as NIfTI of the same slices."""
    values = np.random.default_rng(0).uniform(1, 2, (6, 24, 20)).astype(np.float32)
    affine = np.array([[0, 1.0, 0, 0], [0, 0, 1.0, 0], [-1.0, 0, 0, 0], [0, 0, 0, 1]])
    with write_result(tmp_path / "result.h5", ResultHeader(6, (24, 20), "T1", (1.0, 1.0, 1.0), affine)) as writer:
        for index, image in enumerate(values):
            writer.put(index, reconstruction=image)
    write_nifti(tmp_path / "result.nii.gz", values, affine=affine)
    shown = [read_for_readers(tmp_path / f"result.{ending}", "case") for ending in ("h5", "nii.gz")]
    assert shown[0].plane == shown[1].plane == "coronal"
    np.testing.assert_array_equal(shown[0].pixels, shown[1].pixels)
    np.testing.assert_array_equal(read_reference(tmp_path / "result.nii.gz").values, values)
    assert len(compare_files([tmp_path / "result.nii.gz"], [tmp_path / "result.h5"], [], per_slice=True)) == 1 + 6
