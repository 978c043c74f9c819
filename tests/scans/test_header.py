"""The typed header: what formats say in it, how it survives files, and that earlier files still tell it."""

from dataclasses import fields, replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from recon.errors import ReconError
from recon.header import Header, header_from
from recon.scans.fastmri import ScanDescription, write_fastmri
from recon.scans.ismrmrd_header import PLACES
from recon.scans.opening import open_scan
from recon.scans.options import UndersamplingOptions
from recon.scans.undersample import undersample
from tests.small_world import write_small_scan

FULL = Header(
    subject="p7", vendor="Any & <Sons>", model="One", site="site-a", acquired_at="2026-01-31T12:00:00",
    field_strength_t=1.5, protocol="AXFLAIR", sequence="TSE",
    repetition_time_ms=9000.0, echo_time_ms=90.5, inversion_time_ms=2500.0, flip_angle_deg=150.0, echo_spacing_ms=9.8,
    b_value_s_per_mm2=1000.0, slice_thickness_mm=4.0, averages=2, relative_noise_bandwidth=0.79,
    patient_position="HFS", origin="a public data set", licence="CC-BY-4.0",
)  # fmt: skip


def write(path: Path, header: Header, voxel_size: tuple[float, float, float] | None = (1.0, 1.0, 5.0)) -> Path:
    described = ScanDescription((1, 2, 16, 12), "FLAIR", voxel_size=voxel_size, header=header)
    with write_fastmri(path, described) as writer:
        writer.put(0, np.ones((2, 16, 12), np.complex64))
    return path


@pytest.mark.parametrize("voxel_size", [(1.0, 1.0, 5.0), None])
def test_every_field_comes_back(tmp_path: Path, voxel_size: tuple[float, float, float] | None) -> None:
    assert set(FULL.known()) == {field.name for field in fields(Header)}, "the test writes them all"
    assert open_scan(write(tmp_path / "a.h5", FULL, voxel_size)).header == FULL


def test_what_is_not_known_stays_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", Header(), None)
    assert open_scan(path).header == Header()
    with h5py.File(path) as file:
        assert file.attrs["acquisition"] == "AXFLAIR", "the layout demands one"


def test_a_protocol_that_recon_made_up_changes_no_mask_and_is_nobodys(tmp_path: Path) -> None:
    """The identity, which names the random streams, is that of files from before the name was told to be ours."""
    ours, earlier = (write(tmp_path / name, replace(FULL, protocol=None)) for name in ("ours.h5", "earlier.h5"))
    with h5py.File(earlier, "r+") as file:
        del file["recon"].attrs["protocol_named_by_recon"]
    assert open_scan(ours).identity == open_scan(earlier).identity
    assert open_scan(earlier).header.protocol == "AXFLAIR", "a file that does not tell"
    fewer = undersample(open_scan(ours), tmp_path / "fewer.h5", UndersamplingOptions(2, calibration_lines=4))
    again = open_scan(fewer.output)
    assert again.header.protocol is None
    assert again.contrast == "FLAIR"


def test_unknown_names_are_impossible() -> None:
    with pytest.raises(TypeError):
        Header(field_strength=3.0)  # type: ignore[call-arg]
    assert set(PLACES.values()) <= {field.name for field in fields(Header)}


def test_attributes_become_the_types_of_the_fields() -> None:
    said = {"averages": np.int64(2), "echo_time_ms": "90", "vendor": b"Any", "contrast": "T2"}
    header = header_from(said)
    assert header == Header(averages=2, echo_time_ms=90.0, vendor="Any")
    assert type(header.averages) is int


def test_a_file_of_the_first_version_is_read(tmp_path: Path) -> None:
    """Before the group had a version: subject, origin and licence in it, the rest in the XML, no identity."""
    path = write(tmp_path / "a.h5", FULL)
    with h5py.File(path, "r+") as file:
        own = file["recon"].attrs
        for name in set(own) - {"contrast", "image_shape", "voxel_size_mm", "subject", "origin", "licence"}:
            del own[name]
    scan = open_scan(path)
    assert scan.header == replace(FULL, averages=None, b_value_s_per_mm2=None, site=None, acquired_at=None)
    assert len(scan.identity) == 64


def test_a_file_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", FULL)
    with h5py.File(path, "r+") as file:
        file["recon"].attrs["version"] = 3
    with pytest.raises(ReconError, match="newer recon"):
        open_scan(path)


def test_a_damaged_attribute_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", FULL)
    with h5py.File(path, "r+") as file:
        file["recon"].attrs["averages"] = "two"
    with pytest.raises(ReconError, match=r"a\.h5: an attribute of group 'recon' is damaged .*'two'"):
        open_scan(path)


def test_undersampling_keeps_the_header(tmp_path: Path) -> None:
    from recon.scans.options import UndersamplingOptions
    from recon.scans.undersample import undersample

    scan = replace(open_scan(write_small_scan(tmp_path / "full.h5")), header=FULL)
    undersample(scan, tmp_path / "fast.h5", UndersamplingOptions(acceleration=2))
    assert open_scan(tmp_path / "fast.h5").header == FULL
