"""Parts of a scan's file that are of the wrong kind, type or size: one refusal with file and part, no traceback."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.small_world import write_small_scan


def as_attribute(name: str, value: Any) -> Callable[[h5py.File], None]:
    return lambda file: file["recon"].attrs.__setitem__(name, value)


def as_dataset(name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file[name] = value

    return change


def as_group(name: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file.create_group(name)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (as_attribute("affine", 5), "group 'recon' is damaged ('affine' has 0 axes"),
        (as_attribute("affine", np.ones((3, 4))), "group 'recon' is damaged ('affine' has the shape (3, 4)"),
        (as_attribute("affine", "left"), "group 'recon' is damaged ('affine' is 'left', not a number"),
        (as_attribute("voxel_size_mm", 1.0), "group 'recon' is damaged ('voxel_size_mm' has 0 axes"),
        (as_attribute("voxel_size_mm", (1.0, 2.0)), "group 'recon' is damaged ('voxel_size_mm' has the shape (2,)"),
        (as_attribute("voxel_size_mm", h5py.Empty("f8")), "group 'recon' is damaged ('voxel_size_mm' has no value"),
        (as_attribute("version", "two"), "group 'recon' is damaged ('version' is 'two'"),
        (as_attribute("version", np.nan), "group 'recon' is damaged ('version' is NaN"),
        (as_attribute("phase_limits", (np.nan, 3)), "group 'recon' is damaged ('phase_limits' is NaN"),
        (as_attribute("phase_limits", 3), "group 'recon' is damaged ('phase_limits' has 0 axes"),
        (as_attribute("contrast", 7), "group 'recon' is damaged ('contrast' is int64, not a text"),
        (
            as_attribute("slice_thickness_mm", np.inf),
            "group 'recon' is damaged ('slice_thickness_mm' is NaN or infinite",
        ),
        (
            as_attribute("b_value_s_per_mm2", (1.0, 2.0)),
            "group 'recon' is damaged ('b_value_s_per_mm2' has the shape (2,)",
        ),
        (as_dataset("recon/noise", np.ones(4, np.complex64)), "dataset 'recon/noise' has 1 axes"),
        (as_dataset("recon/noise", np.ones((4, 9))), "dataset 'recon/noise' is float64, not a complex number"),
        (as_dataset("recon/noise_covariance", 3), "dataset 'recon/noise_covariance' is int64"),
        (as_dataset("recon/calibration_kspace", np.ones((1, 4, 8, 8), np.complex64)), "'recon/calibration_kspace' is"),
        (as_dataset("ismrmrd_header", 5), "dataset 'ismrmrd_header' is int64, not a text"),
        (as_dataset("mask", b"all"), "dataset 'mask' is "),
        (as_dataset("mask", h5py.Empty("f8")), "dataset 'mask' has no values"),
        (as_dataset("reconstruction_rss", b"none"), "dataset 'reconstruction_rss' is "),
        (as_dataset("recon", 1), "'recon' is no group"),
        (as_group("mask"), "'mask' is no dataset"),
        (as_group("recon/noise"), "'recon/noise' is no dataset"),
        (as_group("ismrmrd_header"), "'ismrmrd_header' is no dataset"),
    ],
)
def test_wrong_parts_are_named(
    change: Callable[[h5py.File], None], message: str, tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    path = write_small_scan(tmp_path / "scan.h5")
    with h5py.File(path, "r+") as file:
        change(file)
    outcome = run_cli("info", path)
    assert outcome.code == 2
    assert f"{path}: " in outcome.err
    assert message in outcome.err
    assert "unexpected" not in outcome.err
