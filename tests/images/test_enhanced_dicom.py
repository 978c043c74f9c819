"""Enhanced MR: one multi-frame instance that the validator passes and that comes back where it was."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from recon.errors import ReconError
from recon.header import Header
from recon.images.dicom import DicomSeries, write_dicom_series
from recon.images.dicom_enhanced import write_dicom_enhanced
from recon.images.dicom_reading import read_dicom, read_dicom_b_values

TILTED = np.array([[0.0, -1.1, 0, 40], [-0.85, 0, 1.7, 60], [0.31, 0, 4.7, -20], [0, 0, 0, 1]])
SAGITTAL = np.array([[0.0, 0, 6, -30], [0, 1, 0, -50], [1, 0, 0, -40], [0, 0, 0, 1]])
HEADER = Header(
    echo_time_ms=90.0, repetition_time_ms=9000.0, inversion_time_ms=2500.0, field_strength_t=3.0, flip_angle_deg=150.0
)


def images(slices: int = 3) -> np.ndarray:
    return np.random.default_rng(0).random((slices, 20, 30)).astype(np.float32)


def write(path: Path, stack: np.ndarray, deviation: bool = False, **options: Any) -> Path:
    said = {"derivation": "posterior mean", "description": "recon mean", "contrast": "FLAIR", "affine": TILTED}
    return write_dicom_enhanced(path, stack, DicomSeries(**{**said, "header": HEADER, **options}), deviation)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"deviation": True, "comment": "Not an image of the patient"},
        {"affine": SAGITTAL, "header": Header(), "contrast": "unknown"},
        {"body_part": "KNEE", "header": Header(slice_thickness_mm=4.0, b_value_s_per_mm2=1000.0), "contrast": "DWI"},
        {"header": Header(b_value_s_per_mm2=0.0), "contrast": "DWI-B0"},
    ],
)
@pytest.mark.parametrize("slices", [1, 3])
def test_it_passes_the_validator(options: dict[str, Any], slices: int, tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    path = write(tmp_path / "e.dcm", images(slices) * 1e-4, **options)
    report = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True)
    assert "EnhancedMRImage" in report.stderr + report.stdout
    assert "Error" not in report.stderr + report.stdout, report.stderr + report.stdout


@pytest.mark.parametrize("affine", [TILTED, SAGITTAL])
@pytest.mark.parametrize("slices", [1, 3])
def test_volume_and_geometry_are_those_of_the_classic_series(affine: np.ndarray, slices: int, tmp_path: Path) -> None:
    stack = images(slices)
    stack[0, 0, 0] = -0.1
    values, placed = read_dicom(write(tmp_path / "e.dcm", stack, affine=affine))
    write_dicom_series(tmp_path / "classic", stack, DicomSeries("d", "d", affine=affine))
    classic, classic_placed = read_dicom(tmp_path / "classic")
    np.testing.assert_array_equal(values, classic)
    np.testing.assert_allclose(placed, classic_placed, atol=1e-6)
    place = tuple(np.argwhere(stack == stack.max())[0])
    found = np.argwhere(values == values.max())[0]
    wanted = (affine @ [place[1], place[2], place[0], 1])[:3]
    np.testing.assert_allclose((placed @ [found[1], found[2], found[0], 1])[:3], wanted, atol=1e-3)
    assert values.max() == pytest.approx(stack.max(), rel=1e-4), "in the scan's own units"


def test_what_it_says_of_itself(tmp_path: Path) -> None:
    mean, deviation = (
        pydicom.dcmread(write(tmp_path / f"{name}.dcm", images(), name == "std", comment="c"))
        for name in ("mean", "std")
    )
    for one, kind in ((mean, "MEAN"), (deviation, "STD_DEVIATION")):
        assert one.SOPClassUID == pydicom.uid.EnhancedMRImageStorage
        assert list(one.ImageType) == ["DERIVED", "PRIMARY", "VOLUME", kind]
        assert one.NumberOfFrames == 3
        assert one.BurnedInAnnotation == "NO"
        assert "posterior mean" in one.DerivationDescription
        assert one.ContributingEquipmentSequence[0].ManufacturerModelName == "recon"
        assert one.ImageComments == "c"
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate"):
            assert str(getattr(one, keyword)) == ""
    shared = mean.SharedFunctionalGroupsSequence[0]
    assert shared.MREchoSequence[0].EffectiveEchoTime == 90
    assert mean.AcquisitionContrast == "FLUID_ATTENUATED"
    assert mean.MagneticFieldStrength == 3


def test_b_value_comes_back(tmp_path: Path) -> None:
    for b in (0.0, 800.0):
        path = write(tmp_path / "e.dcm", images(), header=Header(b_value_s_per_mm2=b))
        ((value, (values, _)),) = read_dicom_b_values(path).items()
        assert value == b
        assert values.max() == pytest.approx(images().max(), rel=1e-3)  # the scan's own units


def test_what_cannot_be_written_or_read_is_one_line(tmp_path: Path) -> None:
    broken = images()
    broken[0, 0, 0] = np.nan
    with pytest.raises(ReconError, match="NaN"):
        write(tmp_path / "e.dcm", broken)
    with pytest.raises(ReconError, match="no code is known for body part TAIL"):
        write(tmp_path / "e.dcm", images(), body_part="TAIL")
    assert list(tmp_path.iterdir()) == []
    path = write(tmp_path / "e.dcm", images())
    for damage, words in (
        (lambda one: one.PerFrameFunctionalGroupsSequence.pop(), "neither a single grey-scale slice nor an enhanced"),
        (lambda one: one.SharedFunctionalGroupsSequence[0].pop("PixelMeasuresSequence"), "PixelSpacing is missing"),
        (lambda one: one.PerFrameFunctionalGroupsSequence[1].pop("PlanePositionSequence"), "ImagePositionPatient is"),
    ):
        dataset = pydicom.dcmread(path)
        damage(dataset)
        dataset.save_as(tmp_path / "damaged.dcm")
        with pytest.raises(ReconError, match=words) as refused:
            read_dicom(tmp_path / "damaged.dcm")
        assert "\n" not in str(refused.value)
