"""Calibration scans measured apart, of another contrast, gain and phase: for coil maps only."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_world import SIZE, write_small_scan

from recon.acquisition.fourier_numpy import to_image, to_kspace
from recon.acquisition.reference_scan import own_centre, relative_gain
from recon.acquisition.rss import reference_image
from recon.face import load_prior
from recon.prior.store import Prior
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import one_slice, solver_for
from recon.scan import Scan
from recon.scans.derived import with_calibration, with_mask, with_slices
from recon.scans.opening import open_scan
from recon.simulate.cohort import simulate_cohort
from recon.simulate.options import SimulationOptions

READOUT, PHASE = SIZE
LINES = slice(PHASE // 2 - 8, PHASE // 2 + 8)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    return open_scan(write_small_scan(tmp_path_factory.mktemp("scan") / "scan.h5", slices=1, noise=0.005))


def calibrated_apart(scan: Scan, gain: float, turned: float) -> Scan:
    """The scan, every other line of it, with its centre measured once more: stronger, with another phase."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in SIZE), indexing="ij")
    image = gain * to_image(scan.read_kspace(0)) * np.exp(1j * turned * (x + y**2)) * (1 + 0.4 * x)
    apart = np.zeros(scan.shape[1:], np.complex64)
    apart[..., LINES] = to_kspace(image)[..., LINES]
    both = replace(scan, calibration_kspace=lambda index: apart, calibration=(READOUT, 16))
    return with_mask(both, np.arange(PHASE) % 2 == 0)


@pytest.mark.parametrize(("gain", "turned"), [(1.0, 0.0), (6.0, 1.5)])
def test_scale_and_phase_are_those_of_the_images(scan: Scan, gain: float, turned: float) -> None:
    def scale_and_imaginary_part(chosen: Scan) -> tuple[float, float]:
        """The second: of the energy of the SENSE image; little, where the maps carry the phase of the images."""
        solver = solver_for(chosen, ReconstructionOptions(method="sense"))
        prepared = solver.prepare(range(1))
        image = solver.solve(prepared).image
        return float(prepared.problem.scale[0]), float(image.imag.square().sum() / image.abs().square().sum())

    own_scale, own_part = scale_and_imaginary_part(with_calibration(scan, 16))
    scale, part = scale_and_imaginary_part(calibrated_apart(scan, gain, turned))
    assert scale / own_scale == pytest.approx(1, abs=0.2)  # but for the contrast: energy and 99th percentile differ
    assert part < own_part + 0.01


def test_images_hardly_hang_on_the_calibration(scan: Scan) -> None:
    truth = one_slice(scan, 0, ReconstructionOptions(method="sense"))
    errors = [
        np.linalg.norm(one_slice(calibrated_apart(scan, *how), 0, ReconstructionOptions(method="sense")) - truth)
        for how in ((1.0, 0.0), (6.0, 1.5))
    ]
    assert errors[1] < 1.5 * errors[0]
    assert errors[1] < 0.05 * np.linalg.norm(truth)


EDGES = [("sense", 0), ("sense", PHASE // 4), ("l1-wavelet", PHASE // 4), ("grappa", 0), ("grappa", PHASE // 4)]


def reference_error(scan: Scan, chosen: Scan, method: str, prior: Prior | None = None) -> float:
    truth = reference_image(scan, 0)
    image = one_slice(chosen, 0, ReconstructionOptions(method=method), prior)
    return float(np.linalg.norm(image - truth) / np.linalg.norm(truth))


@pytest.mark.parametrize(("method", "edge"), EDGES)
def test_every_method_against_the_truth(scan: Scan, method: str, edge: int) -> None:
    """A reference of six times the signal and another phase serves as well as lines of the scan's own; with partial
    Fourier, too."""
    apart = calibrated_apart(scan, 6.0, 1.5)
    mask = (np.arange(PHASE) % 2 == 0) & (np.arange(PHASE) >= edge)
    own = mask.copy()
    own[LINES] = True
    within = reference_error(scan, with_mask(scan, own), method)
    from_apart = reference_error(scan, with_mask(apart, mask), method)
    assert from_apart < 1.5 * within  # fewer lines of its own are in it
    assert from_apart < 0.6 * reference_error(scan, with_mask(apart, mask), "zero-filled")


@pytest.mark.parametrize("method", ["sense", "grappa"])
def test_dual_calibration(scan: Scan, method: str) -> None:
    """Lines of the scan's own and a reference scan: the own ones stay in the image, kernels and maps are the
    reference's."""
    own = np.arange(PHASE) % 2 == 0
    own[LINES] = True
    within = reference_error(scan, with_mask(scan, own), method)
    both = replace(calibrated_apart(scan, 6.0, 1.5), read_kspace=scan.read_kspace, mask=scan.mask)
    assert reference_error(scan, with_mask(both, own), method) < 1.2 * within
    turned = with_mask(both, own)
    apart = turned.calibration_kspace
    assert apart is not None
    spoilt = replace(turned, calibration_kspace=lambda index: apart(index)[::-1].copy())  # coils in another order
    assert reference_error(scan, spoilt, method) > 2 * within, "the reference is not what the kernels come from"


@pytest.mark.slow
def test_posterior_against_the_truth(tmp_path: Path) -> None:
    """A head, as the shipped prior knows them; the reference is another contrast of it, five times as strong."""
    simulate_cohort(tmp_path, 1, ["T2", "FLAIR"], SimulationOptions(size=(96, 96), slices=3, seed=3))
    scan, other = (with_slices(open_scan(next(tmp_path.glob(f"*_{name}.h5"))), range(1, 2)) for name in ("T2", "FLAIR"))
    assert scan.read_reference is not None
    truth, prior = scan.read_reference(0), load_prior(device="cpu")
    centre = np.zeros(96, bool)
    centre[36:60] = True
    apart = replace(scan, calibration_kspace=lambda index: 5 * other.read_kspace(index) * centre, calibration=(96, 24))
    for edge in (0, 24):
        mask = (np.arange(96) % 2 == 0) & (np.arange(96) >= edge)
        own = with_mask(scan, mask | (centre & (np.arange(96) >= edge)))
        options = ReconstructionOptions(samples=0)
        images = [one_slice(one, 0, options, prior) for one in (own, with_mask(apart, mask))]
        within, from_apart = (float(np.linalg.norm(image - truth)) for image in images)
        assert from_apart < 1.15 * within


def test_gain_is_one_where_nothing_is_common() -> None:
    kspace = torch.zeros(1, 2, 8, 8, dtype=torch.complex64)
    centre = own_centre(kspace, torch.zeros(8), (4, 4))
    assert relative_gain(centre, torch.ones(1, 2, 4, 4, dtype=torch.complex64)).tolist() == [1.0]
