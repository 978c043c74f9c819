"""How samplers ask the denoiser: how far it is to be trusted on this scan, and through which flip it looks."""

import torch
from torch import Tensor

from recon.posterior.sampler import Denoise
from recon.posterior.system import Denoised, System

FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))


def denoising_variance(
    system: System, denoised: Denoised, tabulated: float, *, adapt: bool = True
) -> tuple[Tensor, Tensor]:
    """``(variance, ratio)``, both ``[slice]``: the larger of the tabulated and the scan's own denoising error, and
    the standard deviation of the scan's own over that of the table. Without ``adapt`` the tabulated one, and one."""
    table = torch.full_like(system.sigma, tabulated)
    if not adapt:
        return table, torch.ones_like(table)
    estimate = system.denoised_variance(denoised)
    return torch.maximum(table, estimate), (estimate / table).sqrt()


def through_flips(denoise: Denoise, image: Tensor, sigma: float, step: int) -> Tensor:
    """Denoise ``image [slice, sample, ...]`` flipped and flip back. Both samples of a pair see the same flip, for only
    then does their noise cancel; pairs and steps see different ones."""
    pairs = (image.shape[1] + 1) // 2
    parts = []
    for sample in range(image.shape[1]):
        axes = FLIPS[(step + sample % pairs) % len(FLIPS)]
        one = image[:, sample : sample + 1]
        parts.append(denoise(one.flip(axes), sigma).flip(axes) if axes else denoise(one, sigma))
    return torch.cat(parts, 1)
