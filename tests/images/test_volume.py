"""One rule for the slice axis, one reader: the same file has the same slices for everyone who reads it."""

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from reader_study.volumes import read_volume as read_for_display
from recon.encode.geometry import header_slice_axis, to_encoder_grid
from recon.encode.volumes import read_series
from recon.errors import ReconError
from recon.images.dicom import write_dicom_series
from recon.images.dicom_header import DicomSeries
from recon.images.grid import on_grid
from recon.images.nifti import write_nifti
from recon.images.reading import read_lesions, read_volume
from recon.images.result import ResultHeader, write_result
from recon.images.volume import slice_axis, slices_first, spacing_of
from recon.quality.comparison import compare_files

SHAPE = (5, 24, 20)  # slice, readout, phase
# Axial: readout runs to posterior, phase to the left, slices up, 5 mm thick.
AFFINE = np.array([[0, -1.0, 0, 10.0], [-1.0, 0, 0, 12], [0, 0, 5.0, -8], [0, 0, 0, 1]])


def images() -> np.ndarray:
    return np.random.default_rng(0).uniform(1, 2, SHAPE).astype(np.float32)


def thick_first(folder: Path, stack: np.ndarray, name: str = "thick_first.nii") -> Path:
    """The stack as NIfTI whose first stored axis runs across the slices."""
    nibabel.Nifti1Image(stack, AFFINE[:, [2, 0, 1, 3]]).to_filename(folder / name)
    return folder / name


def write_result_file(path: Path, stack: np.ndarray, affine: np.ndarray | None) -> Path:
    with write_result(path, ResultHeader(len(stack), stack.shape[1:], "FLAIR", (1.0, 1.0, 5.0), affine)) as writer:
        for index, image in enumerate(stack):
            writer.put(index, reconstruction=image)
    return path


def test_the_slice_axis_by_one_rule() -> None:
    def axis(*spacing: float, shape: tuple[int, ...] = (8, 9, 10)) -> int:
        return slice_axis(shape, np.diag([*spacing, 1.0])).axis

    assert axis(5, 1, 1) == 0
    assert axis(1, 5, 1) == 1
    assert axis(1, 1, 5) == 2
    assert axis(1, 1, 1) == axis(1.0001, 1, 1) == axis(1, 1.009, 1) == axis(2, 2, 1) == 2
    assert axis(1, 1.02, 1) == 1
    assert axis(5, 1, 1, shape=(8, 1, 10)) == 1  # a single slice, however thin
    assert "largest spacing" in slice_axis((8, 9, 10), np.diag([5.0, 1, 1, 1])).reason


def test_turning_keeps_every_voxel_in_its_place() -> None:
    values = np.random.default_rng(1).random((4, 6, 7))
    affine = np.random.default_rng(2).random((4, 4))
    affine[3] = 0, 0, 0, 1
    for across in (0, 1, 2):
        turned, matrix = slices_first(values, affine, across)
        index = np.array([3, 2, 1])
        stored = np.argwhere(values == turned[index[2], index[0], index[1]])[0]
        np.testing.assert_allclose(matrix[:3, :3] @ index + matrix[:3, 3], affine[:3, :3] @ stored + affine[:3, 3])
        assert turned.shape[0] == values.shape[across]


def test_thick_axis_first_gives_evaluate_reader_study_and_encoders_the_same_slices(tmp_path: Path) -> None:
    stack = images()
    path = thick_first(tmp_path, stack)

    volume = read_volume(path)
    np.testing.assert_array_equal(volume.values, stack)
    np.testing.assert_allclose(volume.affine, AFFINE)
    assert volume.spacing == (1.0, 1.0, 5.0)

    # recon evaluate: as the reference of a result that does not know its place, and as a result of its own, by slice
    result = write_result_file(tmp_path / "result.h5", stack, None)
    assert compare_files([result], [path], [])[0]["nrmse"] < 1e-6
    mask = thick_first(tmp_path, (stack > 1.5).astype(np.float32), "mask.nii")
    rows = compare_files([path], [path], [mask], per_slice=True)
    assert [row["slice"] for row in rows] == [None, 0, 1, 2, 3, 4]
    assert rows[0]["lesion_pixels"] == int((stack > 1.5).sum())

    # the export of a reader study: readout already runs down and phase to the left, as an axial slice hangs
    shown = read_for_display(path, "case C1, arm 'a'")
    np.testing.assert_array_equal(shown.pixels, stack)
    assert (shown.plane, shown.spacing) == ("axial", (5.0, 1.0, 1.0))

    # encoders: the stored axes, of which the rule finds the first; their grid is depth first, from the head down
    series = read_series(path)
    assert series.affine is not None
    axis = header_slice_axis(series.affine).axis
    np.testing.assert_array_equal(np.moveaxis(series.values, axis, 0), stack)
    grid = to_encoder_grid(series.values, series.affine, axis, (5.0, 1.0, 1.0), (1, 1, 1))
    # RPI: depth runs down, height to posterior as readout does, width to the right, against phase
    np.testing.assert_allclose(grid.values[::-1, :, ::-1], stack, atol=1e-4)


def test_every_kind_of_file_gives_the_same_volume(tmp_path: Path) -> None:
    stack = images()
    series = write_dicom_series(tmp_path / "d", stack, DicomSeries("test", "test", scale=1000.0), affine=AFFINE)
    shutil.copy(series[0], tmp_path / "one.dcm")
    found = {
        "result": read_volume(write_result_file(tmp_path / "r.h5", stack, AFFINE)),
        "NIfTI": read_volume(write_nifti(tmp_path / "n.nii.gz", stack, affine=AFFINE)),
        "DICOM": read_volume(tmp_path / "d"),
    }
    for name, volume in found.items():
        np.testing.assert_allclose(volume.values, stack * (1000 if name == "DICOM" else 1), rtol=1e-3, err_msg=name)
        np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5, err_msg=name)
        assert name in volume.kind
        turned = on_grid(volume, SHAPE, AFFINE, "image")
        np.testing.assert_array_equal(turned, volume.values)
    assert read_volume(tmp_path / "one.dcm").values.shape == (1, *SHAPE[1:])


def test_what_is_no_volume_is_named(tmp_path: Path) -> None:
    nibabel.Nifti1Image(np.ones((4, 4, 4, 2), np.float32), np.eye(4)).to_filename(tmp_path / "four.nii")
    (tmp_path / "empty").mkdir()
    for name, words in (
        ("four.nii", "one three-dimensional image"),
        ("empty", "no DICOM images"),
        ("absent.h5", "no such file"),
        ("absent.nii.gz", "no such file"),
    ):
        with pytest.raises(ReconError, match=words):
            read_volume(tmp_path / name)
    with pytest.raises(ReconError, match="no dataset 'lesion'"):
        read_lesions(write_result_file(tmp_path / "r.h5", images(), None))


def test_a_file_without_a_place_says_so(tmp_path: Path) -> None:
    volume = read_volume(write_nifti(tmp_path / "n.nii", images(), voxel_size=(1.0, 1.0, 5.0)))
    assert not volume.placed
    assert volume.affine is not None
    assert spacing_of(volume.affine) == (1.0, 1.0, 5.0)
    unplaced = read_volume(write_result_file(tmp_path / "r.h5", images(), None))
    assert unplaced.affine is None
    assert unplaced.spacing == (1.0, 1.0, 5.0)
