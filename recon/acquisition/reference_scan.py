"""A calibration scan that was measured apart may have another contrast, echo time and gain than the images.

Coil maps do not mind. The scale and the low-resolution phase do: priors and regularisation expect images of order one
that are nearly real. Both are therefore taken from the images' own lines where the calibration has them, too.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from recon.acquisition.fourier import centre_slice, to_image, to_kspace
from recon.acquisition.sense import adjoint, inner, normal

_ITERATIONS = 15  # of conjugate gradients: enough for a phase
_DAMPING = 0.01  # of the operator's greatest eigenvalue, which is one


@dataclass(frozen=True)
class OwnCentre:
    """The centre of the images' own kspace ``[slice, coil, readout, phase]``, zero elsewhere, and the mask of what was
    acquired of it, ``[readout, phase]``. ``extent``: (readout, phase) of the centre."""

    kspace: Tensor
    mask: Tensor
    extent: tuple[int, int]


def own_centre(kspace: Tensor, mask: Tensor, extent: tuple[int, int]) -> OwnCentre:
    """What ``kspace [slice, coil, readout, phase]``, sampled by ``mask``, has of the centre that was calibrated on."""
    shape = kspace.shape[-2:]
    block = torch.zeros(shape, dtype=torch.bool, device=kspace.device)
    block[centre_slice(shape[0], extent[0]), centre_slice(shape[1], extent[1])] = True
    block &= mask.bool()
    return OwnCentre(kspace * block, block, extent)


def relative_gain(centre: OwnCentre, calibration: Tensor) -> Tensor:
    """``[slice]``: strength of the images over that of ``calibration [slice, coil, readout, phase]``, at the positions
    that both have; 1 where there are none."""
    rows, columns = (centre_slice(n, c) for n, c in zip(centre.mask.shape, calibration.shape[-2:], strict=True))
    common = centre.mask[rows, columns]
    own = (centre.kspace[..., rows, columns] * common).flatten(1).norm(dim=1)
    apart = (calibration * common).flatten(1).norm(dim=1)
    return torch.where((own > 0) & (apart > 0), own / apart.clamp(min=torch.finfo(own.dtype).tiny), 1.0)


def own_phase(centre: OwnCentre, maps: Tensor) -> Tensor:
    """``[slice, set, 1, readout, phase]`` unit phasors: the images' low-resolution phase, by SENSE from their centre,
    as undersampled as it may be. ``maps [slice, set, coil, readout, phase]``."""
    weight = centre.mask.to(maps.real.dtype)
    target = adjoint(centre.kspace, maps, weight)
    image = torch.zeros_like(target)
    residual, direction = target.clone(), target.clone()
    energy = inner(residual, residual).real
    for _ in range(_ITERATIONS):
        applied = normal(direction, maps, weight) + _DAMPING * direction
        curvature = inner(direction, applied).real
        step = torch.where(curvature > 0, energy / curvature.clamp(min=1e-30), 0.0).view(-1, 1, 1, 1)
        image, residual = image + step * direction, residual - step * applied
        fresh = inner(residual, residual).real
        direction = (
            residual + torch.where(energy > 0, fresh / energy.clamp(min=1e-30), 0.0).view(-1, 1, 1, 1) * direction
        )
        energy = fresh
    window = torch.zeros_like(weight)
    rows, columns = (centre_slice(n, c) for n, c in zip(centre.mask.shape, centre.extent, strict=True))
    hann = [torch.hann_window(n + 2, periodic=False, device=weight.device)[1:-1] for n in centre.extent]
    window[rows, columns] = torch.outer(*hann)
    smooth = to_image(to_kspace(image) * window).unsqueeze(2)
    return torch.polar(torch.ones_like(smooth.real), smooth.angle())
