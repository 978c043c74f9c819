"""fastMRI files: as the public data set lays them out, as recon writes them, and broken in every way users meet."""

import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from recon.acquisition.fourier_numpy import to_image, to_kspace
from recon.acquisition.rss import reference_image, root_sum_of_squares
from recon.errors import ReconError, ReconWarning
from recon.header import Header
from recon.scans.fastmri import ScanDescription, write_fastmri
from recon.scans.opening import open_scan

HEADER = """<?xml version="1.0" encoding="utf-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
  <subjectInformation><patientName>Muster^Max</patientName><patientID>4711</patientID></subjectInformation>
  <measurementInformation><protocolName>AXFLAIR</protocolName></measurementInformation>
  <acquisitionSystemInformation><systemVendor>Any</systemVendor>
    <systemFieldStrength_T>2.89</systemFieldStrength_T></acquisitionSystemInformation>
  <experimentalConditions><H1resonanceFrequency_Hz>123000000</H1resonanceFrequency_Hz></experimentalConditions>
  <encoding>
    <encodedSpace><matrixSize><x>{readout}</x><y>{phase}</y><z>1</z></matrixSize>
      <fieldOfView_mm><x>440</x><y>220</y><z>7.5</z></fieldOfView_mm></encodedSpace>
    <reconSpace><matrixSize><x>{rows}</x><y>{columns}</y><z>1</z></matrixSize>
      <fieldOfView_mm><x>220</x><y>220</y><z>5</z></fieldOfView_mm></reconSpace>
    <encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>{maximum}</maximum><center>{center}</center>
      </kspace_encoding_step_1></encodingLimits>
    <trajectory>cartesian</trajectory>
  </encoding>
  <sequenceParameters><TR>9000</TR><TE>81</TE><TI>2500</TI></sequenceParameters>
</ismrmrdHeader>"""


def random_kspace(*shape: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (generator.normal(size=shape) + 1j * generator.normal(size=shape)).astype(np.complex64)


@pytest.fixture
def public_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a file as the data set has it, bypassing our own writer."""

    def write(kspace: np.ndarray, header: dict[str, int] | None = None, name: str = "file.h5", **datasets: Any) -> Path:
        path = tmp_path / name
        size = {"readout": kspace.shape[-2], "phase": kspace.shape[-1], "rows": kspace.shape[-2] // 2}
        size |= {"columns": kspace.shape[-1], "maximum": kspace.shape[-1] - 1, "center": kspace.shape[-1] // 2}
        with h5py.File(path, "w") as file:
            file["kspace"] = kspace
            file["ismrmrd_header"] = HEADER.format(**{**size, **(header or {})})
            for key, value in datasets.items():
                file[key] = value
            file.attrs["acquisition"] = "AXFLAIR"
            file.attrs["patient_id"] = "0123456789abcdef"
        return path

    return write


def test_training_file_with_oversampled_readout(public_file: Callable[..., Path]) -> None:
    kspace = random_kspace(3, 4, 64, 33)
    reference = np.stack([root_sum_of_squares(one, (32, 33)) for one in kspace])
    scan = open_scan(public_file(kspace, reconstruction_rss=reference))
    assert scan.shape == (3, 4, 64, 33)
    assert scan.image_shape == (32, 33)
    assert scan.contrast == "FLAIR"
    assert scan.mask.shape == (33,)
    assert scan.mask.all()
    assert scan.acceleration == 1
    assert scan.calibration == (64, 33)
    assert scan.phase_limits == (0, 33)
    np.testing.assert_allclose(scan.voxel_size, (440 / 64, 220 / 33, 5))
    assert scan.header.field_strength_t == 2.89
    assert scan.header.inversion_time_ms == 2500
    for index in range(3):
        np.testing.assert_array_equal(scan.read_kspace(index), kspace[index])
        np.testing.assert_array_equal(scan.read_reference(index), reference[index])


def test_reference_is_the_centre_of_the_image(public_file: Callable[..., Path]) -> None:
    """A point in the middle of the field of view stays in the middle, odd and even sizes alike."""
    for readout, phase in ((64, 33), (63, 32), (64, 32)):
        image = np.zeros((1, 1, readout, phase))
        image[..., readout // 2, phase // 2] = 1
        scan = open_scan(public_file(to_kspace(image), {"rows": readout // 2}, f"{readout}x{phase}.h5"))
        found = reference_image(scan, 0)
        assert found.shape == (readout // 2, phase)
        assert np.unravel_index(found.argmax(), found.shape) == (readout // 4, phase // 2)


def test_fft_pair_is_orthonormal_and_exact() -> None:
    kspace = random_kspace(2, 15, 18)
    image = to_image(kspace)
    np.testing.assert_allclose(np.linalg.norm(image), np.linalg.norm(kspace), rtol=1e-6)
    np.testing.assert_allclose(to_kspace(image), kspace, atol=1e-5)


def test_undersampled_test_file(public_file: Callable[..., Path]) -> None:
    mask = np.zeros(48, bool)
    mask[::4] = True
    mask[20:28] = True
    scan = open_scan(public_file(random_kspace(2, 4, 32, 48), mask=mask))
    np.testing.assert_array_equal(scan.mask, mask)
    assert scan.calibration == (32, 9)  # line 28 is sampled, too
    assert scan.read_reference is None
    assert (scan.read_kspace(1)[..., ~mask] == 0).all()
    with pytest.raises(ReconError, match="without a stored reference"):
        reference_image(scan, 0)


def test_prospective_mask_is_found_in_the_data(public_file: Callable[..., Path]) -> None:
    mask = np.zeros(48, bool)
    mask[::3] = True
    mask[18:30] = True
    kspace = random_kspace(3, 4, 32, 48) * mask
    kspace[0] = 0  # an empty slice says nothing about the mask
    np.testing.assert_array_equal(open_scan(public_file(kspace)).mask, mask)


def test_prospective_two_dimensional_mask(public_file: Callable[..., Path]) -> None:
    mask = np.random.default_rng(1).random((32, 48)) < 0.3
    mask[12:20, 18:30] = True
    scan = open_scan(public_file(random_kspace(2, 4, 32, 48) * mask))
    np.testing.assert_array_equal(scan.mask, mask)
    assert min(scan.calibration) >= 8


def test_encoding_limits_are_not_sampled_lines(public_file: Callable[..., Path]) -> None:
    """40 lines encoded around line 18, in an array of 48: the edges are padding, not measurements."""
    kspace = random_kspace(2, 4, 32, 48)
    kspace[..., :6] = 0
    kspace[..., 46:] = 0
    scan = open_scan(public_file(kspace, {"maximum": 39, "center": 18}))
    assert scan.phase_limits == (6, 46)
    assert scan.mask.sum() == 40
    assert scan.acceleration == 1


def test_encoding_limits_that_contradict_the_data_are_ignored(public_file: Callable[..., Path]) -> None:
    """A header whose centre was left at 0 must not cost half of the data."""
    path = public_file(random_kspace(2, 4, 32, 48), {"center": 0})
    with pytest.warns(ReconWarning, match="encoding limits are ignored"):
        scan = open_scan(path)
    assert scan.phase_limits is None
    assert scan.mask.all()


def test_volume_narrower_than_the_header_says(public_file: Callable[..., Path]) -> None:
    scan = open_scan(public_file(random_kspace(1, 2, 64, 30), {"rows": 32, "columns": 32}))
    assert scan.image_shape == (32, 30)


def test_no_patient_identity_is_carried(public_file: Callable[..., Path], tmp_path: Path, run_cli: Any) -> None:
    path = public_file(random_kspace(1, 2, 32, 24))
    result = run_cli("info", path)
    run_cli("undersample", path, "--acceleration", 2, "--out", tmp_path / "out.h5")
    written = (tmp_path / "out.h5").read_bytes()
    for secret in ("Muster", "4711", "0123456789abcdef"):
        assert secret not in repr(open_scan(path))
        assert secret not in result.out
        assert secret.encode() not in written


def test_written_file_comes_back(tmp_path: Path) -> None:
    kspace = random_kspace(2, 3, 20, 15)
    mask = np.zeros(15, bool)
    mask[3:14] = True
    mask[4] = False
    affine = np.array([[0, -1.0, 0, 3], [2, 0, 0, 4], [0, 0, 5, 6], [0, 0, 0, 1]])
    noise = random_kspace(3, 100)
    covariance = (noise @ noise.conj().T / 100).astype(np.complex64)
    with write_fastmri(
        tmp_path / "a.h5",
        ScanDescription(
            shape=kspace.shape,
            contrast="DWI",
            image_shape=(10, 15),
            voxel_size=(2.0, 1.0, 5.0),
            affine=affine,
            mask=mask,
            phase_limits=(3, 14),
            noise=noise,
            noise_covariance=covariance,
            header=Header(vendor="Any & <Sons>", echo_time_ms=90.0),
        ),
    ) as writer:
        for index in (1, 0):
            writer.put(index, kspace[index] * mask, np.full((10, 15), index + 1.0), kspace[index])
    scan = open_scan(tmp_path / "a.h5")
    assert (scan.contrast, scan.image_shape, scan.voxel_size) == ("DWI", (10, 15), (2.0, 1.0, 5.0))
    assert scan.phase_limits == (3, 14)
    assert scan.acceleration == pytest.approx(1.1)
    assert scan.header.vendor == "Any & <Sons>"
    np.testing.assert_array_equal(scan.mask, mask)
    np.testing.assert_array_equal(scan.affine, affine)
    np.testing.assert_array_equal(scan.noise, noise)
    np.testing.assert_array_equal(scan.noise_covariance, covariance)
    np.testing.assert_array_equal(scan.read_kspace(1), kspace[1] * mask)
    np.testing.assert_array_equal(scan.calibration_kspace(0), kspace[0])
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["max"] == 2
        assert file.attrs["norm"] == pytest.approx(np.sqrt(150 * (1 + 4)))
        assert file["mask"].shape == (15,)


def test_fastmri_package_reads_what_is_written(tmp_path: Path) -> None:
    """The public loader finds the same image and the same padding in our file."""
    from fastmri.data.mri_data import SliceDataset

    kspace = random_kspace(2, 3, 40, 24)
    kspace[..., :4] = 0
    with write_fastmri(
        tmp_path / "a.h5",
        ScanDescription(shape=kspace.shape, contrast="T2", image_shape=(20, 24), phase_limits=(4, 24)),
    ) as writer:
        for index in range(2):
            writer.put(index, kspace[index], root_sum_of_squares(kspace[index], (20, 24)))
    sample = SliceDataset(tmp_path, "multicoil")[1]
    np.testing.assert_array_equal(sample[0], kspace[1])
    attributes = sample[3]
    assert attributes["acquisition"] == "AXT2"
    assert (attributes["padding_left"], attributes["padding_right"]) == (4, 24)
    assert attributes["recon_size"][:2] == (20, 24)


def test_half_written_file_never_appears(tmp_path: Path) -> None:
    kspace = random_kspace(2, 3, 20, 15)
    for stop in (ValueError, KeyboardInterrupt):
        with (  # noqa: PT012
            pytest.raises(stop),
            write_fastmri(tmp_path / "a.h5", ScanDescription(shape=kspace.shape, contrast="T2")) as writer,
        ):
            writer.put(0, kspace[0])
            raise stop
    with (
        pytest.raises(ReconError, match="slice 1 was not written"),
        write_fastmri(tmp_path / "a.h5", ScanDescription(shape=kspace.shape, contrast="T2")) as writer,
    ):
        writer.put(0, kspace[0])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda k: k[0], "single-coil"),
        (lambda k: k[:, :0], "no coils"),
        (lambda k: k.real, "not complex"),
        (lambda k: k * 0, "all zero"),
        (lambda k: k[None], "not complex"),
    ],
)
def test_unusable_kspace_is_refused(
    change: Callable[[np.ndarray], np.ndarray], message: str, public_file: Callable[..., Path]
) -> None:
    with pytest.raises(ReconError, match=message):
        open_scan(public_file(change(random_kspace(2, 3, 16, 12))))


@pytest.mark.parametrize(
    ("mask", "message"),
    [(np.zeros(12, bool), "all zero"), (np.ones(11, bool), "differ in size"), (np.ones((12, 16), bool), "differ")],
)
def test_unusable_masks_are_refused(mask: np.ndarray, message: str, public_file: Callable[..., Path]) -> None:
    with pytest.raises(ReconError, match=message):
        open_scan(public_file(random_kspace(2, 3, 16, 12), mask=mask))


def test_mask_that_changes_between_slices_is_refused(public_file: Callable[..., Path]) -> None:
    kspace = random_kspace(3, 2, 16, 12)
    kspace[0, ..., ::2] = 0
    with pytest.raises(ReconError, match="changes from slice to slice"):
        open_scan(public_file(kspace))


@pytest.mark.parametrize("value", [np.nan, np.inf, complex(0, -np.inf)])
def test_values_that_are_not_finite(value: complex, public_file: Callable[..., Path], run_cli: Any) -> None:
    kspace = random_kspace(3, 2, 16, 12)
    kspace[1, 0, 3, 4] = value
    path = public_file(kspace)
    with pytest.raises(ReconError, match=r"slice 1: 1 k-space values are NaN or infinite"):
        open_scan(path).read_kspace(1)
    result = run_cli("info", path, "--json")
    assert result.code == 1
    assert not result.json["can_reconstruct"]
    assert "slice 1" in result.json["problems"][0]


@pytest.mark.parametrize("keep", [10, 2000, 0.5, 0.99])
def test_truncated_file(keep: float, public_file: Callable[..., Path], run_cli: Any) -> None:
    path = public_file(random_kspace(3, 2, 32, 24))
    content = path.read_bytes()
    path.write_bytes(content[: int(keep if keep > 1 else keep * len(content))])
    result = run_cli("info", path)
    assert result.code == 2
    assert result.out == ""
    assert re.match(r"recon: .*file\.h5: (truncated|not a scan)", result.err)
    assert result.err.count("\n") == 1


def test_damaged_header_and_hostile_header(public_file: Callable[..., Path]) -> None:
    path = public_file(random_kspace(1, 2, 16, 12))
    hostile = '<!DOCTYPE a [<!ENTITY b "c">]><ismrmrdHeader/>'
    for text, message in ((HEADER[:300], "not readable"), (hostile, "entities"), ("<a/>", "no encoding")):
        with h5py.File(path, "r+") as file:
            del file["ismrmrd_header"]
            file["ismrmrd_header"] = text
        with pytest.raises(ReconError, match=message):
            open_scan(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04" + bytes(100)])
def test_foreign_file(content: bytes, tmp_path: Path, run_cli: Any) -> None:
    path = tmp_path / "scan.h5"
    path.write_bytes(content)
    result = run_cli("info", path)
    assert result.code == 2
    assert "scan.h5" in result.err
    assert run_cli("info", tmp_path / "absent.h5").err == f"recon: {tmp_path}/absent.h5: no such file\n"
    assert run_cli("info", tmp_path).code == 2


def test_damage_inside_the_data_is_found_when_read(tmp_path: Path) -> None:
    """A file whose header is whole but whose compressed data is not."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("kspace", data=random_kspace(5, 2, 32, 24), chunks=(1, 2, 32, 24), compression="gzip")
        offset = file["kspace"].id.get_chunk_info(1).byte_offset
    content = bytearray((tmp_path / "a.h5").read_bytes())
    content[offset : offset + 400] = bytes(400)
    (tmp_path / "a.h5").write_bytes(content)
    scan = open_scan(tmp_path / "a.h5")
    with pytest.raises(ReconError, match="damaged"):
        scan.read_kspace(1)


def test_memory_does_not_grow_with_slices(tmp_path: Path) -> None:
    peaks = []
    for slices in (2, 16):
        path = tmp_path / f"{slices}.h5"
        shape = (slices, 4, 128, 96)
        tracemalloc.start()
        with write_fastmri(path, ScanDescription(shape=shape, contrast="T2")) as writer:
            for index in range(slices):
                writer.put(index, random_kspace(*shape[1:]))
        scan = open_scan(path)
        for index in range(slices):
            scan.read_kspace(index)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] <= 1.15 * peaks[0]


def test_digest_names_the_content(public_file: Callable[..., Path]) -> None:
    kspace = random_kspace(1, 2, 16, 12)
    first, second = open_scan(public_file(kspace)), open_scan(public_file(kspace, name="copy.h5"))
    assert first.digest == second.digest
    assert first.digest != open_scan(public_file(2 * kspace)).digest
