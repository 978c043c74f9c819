"""Partial Fourier: the edge of k-space that was not acquired, from the other one, as the image is nearly real.

Methods without a prior leave that edge empty (zero filling, GRAPPA) or fill it with amplified noise (SENSE). What they
give is completed here by projections onto convex sets (Haacke et al., J Magn Reson 92:126 (1991)): in turn the phase of
the image is set to that of the part of k-space that is symmetric about the centre, and the lines within the acquired
range are put back. Coil maps carry the calibration's low-resolution phase already, so little phase is left.
"""

import torch
from torch import Tensor

from recon.acquisition.coverage import Range, axes_of, covered_range, lacks_an_edge
from recon.acquisition.fourier import to_image, to_kspace
from recon.posterior.system import System
from recon.reconstruction.preparing import Prepared

ROUNDS = 4  # of completion and data consistency in turn; later ones change the error by a few per cent of it
ITERATIONS = 10  # it has converged to 1 % of its own effect by then
BLENDED = 4  # lines at the end of the acquired range over which measured and completed ones are mixed


def acquired_ranges(mask: Tensor) -> tuple[Range, Range] | None:
    """Half-open ranges along readout and phase of what a mask ``[phase]`` or ``[readout, phase]`` covers; None when it
    covers both sides of k-space's centre alike, as all but partial Fourier scans do. The range along the readout of a
    ``[phase]`` mask is empty: nothing is missing there."""
    rows, columns = axes_of(mask.cpu().numpy())
    readout, phase = covered_range(rows), covered_range(columns)
    if readout is None or phase is None or not (lacks_an_edge(rows) or lacks_an_edge(columns)):
        return None
    return (readout if mask.ndim == 2 else (0, 0), phase)


def completed(image: Tensor, mask: Tensor) -> Tensor:
    """``image [..., readout, phase]`` complex with the edge of k-space that ``mask`` misses; the image itself, to the
    bit, when it misses none."""
    ranges = acquired_ranges(mask)
    if ranges is None:
        return image
    shape = image.shape[-2:]
    weights, symmetric = torch.ones(shape, device=image.device), torch.ones(shape, device=image.device)
    for axis, (first, last) in enumerate(ranges):
        if first == last:  # of a 1-D mask nothing is missing along the readout
            continue
        size = shape[axis]
        along = [1, 1]
        along[axis] = size
        position = torch.arange(size, device=image.device)
        weights = weights * _ramp(position, first, last, size).view(along)
        reach = min(size // 2 - first, last - 1 - size // 2)
        distance = (position - size // 2).abs() / (reach + 1)
        symmetric = symmetric * torch.where(distance < 1, torch.cos(torch.pi / 2 * distance) ** 2, 0.0).view(along)
    kspace = to_kspace(image)
    phase = torch.sgn(to_image(kspace * symmetric))
    measured = kspace * weights
    found = to_image(measured)
    for _ in range(ITERATIONS):
        found = (found * phase.conj()).real * phase
        found = to_image(measured + (1 - weights) * to_kspace(found))
    return found


def consistent(image: Tensor, prepared: Prepared, system: System) -> Tensor:
    """The least-squares ``image [slice, set, readout, phase]`` of SENSE, drawn to its completion where the data leave
    it open.

    Beyond the acquired edge SENSE has little but amplified noise, which reaches the other lines through the coils. So
    completion and argmin |A x - y|^2 / sigma^2 + |x - completed|^2 / variance take turns. The variance is what the
    first completion changed, squared, a pixel within the coil maps. The image itself, to the bit, when no edge is
    missing."""
    mask, maps = prepared.problem.mask, prepared.problem.maps
    if acquired_ranges(mask) is None:
        return image
    inside = (maps != 0).any(dim=2)
    change = ((completed(image, mask) - image).abs().square() * inside).sum(dim=(1, 2, 3))
    variance = change / inside.sum(dim=(1, 2, 3)).clamp(min=1)
    # A slice without signal has nothing to complete; the variance only has to be positive there.
    variance = variance.clamp(min=torch.finfo(variance.dtype).tiny).to(system.sigma.dtype).view_as(system.sigma)
    for _ in range(ROUNDS):
        image = system.mean(completed(image, mask)[:, None], variance)[:, 0]
    return image


def _ramp(position: Tensor, first: int, last: int, size: int) -> Tensor:
    """1 within the acquired range, 0 outside of it, with a ramp inside of an edge beyond which there is more."""
    weights = ((position >= first) & (position < last)).float()
    if first > 0:
        weights = weights * ((position - first + 1) / (BLENDED + 1)).clamp(0, 1)
    if last < size:
        weights = weights * ((last - position) / (BLENDED + 1)).clamp(0, 1)
    return weights
