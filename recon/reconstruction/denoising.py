"""A prior as samplers see it."""

import torch
from torch import Tensor

from recon.posterior.sampler import Denoise
from recon.prior.denoiser import denoise
from recon.prior.store import Prior
from recon.reconstruction.machine import Stopwatch

PIXELS = 1_700_000  # through the network at a time: bounds its memory


def denoise_with(prior: Prior, contrast_label: int, watch: Stopwatch) -> Denoise:
    """The prior for samplers: images ``[slice, sample, set, readout, phase]``, at most ``PIXELS`` pixels at a time.

    Gradients flow through it where the sampler has them enabled."""

    def through(image: Tensor, sigma: float) -> Tensor:
        with watch.stage("network"):
            flat = image.flatten(0, 2)
            width = max(1, PIXELS // (flat.shape[-1] * flat.shape[-2]))
            if flat.device.type == "cpu":
                # Larger batches are not faster there, and how convolutions round depends on them.
                width = min(width, image.shape[1] * image.shape[2])
            parts = [denoise(prior.denoiser, part, sigma, contrast_label) for part in flat.split(width)]
            return torch.cat(parts).unflatten(0, image.shape[:3])

    return through
