"""Classical reconstructions as methods; each gives the complex image of a prepared problem in units of its scale."""

import numpy as np
import torch

from recon.acquisition.fourier import centre_slice
from recon.acquisition.sense import adjoint
from recon.errors import ReconError
from recon.reconstruction.grappa import grappa as fill
from recon.reconstruction.partial_fourier import completed, consistent
from recon.reconstruction.preparing import Prepared
from recon.reconstruction.solving import Solution, Task, required_system
from recon.reconstruction.wavelet import default_weight
from recon.reconstruction.wavelet import l1_wavelet as compressed_sensing


def zero_filled(prepared: Prepared, task: Task) -> Solution:
    """The coil-combined image of the acquired samples, the others taken as zero."""
    problem = prepared.problem
    return Solution(adjoint(problem.kspace, problem.maps, problem.mask))


def cg_sense(prepared: Prepared, task: Task) -> Solution:
    """Regularised SENSE: argmin |A x - y|^2 + weight |x|^2 (Pruessmann et al., Magn Reson Med 46:638 (2001)).

    Without ``weight`` the regularisation is the one of a white Gaussian prior of unit power, weight = sigma^2. The
    missing edge of a partial Fourier scan is completed, see ``recon.reconstruction.partial_fourier``; so it is by
    L1-wavelet and GRAPPA. Raises ReconError for a weight that is not positive.
    """
    system, weight = required_system(prepared, task), task.options.weight
    variance = torch.ones_like(system.sigma) if weight is None else system.sigma**2 / weight
    return Solution(consistent(system.mean(system.zeros(), variance)[:, 0], prepared, system))


def l1_wavelet(prepared: Prepared, task: Task) -> Solution:
    """L1-wavelet compressed sensing by sigpy, slice by slice on the processor; one map set.

    Without ``weight`` it follows from the noise, see ``recon.reconstruction.wavelet.default_weight``.
    """
    problem, images = prepared.problem, []
    if problem.maps.shape[1] != 1:
        raise ReconError("L1-wavelet takes one set of coil maps; leave --map-sets at 1")
    for index in range(problem.maps.shape[0]):
        weight = task.options.weight
        chosen = default_weight(float(problem.sigma[index])) if weight is None else weight
        kspace, maps = problem.kspace[index].cpu().numpy(), problem.maps[index, 0].cpu().numpy()
        images.append(compressed_sensing(kspace, maps, problem.mask.cpu().numpy(), chosen))
    image = torch.from_numpy(np.stack(images)).to(problem.kspace.device).unsqueeze(1)
    return Solution(completed(image, problem.mask))


def grappa(prepared: Prepared, task: Task) -> Solution:
    """GRAPPA, its filled kspace combined with the coil maps; lines that were never
    encoded stay zero.

    The kernels are learnt on the scan's own calibration lines, or on those of a reference scan where there is one: its
    contrast, gain and phase may be others, since what relates neighbours in k-space are the coils. Raises ReconError
    for masks with gaps along both axes.
    """
    problem, scan = prepared.problem, task.scan
    shape = problem.kspace.shape[-2:]
    apart = problem.apart
    extent = (min(scan.calibration[0], shape[0]), scan.calibration[1])
    if apart is not None:
        extent = (apart.shape[-2], apart.shape[-1])
        centre = apart.new_zeros(problem.kspace.shape)
        centre[..., centre_slice(shape[0], extent[0]), centre_slice(shape[1], extent[1])] = apart
        apart = centre
    mask = problem.mask.cpu().numpy()
    filled = [
        fill(
            kspace.cpu().numpy(),
            mask,
            extent,
            calibration_kspace=None if apart is None else apart[index].cpu().numpy(),
            phase_limits=scan.phase_limits,
        )
        for index, kspace in enumerate(problem.kspace)
    ]
    kspace = torch.from_numpy(np.stack(filled)).to(problem.kspace.device)
    image = adjoint(kspace, problem.maps, torch.ones_like(problem.mask))
    return Solution(completed(image, problem.mask))
