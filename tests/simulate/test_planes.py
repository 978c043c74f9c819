"""Planes: sagittal slices lie where their affine says, and show the person and the lesion of the axial ones."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from recon.errors import ReconError
from recon.scans.opening import open_scan
from recon.seeding import numpy_generator
from recon.simulate.anatomy import Anatomy
from recon.simulate.builtin_head import builtin_anatomy
from recon.simulate.cohort import simulate_cohort
from recon.simulate.options import SimulationOptions
from recon.simulate.planes import cut, whole_subject
from recon.simulate.subject import Subject
from recon.simulate.susceptibility import echo_factor

OPTIONS = SimulationOptions(
    size=(64, 64), coils=3, slices=9, stroke=True, territory="MCA", stage="acute", plane="both", field_of_view=240.0
)


@pytest.fixture(scope="module")
def planes() -> tuple[Subject, Subject]:
    whole = whole_subject(builtin_anatomy(True), "someone", OPTIONS, numpy_generator(4, "test"))
    axial, sagittal = (cut(whole, plane, OPTIONS, numpy_generator(1, "test", plane)) for plane in OPTIONS.planes)
    return axial, sagittal


def world(subject: Subject) -> np.ndarray:
    """RAS+ mm of every pixel by the affine, ``[3, slice, readout, phase]``."""
    slices, readout, phase = np.indices(subject.brain.shape)
    index = np.stack([readout, phase, slices])
    return np.tensordot(subject.affine[:3, :3], index, 1) + subject.affine[:3, 3][:, None, None, None]


def test_axes_run_as_radiologists_look(planes: tuple[Subject, Subject]) -> None:
    axial, sagittal = planes
    assert nibabel.aff2axcodes(axial.affine) == ("P", "L", "S")
    assert nibabel.aff2axcodes(sagittal.affine) == ("I", "P", "L")
    for subject in planes:
        assert np.linalg.norm(subject.affine[:3, :3], axis=0) == pytest.approx(subject.voxel_size)
        places = np.argwhere(subject.brain)
        middle = (places.min(0) + places.max(0)) / 2
        assert np.all(np.abs(middle[1:] - 32) < 5)  # the head is in the middle of the field of view


def test_a_place_is_the_same_in_both_planes(planes: tuple[Subject, Subject]) -> None:
    """Where slices of the two planes meet, they show the same tissue, the same lesion and the same anatomy."""
    axial, sagittal = planes
    inverse = np.linalg.inv(axial.affine)
    index = np.tensordot(inverse[:3, :3], world(sagittal), 1) + inverse[:3, 3][:, None, None, None]
    on_a_slice = np.abs(index[2] - index[2].round()) * axial.voxel_size[2] < 0.5
    on_a_slice &= (index[2].round() >= 0) & (index[2].round() < len(axial.brain))
    inside = on_a_slice & sagittal.brain
    assert inside.sum() > 500
    place = np.stack([index[2], index[0], index[1]])[:, inside]
    assert axial.fractions is not None
    assert sagittal.fractions is not None
    for tissue in range(4):
        other = map_coordinates(axial.fractions[tissue], place, order=1)
        assert np.corrcoef(other, sagittal.fractions[tissue][inside])[0, 1] > 0.75  # slices are 3 to 5 mm thick
    for axis in range(3):
        other = map_coordinates(axial.coordinates[axis], place, order=1, mode="nearest")
        assert np.abs(other - sagittal.coordinates[axis][inside]).max() < 2.0
    assert axial.lesion is not None
    assert sagittal.lesion is not None
    assert axial.lesion.mask.any()
    assert sagittal.lesion.mask.any()
    assert np.corrcoef(map_coordinates(axial.lesion.core, place, order=1), sagittal.lesion.core[inside])[0, 1] > 0.8
    assert sagittal.lesion.volume == pytest.approx(axial.lesion.volume, rel=0.5)


def test_the_main_field_runs_along_the_body(planes: tuple[Subject, Subject]) -> None:
    """About blood the field is raised above and below, lowered at the sides: in either plane."""
    for subject, along in zip(planes, (0, 1), strict=True):
        lesion = replace(subject.lesion, core=np.zeros(subject.brain.shape, np.float32))  # type: ignore[type-var]
        lesion.core[4, 28:36, 28:36] = 1  # a rod's worth in one slice
        blood = replace(subject, lesion=lesion, susceptibility=0.3, field_strength=1.5)
        factor = echo_factor(blood, 5.0)
        assert factor is not None
        turned = np.angle(factor)
        across = turned[4, 32, [24, 40]]
        down = turned[4, [24, 40], 32]
        assert np.all(across < -0.01)
        assert np.all(down > 0.01) if along == 1 else np.all(down < -0.01)


def test_a_cohort_of_both_planes(tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    words = ("simulate", "--size", "48,48", "--coils", 3, "--slices", 4, "--seed", 2, "--stroke", "--out", tmp_path)
    made = run_cli(*words, "--plane", "both", "--json")
    assert made.code == 0, made.err
    records = {record["plane"]: record for record in made.json["scans"]}
    assert records["axial"]["group"] == records["sagittal"]["group"]
    assert records["sagittal"]["file"] == "icbm152-000-SAG_FLAIR.h5"
    assert records["sagittal"]["lesion_file"] == "icbm152-000-SAG_lesion.h5"
    for record in records.values():
        scan = open_scan(tmp_path / record["file"])
        with h5py.File(tmp_path / record["lesion_file"]) as file:
            assert file["lesion"].shape == (scan.shape[0], 48, 48)
            assert np.allclose(file.attrs["affine"], scan.affine)
    again = run_cli(*words, "--plane", "both", "--json")
    assert (again.json["written"], again.json["kept"]) == (0, 2)
    image = tmp_path / "image"
    sagittal = tmp_path / records["sagittal"]["file"]
    done = run_cli("reconstruct", sagittal, "--method", "zero-filled", "--out", image, "--format", "nifti,dicom")
    assert done.code == 0, done.err
    written = nibabel.load(next(image.rglob("*.nii*")))
    assert nibabel.aff2axcodes(written.affine) == ("I", "P", "L")
    import pydicom

    header = pydicom.dcmread(sorted(image.rglob("*.dcm"))[0])
    assert np.allclose(np.abs(header.ImageOrientationPatient), [0, 1, 0, 0, 0, 1])


def test_what_cannot_be_cut_is_refused_in_a_line(planes: tuple[Subject, Subject], tmp_path: Path) -> None:
    with pytest.raises(ReconError, match="--plane coronal"):
        SimulationOptions(plane="coronal")
    whole = builtin_anatomy(True)
    thick = replace(whole, voxel_size=(5.0, 1.0, 1.0))
    with pytest.raises(ReconError, match="use --plane axial"):
        whole_subject(thick, "someone", OPTIONS, numpy_generator(4, "test"))
    assert isinstance(whole, Anatomy)
    narrow = SimulationOptions(size=(48, 40), slices=2, coils=2, plane="sagittal", field_of_view=240.0)
    with pytest.raises(ReconError, match="cut the head off"):
        simulate_cohort(tmp_path, 1, ["FLAIR"], narrow)
    assert "plane" not in SimulationOptions().identity()
