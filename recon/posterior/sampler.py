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
    the standard deviation of clean images per real component. ``draw_share``: by how much of the way from that error
    to sigma^2 draws vary where nothing was measured; 0 is right for a denoiser that errs alike in every direction, as
    an exact one nearly does. It belongs to a denoiser like its error, and is measured like it.
    """

    denoise: Denoise
    variance: Callable[[float], float]
    sigma_data: float
    draw_share: float = 0.0


@dataclass(frozen=True)
class Draws:
    """What a sampler returns: ``samples`` and ``means [slice, sample, set, readout, phase]``; ``network_calls`` a
    sample; ``inflation [slice, step]``: estimated over tabulated denoising error, 1 where the table held."""

    samples: Tensor
    means: Tensor
    network_calls: int
    inflation: Tensor
