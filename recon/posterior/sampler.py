"""What every sampler is given and what it gives: the denoiser as it sees it, and its draws."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Denoise = Callable[[Tensor, float], Tensor]
"""``(image [slice, sample, set, readout, phase], sigma) -> denoised image``."""


@dataclass(frozen=True)
class DiffusionPrior:
    """A prior as samplers see it.

    ``variance(sigma)``: the validation denoising error at a noise level, per pixel and real component. ``sigma_data``:
    the standard deviation of clean images per real component. ``draw_excess``: how many times that error draws vary
    where nothing was measured, sigma^2 at most; 1 is right for a denoiser that errs alike in every direction, as an
    exact one nearly does. ``variance_factor``: by what the variance of the samples is to be multiplied where it is so
    many times that of the noise, and the scan's own denoising error so many times the tabulated one. Both belong to a
    denoiser like its error, and are measured like it.
    """

    denoise: Denoise
    variance: Callable[[float], float]
    sigma_data: float
    draw_excess: float = 1.0
    variance_factor: Callable[[float, float], float] = lambda amplification, denoising_ratio: 1.0


@dataclass(frozen=True)
class Draws:
    """What a sampler returns: ``samples`` and ``means [slice, sample, set, readout, phase]``; ``network_calls`` a
    sample; ``denoising_ratios [slice, step]``: the scan's own denoising error over the tabulated one."""

    samples: Tensor
    means: Tensor
    network_calls: int
    denoising_ratios: Tensor


def typical_ratio(denoising_ratios: Tensor) -> Tensor:
    """``[slice]``: how many times its table the denoiser errs on a scan, of ``[slice, step]``. The median over the
    steps: single steps of little noise, or of next to nothing left to denoise, tell little."""
    return denoising_ratios.median(-1).values
