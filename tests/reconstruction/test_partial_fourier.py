"""Partial Fourier: every method beats zero filling against the truth, and full scans stay as they are."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_world import SIZE, write_small_scan

from recon.acquisition.fourier import to_image, to_kspace
from recon.acquisition.rss import reference_image
from recon.face import load_prior
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.partial_fourier import acquired_ranges, completed
from recon.reconstruction.pipeline import one_slice
from recon.scan import Scan
from recon.scans.derived import with_mask, with_slices
from recon.scans.opening import open_scan
from recon.simulate.cohort import simulate_cohort
from recon.simulate.options import SimulationOptions

READOUT, PHASE = SIZE


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    return open_scan(write_small_scan(tmp_path_factory.mktemp("scan") / "scan.h5", slices=1, noise=0.005))


def partial_mask(acquired: float, acceleration: int = 1) -> NDArray[np.bool_]:
    mask = np.zeros(PHASE, bool)
    mask[::acceleration] = mask[PHASE // 2 - 8 : PHASE // 2 + 8] = True
    mask[: round(PHASE * (1 - acquired))] = False
    return mask


def error(scan: Scan, mask: NDArray[np.bool_], method: str) -> float:
    truth = reference_image(scan, 0)
    image = one_slice(with_mask(scan, mask), 0, ReconstructionOptions(method=method))
    return float(np.linalg.norm(image - truth) / np.linalg.norm(truth))


@pytest.mark.parametrize("method", ["sense", "l1-wavelet", "grappa"])
@pytest.mark.parametrize(("acquired", "acceleration"), [(7 / 8, 1), (6 / 8, 2)])
def test_better_than_zero_filling(scan: Scan, method: str, acquired: float, acceleration: int) -> None:
    mask = partial_mask(acquired, acceleration)
    assert error(scan, mask, method) < 0.9 * error(scan, mask, "zero-filled")


@pytest.mark.parametrize("method", ["sense", "l1-wavelet"])
def test_slice_partial_fourier_of_a_volume(scan: Scan, method: str) -> None:
    """Slices of 3-D scans have 2-D masks: the edge may be missing along either axis, or along both."""
    for rows, columns in ((READOUT // 4, 0), (READOUT // 4, PHASE // 8)):
        mask = np.ones(SIZE, bool)
        mask[:rows] = False
        mask[:, :columns] = False
        assert error(scan, mask, method) < 0.9 * error(scan, mask, "zero-filled")


@pytest.mark.parametrize("method", ["sense", "grappa"])
def test_the_other_edge_may_be_missing(scan: Scan, method: str) -> None:
    mask = partial_mask(6 / 8)[::-1].copy()
    assert error(scan, mask, method) < 0.9 * error(scan, mask, "zero-filled")


def test_masks_that_are_no_partial_fourier_change_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 1, READOUT, PHASE, dtype=torch.complex64, generator=generator)
    every_other, random_lines = np.arange(PHASE) % 2 == 0, np.random.default_rng(0).random(PHASE) < 0.4
    random_lines[PHASE // 2 - 4 : PHASE // 2 + 4] = True
    corner = np.ones(SIZE, bool)
    corner[0] = False
    for mask in (np.ones(PHASE, bool), every_other, ~every_other, random_lines, corner):
        assert acquired_ranges(torch.from_numpy(mask)) is None
        assert completed(image, torch.from_numpy(mask)) is image


def test_a_real_image_is_completed_exactly() -> None:
    """Without noise and phase nothing is lost, k-space being symmetric; line 0 of an even size has no partner."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in SIZE), indexing="ij")
    image = torch.from_numpy(np.where(y**2 + x**2 < 0.5, 1.0 + 0.5 * (x > 0), 0)).to(torch.complex64)
    mask = torch.from_numpy(partial_mask(6 / 8))
    kspace = to_kspace(image)
    found = to_kspace(completed(to_image(kspace * mask), mask))
    torch.testing.assert_close(found[:, 1:], kspace[:, 1:], atol=1e-3, rtol=0)


@pytest.mark.slow
def test_posterior_is_better_than_zero_filling(tmp_path: Path) -> None:
    """The shipped prior knows what heads look like; the edge is one more thing that it fills in."""
    simulate_cohort(tmp_path, 1, ["T2"], SimulationOptions(size=(96, 96), slices=3, seed=3))
    scan = with_slices(open_scan(next(tmp_path.glob("*_T2.h5"))), range(1, 2))
    assert scan.read_reference is not None
    truth, mask = scan.read_reference(0), np.ones(96, bool)
    mask[:24] = False
    partial = with_mask(scan, mask)
    images = [
        one_slice(partial, 0, ReconstructionOptions(method=method), load_prior(device="cpu"))
        for method in ("posterior", "zero-filled")
    ]
    posterior, zero_filled = (float(np.linalg.norm(image - truth)) for image in images)
    assert posterior < 0.8 * zero_filled
