"""What every sampler is given and what it gives: the denoiser as it sees it, and its draws."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Denoise = Callable[[Tensor, float], Tensor]
"""``(image [slice, sample, set, readout, phase], sigma) -> denoised image``."""


@dataclass(frozen=True)
class Draws:
    """What a sampler returns: ``samples`` and ``means [slice, sample, set, readout, phase]``; ``network_calls`` a
    sample; ``inflation [slice, step]``: estimated over tabulated denoising error, 1 where the table held."""

    samples: Tensor
    means: Tensor
    network_calls: int
    inflation: Tensor
