"""Calibration scans measured apart, of another contrast, gain and phase: for coil maps only."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_world import SIZE, write_small_scan

from recon.acquisition.fourier_numpy import to_image, to_kspace
from recon.acquisition.reference_scan import own_centre, relative_gain
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import one_slice, solver_for
from recon.scan import Scan
from recon.scans.derived import with_calibration, with_mask
from recon.scans.opening import open_scan

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


def test_gain_is_one_where_nothing_is_common() -> None:
    kspace = torch.zeros(1, 2, 8, 8, dtype=torch.complex64)
    centre = own_centre(kspace, torch.zeros(8), (4, 4))
    assert relative_gain(centre, torch.ones(1, 2, 4, 4, dtype=torch.complex64)).tolist() == [1.0]
