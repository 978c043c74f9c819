"""Masks that differ by slice, or contradict the data: refused with the slice's number, never reconstructed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from recon.errors import ReconError
from recon.scans.bart import write_bart
from recon.scans.opening import open_scan
from recon.scans.sampling_check import check_sampling
from tests.small_world import SIZE, write_small_scan

PHASE = SIZE[1]
CENTRE = np.abs(np.arange(PHASE) - PHASE // 2) < 6
EVEN, ODD, FOURTH = (CENTRE | (np.arange(PHASE) % step == start) for step, start in ((2, 0), (2, 1), (4, 0)))


def masked_file(path: Path, masks: list[np.ndarray], stored: np.ndarray | None = None) -> Path:
    """A scan whose slices have masks of their own, and the mask that its file claims."""
    write_small_scan(path, slices=len(masks))
    with h5py.File(path, "r+") as file:
        for index, mask in enumerate(masks):
            file["kspace"][index] *= mask
        if stored is not None:
            file["mask"] = stored
    return path


@pytest.mark.parametrize(
    ("masks", "stored", "index"),
    [
        ([EVEN, ODD, EVEN, EVEN, EVEN], None, 1),
        ([EVEN, EVEN, EVEN, FOURTH, EVEN], None, 3),
        ([FOURTH, FOURTH, FOURTH, EVEN, FOURTH], None, 3),
        ([EVEN, ODD, EVEN], EVEN, 1),
        ([EVEN, ODD], EVEN, 1),
        ([FOURTH] * 3, EVEN, 1),
        ([EVEN] * 3, np.roll(EVEN, 1), 1),
        ([EVEN] * 3, np.ones(PHASE, bool), 1),
        ([EVEN] * 3, FOURTH, 1),
    ],
)
def test_every_slice_is_compared_with_the_mask(
    masks: list[np.ndarray], stored: np.ndarray | None, index: int, tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    path = masked_file(tmp_path / "scan.h5", masks, stored)
    outcome = run_cli("info", path)
    assert outcome.code in (1, 2)
    assert f"slice {index}: " in outcome.out + outcome.err
    assert "mask" in outcome.out + outcome.err
    outcome = run_cli("convert", path, "--out", tmp_path / "out.h5")
    assert outcome.code == 2
    assert f"{path}: slice {index}: " in outcome.err
    assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize("value", [np.nan, 2.0, -1.0])
def test_a_mask_is_made_of_zeros_and_ones(value: float, tmp_path: Path) -> None:
    path = masked_file(tmp_path / "scan.h5", [EVEN] * 3, np.where(EVEN, 1.0, value))
    with pytest.raises(ReconError, match=r"scan\.h5: the mask holds other values than 0 and 1"):
        open_scan(path)


def test_formats_without_a_stored_mask_are_compared_too(tmp_path: Path) -> None:
    kspace = np.ones((5, 2, 16, PHASE), np.complex64) * EVEN
    kspace[3] = ODD
    scan = open_scan(write_bart(tmp_path / "scan.cfl", kspace.shape, kspace))
    scan.read_kspace(1)
    with pytest.raises(ReconError, match=r"scan\.cfl: slice 3: phase lines in the mask are zero in every coil"):
        scan.read_kspace(3)


def test_what_is_zero_by_chance_is_no_mask(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    kspace = generator.integers(-2, 3, (4, 32, PHASE)).astype(np.complex64)  # a fifth of all values is zero
    check_sampling(tmp_path, 0, kspace * EVEN, EVEN)
    plane = generator.random((32, PHASE)) < 0.3
    check_sampling(tmp_path, 0, kspace * plane, plane)
    check_sampling(tmp_path, 0, np.zeros_like(kspace), EVEN)  # an empty slice has no mask
    check_sampling(tmp_path, 0, kspace, EVEN)  # fully sampled: the mask chooses
    kspace[0, 3, 0] = 0
    kspace[1:] = 0
    check_sampling(tmp_path, 0, kspace[:, :, :] * EVEN, EVEN)


@pytest.mark.parametrize("shift", [(1, 0), (0, 1)])
def test_two_dimensional_masks_may_not_be_shifted(shift: tuple[int, int], tmp_path: Path) -> None:
    partial = np.zeros((128, PHASE), bool)
    partial[20:] = EVEN
    kspace = np.ones((2, 128, PHASE), np.complex64) * np.roll(partial, shift, (0, 1))
    with pytest.raises(ReconError, match="slice 4: "):
        check_sampling(tmp_path, 4, kspace, partial)
