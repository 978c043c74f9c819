"""Headers of NIfTI, DICOM and result files that cannot be true are refused in one line that names the file."""

import gzip
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from recon.errors import ReconError
from recon.images.nifti import write_nifti
from recon.images.references import read_lesions
from recon.images.volume import read_volume
from tests.fuzzing.bombs import deflated, gzipped
from tests.small_world import AFFINE, VOXEL, write_small_scan


def nifti_with(path: Path, place: int, layout: str, *values: float) -> Path:
    write_nifti(path, np.ones((2, 5, 4), np.float32), affine=AFFINE)
    data = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into(layout, data, place, *values)
    path.write_bytes(gzip.compress(bytes(data)))
    return path


@pytest.mark.parametrize(
    ("place", "layout", "values", "words"),
    [
        (112, "<ff", (1.0, np.inf), "not readable as NIfTI .*intercept"),
        (280, "<f", (np.nan,), "its affine has NaN or infinite entries"),
        (280, "<12f", (0.0,) * 12, "its affine is singular"),
        (292, "<f", (1e9,), "its affine has voxels or positions larger than a scanner"),
        (70, "<h", (77,), "not readable as NIfTI"),
        (40, "<8h", (3, -5, 4, 2, 1, 1, 1, 1), "its header declares float32"),
        (40, "<8h", (3, 32767, 32767, 32767, 1, 1, 1, 1), "which cannot hold them"),
        (108, "<f", (1e9,), "from byte"),
    ],
)
def test_nifti_headers(place: int, layout: str, values: tuple[float, ...], words: str, tmp_path: Path) -> None:
    path = nifti_with(tmp_path / "odd.nii.gz", place, layout, *values)
    with pytest.raises(ReconError, match=words) as refusal:
        read_volume(path)
    assert "odd.nii.gz" in str(refusal.value)


def test_a_nifti_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = nifti_with(tmp_path / "bomb.nii.gz", 40, "<8h", 3, 8192, 8192, 4, 1, 1, 1, 1)
    path.write_bytes(gzipped(gzip.decompress(path.read_bytes()), 17))  # all of its gigabyte is there, in one megabyte
    with pytest.raises(ReconError, match=r"bomb\.nii\.gz: its header claims"):
        read_volume(path)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from cli.main import main

    folder = tmp_path_factory.mktemp("series")
    scan = write_small_scan(folder / "scan.h5", slices=3)
    with pytest.raises(SystemExit) as stop:
        main(["reconstruct", str(scan), "--out", str(folder / "out"), "--method", "zero-filled", "--format", "dicom"])
    assert not stop.value.code
    return folder / "out" / "scan_dicom"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ImageOrientationPatient", ["0"] * 6, "not two perpendicular directions"),
        ("ImageOrientationPatient", ["nan"] * 6, "not 6 finite numbers"),
        ("ImageOrientationPatient", ["1", "0", "0"], "not 6 finite numbers"),
        ("ImagePositionPatient", ["nan", "0", "0"], "not 3 finite numbers"),
        ("ImagePositionPatient", ["5", "5", "5"], "not evenly spaced|another orientation"),
        ("PixelSpacing", ["0", "1"], "voxel size is 0 x 1"),
        ("PixelSpacing", ["-1", "1"], "voxel size is -1 x 1"),
        ("RescaleSlope", "inf", "not 1 finite number"),
        ("RescaleIntercept", "1e300", "NaN, infinite or too large"),
    ],
)
def test_dicom_elements(name: str, value: Any, words: str, series: Path, tmp_path: Path) -> None:
    import pydicom

    folder = tmp_path / "odd"
    shutil.copytree(series, folder)
    file = sorted(folder.rglob("*.dcm"))[1]
    with pydicom.config.disable_value_validation():
        dataset = pydicom.dcmread(file)
        tag = pydicom.datadict.tag_for_keyword(name)
        assert tag is not None
        dataset[tag] = pydicom.DataElement(tag, "DS", value)
        dataset.save_as(file)
    with pytest.raises(ReconError, match=words) as refusal:
        read_volume(folder)
    assert str(folder) in str(refusal.value)


def test_a_missing_dicom_slice_is_noticed(series: Path, tmp_path: Path) -> None:
    import pydicom

    shutil.copytree(series, tmp_path / "gap")
    files = sorted((tmp_path / "gap").rglob("*.dcm"), key=lambda file: pydicom.dcmread(file).InstanceNumber)
    moved = pydicom.dcmread(files[-1])
    moved.ImagePositionPatient = [float(x) * 3 - 2 * float(y) for x, y in zip(
        moved.ImagePositionPatient, pydicom.dcmread(files[-2]).ImagePositionPatient, strict=True)]  # fmt: skip
    moved.save_as(files[-1])
    with pytest.raises(ReconError, match="gap: its slices are not evenly spaced"):
        read_volume(tmp_path / "gap")


def test_a_deflated_dicom_bomb_is_not_unpacked(series: Path, tmp_path: Path) -> None:
    source = next(series.rglob("*.dcm")).read_bytes()
    start = source.find(b"\x08\x00\x05\x00")
    head = source[:start].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    length = struct.unpack_from("<I", head, 140)[0] + 2
    head = head[:140] + struct.pack("<I", length) + head[144:]
    place = head.find(b"\x02\x00\x10\x00") + 6
    head = head[:place] + struct.pack("<H", 22) + head[place + 2 :]
    path = tmp_path / "bomb.dcm"
    path.write_bytes(head + deflated(b"", 16))
    with pytest.raises(ReconError, match=r"bomb\.dcm: its deflated data set claims"):
        read_volume(path)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from recon.images.result import ResultHeader, write_result

    path = tmp_path_factory.mktemp("result") / "result.h5"
    with write_result(path, ResultHeader(2, (8, 6), "FLAIR", VOXEL, AFFINE)) as writer:
        for index in range(2):
            image = np.ones((8, 6), np.float32)
            writer.put(index, reconstruction=image, std=image)
    return path


def attribute(name: str, value: Any) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.__setitem__(name, value)


def dataset(name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (attribute("audit", "null"), "a JSON object is needed"),
        (attribute("audit", "5"), "a JSON object is needed"),
        (attribute("audit", "[" * 50_000), "nested too deeply"),
        (attribute("configuration", 7), "'configuration' is int64, not a text"),
        (attribute("scan_name", 1.5), "'scan_name' is float64, not a text"),
        (attribute("affine", np.ones((3, 4))), "'affine' has the shape"),
        (attribute("affine", np.zeros((4, 4))), "its affine is singular"),
        (attribute("affine", 5.0), "'affine' has 0 axes"),
        (attribute("voxel_size_mm", np.array([1.0, 0.0, 1.0])), "voxel size"),
        (attribute("voxel_size_mm", np.array([1.0, np.nan, 1.0])), "NaN or infinite"),
        (dataset("reconstruction", "text"), "'reconstruction' is object, not a number"),
        (dataset("reconstruction", np.ones((2, 8, 6), np.complex64)), "complex64, not a number"),
        (dataset("std", np.ones((2, 8, 5))), r"'std' \(2, 8, 5\) does not match the reconstruction"),
        (lambda file: file.pop("std") and file.create_group("std"), "'std' is no dataset"),
    ],
)
def test_parts_of_results(change: Callable[[h5py.File], None], words: str, result: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(result, tmp_path / "odd.h5"))
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(ReconError, match=words) as refusal:
        read_volume(path)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize(
    ("values", "affine", "words"),
    [
        (np.zeros((2, 8, 6)), np.zeros((4, 4)), "its affine is singular"),
        (np.zeros((2, 8, 6)), "north", "its affine is not made of numbers"),
        (np.zeros(4), None, "has 1 axes"),
        (np.zeros((2, 8, 6), np.complex64), None, "not a number"),
    ],
)
def test_parts_of_lesion_masks(values: Any, affine: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "lesion.h5"
    with h5py.File(path, "w") as file:
        file["lesion"] = values
        if affine is not None:
            file["lesion"].attrs["affine"] = affine
    with pytest.raises(ReconError, match=words):
        read_lesions(path)
