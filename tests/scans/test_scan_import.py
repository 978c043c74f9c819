"""BART pairs, imported arrays, and `recon convert`."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from recon.acquisition.rss import reference_image, root_sum_of_squares
from recon.errors import ReconError, ReconWarning
from recon.scans.arrays import open_array
from recon.scans.bart import write_bart
from recon.scans.opening import open_scan

Run = Callable[..., Any]


def random_kspace(*shape: int, seed: int = 0) -> np.ndarray:
    """Complex noise whose energy lies in the middle of the last two axes, as k-space's does."""
    generator = np.random.default_rng(seed)
    values = generator.normal(size=shape) + 1j * generator.normal(size=shape)
    for axis in (-2, -1):
        size = shape[axis]
        decay = np.exp(-np.abs(np.arange(size) - size // 2) / (size / 8))
        values = values * (decay[:, None] if axis == -2 else decay)
    return values.astype(np.complex64)


def test_bart_pair_by_hand(tmp_path: Path) -> None:
    """The layout that BART documents, written here without our writer: readout fastest, slice in dimension 13."""
    kspace = random_kspace(3, 4, 10, 7)
    (tmp_path / "scan.hdr").write_text("# Dimensions\n10 7 1 4 1 1 1 1 1 1 1 1 1 3 1 1 \n# Command\nphantom -k\n")
    with (tmp_path / "scan.cfl").open("wb") as file:
        for one in kspace:
            for coil in one:
                file.write(coil.T.tobytes())
    for name in ("scan.cfl", "scan.hdr"):
        scan = open_scan(tmp_path / name)
        assert scan.shape == (3, 4, 10, 7)
        for index in range(3):
            np.testing.assert_array_equal(scan.read_kspace(index), kspace[index])


def test_bart_slice_of_a_three_dimensional_scan(tmp_path: Path) -> None:
    kspace = random_kspace(4, 10, 7)
    mask = np.random.default_rng(0).random((10, 7)) < 0.7
    mask[5, 3] = True
    (tmp_path / "scan.hdr").write_text("# Dimensions\n1 10 7 4\n")
    (tmp_path / "scan.cfl").write_bytes((kspace * mask).transpose(1, 2, 0).tobytes(order="F"))
    scan = open_scan(tmp_path / "scan.cfl")
    assert scan.shape == (1, 4, 10, 7)
    np.testing.assert_array_equal(scan.mask, mask)
    np.testing.assert_array_equal(scan.read_kspace(0), kspace * mask)


def test_whole_three_dimensional_bart_scan(tmp_path: Path, run_cli: Run) -> None:
    """The same slices as from the same array imported by its axes."""
    kspace = random_kspace(3, 9, 16, 12)
    np.save(tmp_path / "a.npy", kspace)
    (tmp_path / "a.hdr").write_text("# Dimensions\n9 16 12 3\n")
    (tmp_path / "a.cfl").write_bytes(kspace.transpose(1, 2, 3, 0).tobytes(order="F"))
    refused = run_cli("info", tmp_path / "a.cfl")
    assert refused.code == 2
    assert "recon convert" in refused.err
    assert run_cli("convert", tmp_path / "a.cfl", "--out", tmp_path / "b.h5").code == 0
    axes = ("--axes", "coil,readout,phase,phase2")
    assert run_cli("convert", tmp_path / "a.npy", *axes, "--out", tmp_path / "c.h5").code == 0
    one, other = open_scan(tmp_path / "b.h5"), open_scan(tmp_path / "c.h5")
    for index in range(9):
        np.testing.assert_array_equal(one.read_kspace(index), other.read_kspace(index))


def test_bart_round_trip_and_conversion(tmp_path: Path, run_cli: Run) -> None:
    kspace = random_kspace(2, 3, 12, 9)
    kspace[..., ::2] = 0
    kspace[..., 4] = 1
    write_bart(tmp_path / "a", kspace.shape, iter(kspace))
    result = run_cli(
        "convert", tmp_path / "a.cfl", "--contrast", "T1", "--voxel-size", "1,1.5,4", "--out", tmp_path / "b.h5"
    )
    assert result.code == 0
    scan = open_scan(tmp_path / "b.h5")
    assert (scan.contrast, scan.voxel_size) == ("T1", (1.0, 1.5, 4.0))
    assert run_cli("convert", tmp_path / "b.h5", "--out", tmp_path / "c.cfl").code == 0
    again = open_scan(tmp_path / "c.cfl")
    for index in range(2):
        np.testing.assert_array_equal(again.read_kspace(index), kspace[index])
        np.testing.assert_array_equal(scan.read_kspace(index), kspace[index])


@pytest.mark.parametrize(
    ("header", "size", "message"),
    [
        ("# Dimensions\n10 7 1 4\n", 8 * 10 * 7 * 4 - 8, "truncated"),
        ("# Dimensions\n10 7 1 four\n", 100, "not a BART header"),
        ("hello\n", 100, "not a BART header"),
        ("# Dimensions\n10 7 1 0\n", 0, "not those of a scan"),
        ("# Dimensions\n10 7 1 1 1 1 1 1 1 1 3\n", 8 * 210, "3 frames"),
        ("# Dimensions\n10 7 1 1 1 2\n", 8 * 140, "2 echoes"),
        ("# Dimensions\n4 5 6 2\n", 8 * 240, "3-D k-space"),
        ("# Dimensions\n4 5 1 2\n", 8 * 40, "all zero"),
    ],
)
def test_broken_bart_pairs(header: str, size: int, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.hdr").write_text(header)
    (tmp_path / "a.cfl").write_bytes(bytes(size))
    with pytest.raises(ReconError, match=message):
        open_scan(tmp_path / "a.cfl")
    (tmp_path / "a.hdr").unlink()
    with pytest.raises(ReconError, match=r"a\.hdr: no such file"):
        open_scan(tmp_path / "a.cfl")


def save_mat73(path: Path, name: str, values: np.ndarray) -> None:
    """A complex array as MATLAB writes it in version 7.3: a compound of real and imag."""
    stored = np.zeros(values.shape, [("real", "<f8"), ("imag", "<f8")])
    stored["real"], stored["imag"] = values.real, values.imag
    with h5py.File(path, "w") as file:
        file[name] = stored
        file["size"] = np.ones(3)


@pytest.mark.parametrize("kind", ["npy", "mat5", "mat73", "fortran"])
def test_arrays_of_every_kind(kind: str, tmp_path: Path, run_cli: Run) -> None:
    kspace = random_kspace(3, 4, 24, 16)
    stored = kspace.transpose(3, 1, 2, 0)  # phase, coil, readout, slice
    path = tmp_path / ("a.npy" if kind in ("npy", "fortran") else "a.mat")
    if kind == "npy":
        np.save(path, stored)
    elif kind == "fortran":
        np.save(path, np.asfortranarray(stored.astype(np.complex128)))
    elif kind == "mat5":
        scipy.io.savemat(path, {"raw": stored, "size": np.ones(3)})
    else:
        save_mat73(path, "raw", stored)
    result = run_cli("convert", path, "--axes", "phase,coil,readout,slice", "--out", tmp_path / "b.h5", "--json")
    assert result.code == 0
    assert result.json["slices"] == 3
    assert result.json["acceleration"] == 1
    scan = open_scan(tmp_path / "b.h5")
    for index in range(3):
        np.testing.assert_allclose(scan.read_kspace(index), kspace[index])
        np.testing.assert_allclose(scan.read_reference(index), root_sum_of_squares(kspace[index], (24, 16)), rtol=1e-5)


def test_three_dimensional_scan_becomes_slices(tmp_path: Path, run_cli: Run) -> None:
    """Each slice of a 3-D scan is the image of the whole 3-D transform at one readout position."""
    kspace = random_kspace(3, 13, 16, 12)
    kspace *= np.exp(-np.abs(np.arange(13) - 6))[:, None, None]
    np.save(tmp_path / "a.npy", kspace)
    command = ("convert", tmp_path / "a.npy", "--axes", "coil,readout,phase,phase2")
    assert run_cli(*command, "--out", tmp_path / "b.h5").code == 0
    scan = open_scan(tmp_path / "b.h5")
    assert scan.shape == (13, 3, 16, 12)
    axes = (1, 2, 3)
    image = np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(kspace, axes=axes), axes=axes, norm="ortho"), axes=axes)
    expected = np.sqrt((np.abs(image) ** 2).sum(axis=0))
    for index in range(13):
        np.testing.assert_allclose(scan.read_reference(index), expected[index], rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(
            root_sum_of_squares(scan.read_kspace(index), (16, 12)), expected[index], rtol=1e-4, atol=1e-7
        )
    mask = np.random.default_rng(0).random((16, 12)) < 0.4
    mask[6:10, 4:8] = True
    np.save(tmp_path / "a.npy", kspace * mask)
    assert run_cli(*command, "--out", tmp_path / "c.h5").code == 0
    scan = open_scan(tmp_path / "c.h5")
    np.testing.assert_array_equal(scan.mask, mask)
    assert scan.read_reference is None


def test_centre_in_the_corner_is_noticed_and_moved(tmp_path: Path, run_cli: Run) -> None:
    kspace = random_kspace(4, 21, 16)
    np.save(tmp_path / "a.npy", np.fft.ifftshift(kspace, axes=(-2, -1)))
    command = ("convert", tmp_path / "a.npy", "--axes", "coil,readout,phase", "--out", tmp_path / "b.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("always", ReconWarning)
        assert "warning: " in (noticed := run_cli(*command).err)
        assert "--corner" in noticed
    assert run_cli(*command, "--corner").code == 0
    np.testing.assert_array_equal(open_scan(tmp_path / "b.h5").read_kspace(0), kspace)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ("coil,readout", "must name coil, phase"),
        ("coil,readout,phase,slice,phase2", "exclude each other"),
        ("coil,readout,echo", "unknown axis 'echo'"),
        ("coil,coil,phase", "named twice"),
        ("coil,phase,phase2,readout", r"\(4, 24, 16\), but --axes names 4"),
    ],
)
def test_wrong_axes(axes: str, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", random_kspace(4, 24, 16))
    with pytest.raises(ReconError, match=message), open_array(tmp_path / "a.npy", axes.split(",")):
        pass


def test_wrong_arrays(tmp_path: Path, run_cli: Run) -> None:
    axes = ("--axes", "coil,readout,phase", "--out", tmp_path / "out.h5")
    np.save(tmp_path / "real.npy", np.ones((4, 8, 8)))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "whole.npy", random_kspace(4, 24, 16))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:-100])
    (tmp_path / "foreign.mat").write_bytes(b"not a matlab file" * 20)
    (tmp_path / "empty.mat").write_bytes(b"")
    save_mat73(tmp_path / "raw.mat", "raw", random_kspace(4, 24, 16))
    content = (tmp_path / "raw.mat").read_bytes()
    (tmp_path / "cut.mat").write_bytes(content[: len(content) // 2])
    broken = random_kspace(4, 24, 16)
    broken[0, 0, 0] = np.inf
    np.save(tmp_path / "infinite.npy", broken)
    for name, message in {
        "real.npy": "k-space is complex",
        "objects.npy": "not a plain .npy",
        "cut.npy": "truncated",
        "foreign.mat": "not a MATLAB file",
        "empty.mat": "not a MATLAB file",
        "cut.mat": "truncated",
        "infinite.npy": "NaN or infinite",
        "absent.npy": "no such file",
    }.items():
        result = run_cli("convert", tmp_path / name, *axes)
        assert result.code == 2, name
        assert message in result.err, result.err
        assert result.err.count("\n") == 1
        assert not (tmp_path / "out.h5").exists()
    result = run_cli("convert", tmp_path / "raw.mat", "--key", "other", *axes)
    assert "complex arrays: raw" in result.err
    assert "name its axes" in run_cli("convert", tmp_path / "raw.mat", "--out", tmp_path / "out.h5").err
    assert run_cli("convert", tmp_path / "raw.mat", *axes, "--voxel-size", "1,2").code == 2
    assert "the input itself" in run_cli("convert", tmp_path / "whole.npy", *axes[:3], tmp_path / "whole.npy").err


def test_real_sixteen_channel_slice(shared_data: Path, tmp_path: Path, run_cli: Run) -> None:
    source = shared_data / "kspace" / "mchiew_sense_raw_data.mat"
    if not source.is_file():
        pytest.skip(f"{source.name} absent")
    command = ("convert", source, "--axes", "coil,readout,phase", "--key", "raw", "--out", tmp_path / "a.h5", "--json")
    result = run_cli(*command)
    assert result.code == 0
    assert (result.json["coils"], result.json["readout"], result.json["phase"]) == (16, 96, 96)
    assert result.json["acceleration"] == 1
    image = reference_image(open_scan(tmp_path / "a.h5"), 0)
    assert image[30:60, 40:60].mean() > 5 * image[:5].mean()  # a head in air, in the middle


def test_real_poisson_slice_of_a_three_dimensional_scan(shared_data: Path, tmp_path: Path, run_cli: Run) -> None:
    source = shared_data / "kspace" / "sigpy_cartesian_ksp.npy"
    if not source.is_file():
        pytest.skip(f"{source.name} absent")
    result = run_cli("convert", source, "--axes", "coil,phase,phase2", "--out", tmp_path / "a.h5", "--json")
    assert result.code == 0
    assert result.json["calibration"] == [24, 24]
    assert result.json["acceleration"] == pytest.approx(1 / 0.124, rel=0.01)
    found = run_cli("info", tmp_path / "a.h5", "--json").json
    assert found["mask"] == "2-D"
    assert found["can_reconstruct"]
