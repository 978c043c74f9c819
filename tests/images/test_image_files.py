"""NIfTI and DICOM: what other programs read out of them."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest

from recon.errors import ReconError, ReconWarning
from recon.header import Header
from recon.images.dicom import DicomSeries, display_scale, write_dicom_series
from recon.images.nifti import read_nifti, write_nifti
from recon.images.slice_axis import voxel_spacing

TILT = np.deg2rad(20)


def oblique(flip: bool = False) -> np.ndarray:
    """Readout from anterior to posterior, phase from right to left, slices upwards, tilted about left-right."""
    affine = np.eye(4)
    affine[:3, 0] = np.array([0, -np.cos(TILT), np.sin(TILT)]) * 0.9
    affine[:3, 1] = np.array([-1, 0, 0]) * 1.1
    affine[:3, 2] = np.array([0, np.sin(TILT), np.cos(TILT)]) * 5
    affine[:3, 3] = (40, 60, -20)
    if flip:
        affine[:3, :2] *= -1
        affine[:3, 3] = (-40, -60, -20)
    return affine


SAGITTAL = np.array([[0.0, 0, 6, -30], [0, 1, 0, -50], [1, 0, 0, -40], [0, 0, 0, 1]])
CORONAL = np.array([[0.0, 1, 0, -30], [0, 0, -6, 50], [1, 0, 0, -40], [0, 0, 0, 1]])


def images(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((3, 20, 30)).astype(np.float32)


@pytest.mark.parametrize("affine", [oblique(), oblique(True), SAGITTAL, CORONAL])
def test_nifti_keeps_every_voxel_in_its_place(affine: np.ndarray, tmp_path: Path) -> None:
    stack = images()
    write_nifti(tmp_path / "a.nii.gz", stack, affine=affine, voxel_size=(1.0, 1.0, 1.0))
    image = nibabel.load(tmp_path / "a.nii.gz")
    assert image.shape == (20, 30, 3)
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    np.testing.assert_allclose(image.get_qform(), affine, atol=1e-4)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(image.header.get_zooms(), np.linalg.norm(affine[:3, :3], axis=0), rtol=1e-5)
    again = read_nifti(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(again.values.transpose(2, 0, 1), stack)
    np.testing.assert_allclose(again.affine, affine, atol=1e-5)
    assert again.placed
    assert voxel_spacing(again.affine) == pytest.approx(tuple(np.linalg.norm(affine[:3, :3], axis=0)), rel=1e-5)


def test_nifti_says_what_it_does_not_know(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", images(), voxel_size=(0.9, 1.1, 5.0))
    header = nibabel.load(tmp_path / "a.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (0, 0)
    np.testing.assert_allclose(header.get_zooms(), (0.9, 1.1, 5), rtol=1e-6)
    with pytest.warns(ReconWarning, match="voxel size"):
        write_nifti(tmp_path / "b.nii", images())
    assert nibabel.load(tmp_path / "b.nii").header.get_xyzt_units()[0] == "unknown"


def test_nifti_of_samples_and_of_a_sheared_stack(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).random((3, 2, 20, 30))
    write_nifti(tmp_path / "a.nii.gz", samples, affine=oblique())
    image = nibabel.load(tmp_path / "a.nii.gz")
    assert image.shape == (20, 30, 3, 2)
    np.testing.assert_allclose(image.get_fdata()[..., 2, 1], samples[2, 1], rtol=1e-6)
    sheared = oblique()
    sheared[0, 2] = 2
    write_nifti(tmp_path / "b.nii.gz", images(), affine=sheared)
    image = nibabel.load(tmp_path / "b.nii.gz")
    np.testing.assert_allclose(image.affine, sheared, atol=1e-5)
    assert int(image.header["qform_code"]) == 0


def test_nifti_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    broken = images()
    broken[1, 2, 3] = np.nan
    for values, name, message in (
        (broken, "a.nii", "NaN"),
        (images() * 1j, "a.nii", "real images"),
        (images()[0], "a.nii", "real images"),
        (images(), "a.img", "named .nii"),
    ):
        with pytest.raises(ReconError, match=message):
            write_nifti(tmp_path / name, values, voxel_size=(1, 1, 1))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "foreign.nii.gz").write_bytes(b"hello")
    write_nifti(tmp_path / "whole.nii.gz", images(), voxel_size=(1, 1, 1))
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "whole.nii.gz").read_bytes()[:5000])
    for name in ("foreign.nii.gz", "cut.nii.gz", "absent.nii"):
        with pytest.raises(ReconError, match=name):
            read_nifti(tmp_path / name)


def write_series(folder: Path, stack: np.ndarray, **options: Any) -> list[Path]:
    return write_dicom_series(
        folder,
        stack,
        DicomSeries(
            **{
                "derivation": "posterior mean of 4 samples",
                "description": "recon mean",
                "contrast": "FLAIR",
                "affine": oblique(),
                "header": Header(
                    echo_time_ms=90.0,
                    repetition_time_ms=9000.0,
                    inversion_time_ms=2500.0,
                    field_strength_t=3.0,
                    flip_angle_deg=150.0,
                ),
                **options,
            }
        ),
    )


def position_in_dicom(dataset: pydicom.Dataset, row: int, column: int) -> np.ndarray:
    """LPS mm of a pixel by PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1."""
    along_row = np.array(dataset.ImageOrientationPatient[:3], float)
    along_column = np.array(dataset.ImageOrientationPatient[3:], float)
    spacing = [float(value) for value in dataset.PixelSpacing]
    origin = np.array(dataset.ImagePositionPatient, float)
    return origin + along_row * spacing[1] * column + along_column * spacing[0] * row


@pytest.mark.parametrize("affine", [oblique(), oblique(True), SAGITTAL, CORONAL])
def test_dicom_keeps_every_voxel_in_its_place(affine: np.ndarray, tmp_path: Path) -> None:
    """One bright voxel a slice: its patient coordinates in DICOM are those of the affine, in LPS."""
    stack = np.zeros((3, 20, 30), np.float32)
    places = [(0, 4, 7), (1, 15, 2), (2, 9, 29)]
    for place in places:
        stack[place] = 1
    for path, (index, readout, phase) in zip(write_series(tmp_path / "d", stack, affine=affine), places, strict=True):
        dataset = pydicom.dcmread(path)
        row, column = np.unravel_index(dataset.pixel_array.argmax(), dataset.pixel_array.shape)
        expected = np.diag([-1, -1, 1]) @ (affine @ [readout, phase, index, 1])[:3]
        np.testing.assert_allclose(position_in_dicom(dataset, row, column), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("affine", "along_row", "along_column"),
    [
        (oblique(), (1, 0, 0), (0, 1, 0)),
        (oblique(True), (1, 0, 0), (0, 1, 0)),
        (SAGITTAL, (0, 1, 0), (0, 0, -1)),
        (CORONAL, (1, 0, 0), (0, 0, -1)),
    ],
)
def test_dicom_planes_hang_as_radiologists_expect(
    affine: np.ndarray, along_row: tuple[int, ...], along_column: tuple[int, ...], tmp_path: Path
) -> None:
    dataset = pydicom.dcmread(write_series(tmp_path / "d", images(), affine=affine)[0])
    orientation = np.array(dataset.ImageOrientationPatient, float)
    assert orientation[:3] @ along_row > 0.9
    assert orientation[3:] @ along_column > 0.9


@pytest.mark.parametrize("factor", [1e-7, 1.0, 1e6])
def test_dicom_values_come_back(factor: float, tmp_path: Path) -> None:
    stack = images() * np.float32(factor)
    stack[0, 0, 0] = -0.1 * factor
    paths = write_series(tmp_path / "d", stack)
    scale = display_scale(stack)
    assert 1000 <= scale * np.abs(stack).max() < 10000
    for path, image in zip(paths, stack, strict=True):
        dataset = pydicom.dcmread(path)
        values = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        np.testing.assert_allclose(values / scale, image, atol=0.6 * float(dataset.RescaleSlope) / scale)
        assert float(dataset.RescaleSlope) < 1  # at most the three digits of the scaled values are rounded off
        assert f"{scale:g} times" in dataset.DerivationDescription


def test_dicom_is_derived_and_names_nobody(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "d", images())
    datasets = [pydicom.dcmread(path) for path in paths]
    assert list(datasets[0].ImageType[:2]) == ["DERIVED", "SECONDARY"]
    assert "posterior mean" in datasets[0].DerivationDescription
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate"):
        assert str(getattr(datasets[0], keyword)) == ""
    assert len({dataset.SOPInstanceUID for dataset in datasets}) == 3
    assert len({dataset.SeriesInstanceUID for dataset in datasets}) == 1
    assert [dataset.InstanceNumber for dataset in datasets] == [1, 2, 3]
    again = pydicom.dcmread(write_series(tmp_path / "d", images()[:2])[0])
    assert again.SeriesInstanceUID != datasets[0].SeriesInstanceUID
    assert len(list((tmp_path / "d").iterdir())) == 2  # a shorter series leaves nothing of the longer one


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"affine": SAGITTAL, "header": Header(), "contrast": "unknown"},
        {"affine": CORONAL, "header": Header(slice_thickness_mm=4.0), "body_part": "KNEE"},
    ],
)
def test_dicom_passes_the_validator(options: dict[str, Any], tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    for path in write_series(tmp_path / "d", images() * 1e-4, **options):
        report = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True)
        assert "MRImage" in report.stderr + report.stdout
        assert "Error" not in report.stderr + report.stdout


def test_dicom_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    broken = images()
    broken[0, 0, 0] = np.inf
    with pytest.raises(ReconError, match="infinite"):
        write_series(tmp_path / "d", broken)
    with pytest.raises(ReconError, match="real images"):
        write_series(tmp_path / "d", images() * 1j)
    with pytest.raises(ReconError, match="voxel size"):
        write_series(tmp_path / "d", images(), affine=None)
    assert list(tmp_path.iterdir()) == []
    with pytest.warns(ReconWarning, match="orientation is unknown"):
        paths = write_series(tmp_path / "d", images(), affine=None, voxel_size=(0.9, 1.1, 5.0))
    dataset = pydicom.dcmread(paths[0])
    assert dataset.pixel_array.shape == (20, 30)
    assert [float(value) for value in dataset.PixelSpacing] == [0.9, 1.1]


def test_interrupted_series_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, count = pydicom.dataset.Dataset.save_as, iter(range(10))

    def failing(self: pydicom.Dataset, *arguments: Any, **options: Any) -> None:
        if next(count) == 2:
            raise OSError(28, "No space left on device")
        original(self, *arguments, **options)

    monkeypatch.setattr(pydicom.dataset.Dataset, "save_as", failing)
    with pytest.raises(ReconError, match="No space left"):
        write_series(tmp_path / "d", images())
    assert list(tmp_path.iterdir()) == []


DICOM_ON_A_FULL_DISK = """
import resource, signal
import numpy as np
from recon.errors import ReconError
from recon.images.dicom import DicomSeries, write_dicom_series
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
series = DicomSeries(derivation="d", description="d", contrast="T1", voxel_size=(1.0, 1.0, 5.0), affine=np.eye(4))
try:
    write_dicom_series({target!r}, np.random.default_rng(0).random((2, 64, 64)), series)
except ReconError as error:
    print("refused:", error)
"""


def test_dicom_on_a_full_disk_is_one_clear_error(tmp_path):
    pytest.importorskip("resource")
    code = DICOM_ON_A_FULL_DISK.format(target=str(tmp_path / "series"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith(f"refused: {tmp_path / 'series'}: writing failed (File too large); free"), done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""
    assert not list(tmp_path.iterdir())
