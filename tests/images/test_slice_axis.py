"""One rule for the slice direction, whoever reads the volume."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from reader_study.volumes import read_volume as read_for_readers
from recon.encode.placement import place_volume
from recon.encode.volumes import read_series
from recon.images.references import read_reference
from recon.images.slice_axis import slice_axis, slices_first


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


def test_the_rule_in_its_three_parts() -> None:
    assert slice_axis((1, 30, 30), np.diag([2.0, 2.0, 9.0, 1.0])).axis == 0
    assert slice_axis((30, 30, 8), np.diag([1.0, 1.0, 5.0, 1.0])).axis == 2
    isotropic = np.eye(4)[:, [2, 0, 1, 3]]  # the first axis runs inferior-superior
    assert slice_axis((20, 30, 40), isotropic).axis == 0
