"""Classical reconstructions of a calibrated problem, with the interface of the samplers' result.

Each gives the complex image ``[slice, set, readout, phase]`` of a problem in units of its scale.
"""

import numpy as np
import torch
from torch import Tensor

from recon.acquisition.problem import Problem
from recon.acquisition.sense import adjoint
from recon.errors import ReconError
from recon.posterior.system import System
from recon.scan import Scan


def zero_filled(problem: Problem) -> Tensor:
    """The coil-combined image of the acquired samples, the others taken as zero."""
    return adjoint(problem.kspace, problem.maps, problem.mask)


def cg_sense(system: System, weight: float | None = None) -> Tensor:
    """Regularised SENSE: argmin |A x - y|^2 + weight |x|^2.

    Without ``weight`` the regularisation is the one of a white Gaussian prior of unit power, weight = sigma^2.
    """
    denoised = system.zeros()
    if weight is None:
        denoiser_variance = torch.ones_like(system.sigma)
    elif weight > 0:
        denoiser_variance = system.sigma**2 / weight
    else:
        raise ReconError(f"the regularisation weight of SENSE must be positive, not {weight}")
    return system.mean(denoised, denoiser_variance)[:, 0]


def l1_wavelet(problem: Problem, weight: float | None = None) -> Tensor:
    """L1-wavelet compressed sensing by sigpy, slice by slice on the processor; one map set.

    Without ``weight`` it follows from the noise, see ``recon.reconstruction.wavelet.default_weight``.
    """
    from recon.reconstruction.wavelet import default_weight
    from recon.reconstruction.wavelet import l1_wavelet as solve

    images = []
    for index in range(problem.maps.shape[0]):
        chosen = default_weight(float(problem.sigma[index])) if weight is None else weight
        kspace, maps = problem.kspace[index].cpu().numpy(), problem.maps[index, 0].cpu().numpy()
        images.append(solve(kspace, maps, problem.mask.cpu().numpy(), chosen))
    return torch.from_numpy(np.stack(images)).to(problem.kspace.device).unsqueeze(1)


def grappa(problem: Problem, scan: Scan) -> Tensor:
    """GRAPPA for 1-D masks, its filled kspace combined with the coil maps; lines that ``scan`` never encoded stay zero.

    Raises ReconError for 2-D masks and for scans whose calibration was measured apart.
    """
    from recon.reconstruction.grappa import grappa as fill

    if scan.calibration_kspace is not None:
        raise ReconError(f"{scan.path}: GRAPPA needs its calibration lines within the scan; choose --method sense")
    extent = (min(scan.calibration[0], problem.kspace.shape[-2]), scan.calibration[1])
    mask = problem.mask.cpu().numpy()
    filled = [fill(kspace.cpu().numpy(), mask, extent, phase_limits=scan.phase_limits) for kspace in problem.kspace]
    kspace = torch.from_numpy(np.stack(filled)).to(problem.kspace.device)
    return adjoint(kspace, problem.maps, torch.ones_like(problem.mask))
