"""Geometry and noise that cannot be: refused by every command, with file and field."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from recon.errors import ReconError
from recon.scans.opening import open_scan
from tests.scans.test_ismrmrd_files import Recorder, header
from tests.small_world import AFFINE, write_small_prior, write_small_scan

NAN_AFFINE, FLAT_AFFINE, PROJECTIVE = AFFINE.copy(), AFFINE.copy(), AFFINE.copy()
NAN_AFFINE[0, 1] = np.nan
FLAT_AFFINE[:3, 1] = 2 * FLAT_AFFINE[:3, 0]
PROJECTIVE[3] = (0, 0, 1, 1)
COVARIANCE = np.eye(4, dtype=np.complex64)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("voxel_size_mm", (np.nan, 1, 5), "voxel size is nan x 1 x 5 mm"),
        ("voxel_size_mm", (1, 0, 5), "voxel size is 1 x 0 x 5 mm"),
        ("voxel_size_mm", (1, 1, -5), "voxel size is 1 x 1 x -5 mm"),
        ("voxel_size_mm", (1, 1, np.inf), "voxel size is 1 x 1 x inf mm"),
        ("affine", NAN_AFFINE, "affine has NaN"),
        ("affine", np.zeros((4, 4)), "affine is singular"),
        ("affine", FLAT_AFFINE, "affine is singular"),
        ("affine", PROJECTIVE, "affine does not end in the row 0 0 0 1"),
        ("noise", np.full((4, 100), np.nan, np.complex64), "noise scan has NaN"),
        ("noise", np.ones((3, 100), np.complex64), "noise scan is 3 x 100, not 4 coils"),
        ("noise_covariance", COVARIANCE * np.nan, "noise covariance has NaN"),
        ("noise_covariance", COVARIANCE * np.arange(4), "noise covariance is not positive definite"),
        ("noise_covariance", COVARIANCE + np.triu(np.ones((4, 4)), 1), "noise covariance is not Hermitian"),
        ("noise_covariance", COVARIANCE[:3, :3], "noise covariance is 3 x 3, not 4 x 4"),
    ],
)
def test_what_cannot_be_is_refused_by_every_command(
    field: str, value: Any, message: str, tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    path = write_small_scan(tmp_path / "scan.h5")
    with h5py.File(path, "r+") as file:
        if field in ("noise", "noise_covariance"):
            del file["recon/noise"]
            file[f"recon/{field}"] = np.asarray(value, np.complex64)
        else:
            file["recon"].attrs[field] = value
    prior = write_small_prior(tmp_path / "prior")
    for words in (
        ["info", path],
        ["convert", path, "--out", tmp_path / "out.h5"],
        ["reconstruct", path, "--prior", prior, "--out", tmp_path / "results"],
    ):
        outcome = run_cli(*words)
        assert outcome.code == 2, outcome.err
        assert f"{path}: " in outcome.err
        assert message in outcome.err
    assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize("name", ["position", "read_dir", "phase_dir", "slice_dir"])
def test_places_of_acquisitions_are_numbers(name: str, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "scan.h5", header())
    for line in range(3):
        recorder.line(np.ones((2, 8), np.complex64), line=line)
    path = recorder.close()
    with h5py.File(path, "r+") as file:
        rows = file["dataset/data"][:]
        rows["head"][name][1, 2] = np.nan
        file["dataset/data"][:] = rows
    with pytest.raises(ReconError, match=rf"scan\.h5: {name} of 1 of 3 imaging acquisitions is NaN"):
        open_scan(path)
