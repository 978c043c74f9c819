"""Decomposed diffusion sampling, the textbook method beside which ours must stand.

Chung et al., Decomposed Diffusion Sampler (ICLR 2024), with full fresh noise (eta = 1): denoise, solve a proximal data
consistency problem around the denoised image with the weight sigma_y^2 / sigma^2, add the noise of the next level:

    d = D(x; sigma_i);   x_hat = argmin |A x - y|^2 + (sigma_y^2 / sigma_i^2) |x - d|^2;   x = x_hat + sigma_{i+1} n

The original takes five conjugate gradient steps; here the problem is solved as far as our solvers go, which only helps.
"""

from collections.abc import Callable

import torch

from recon.posterior.random_streams import Noise
from recon.posterior.sampler import DiffusionPrior, Draws
from recon.posterior.schedule import Schedule
from recon.posterior.system import System


def dds(
    system: System,
    prior: DiffusionPrior,
    schedule: Schedule,
    noise: Noise,
    *,
    report: Callable[[], None] = lambda: None,
) -> Draws:
    """One image for each sample stream; ``samples`` and ``means`` are the last data-consistent images."""
    sigmas = schedule.sigmas()
    start = torch.full_like(system.sigma, prior.sigma_data**2)
    image = system.mean(system.zeros().expand(-1, noise.samples, -1, -1, -1), start)
    image = image + sigmas[0] * noise(*image.shape[2:])
    for sigma, following in zip(sigmas, [*sigmas[1:], 0.0], strict=True):
        denoised = prior.denoise(image, sigma)
        image = system.mean(denoised, torch.full_like(system.sigma, sigma**2))
        if following > 0:
            image = image + following * noise(*image.shape[2:])
        report()
    return Draws(image, image, len(sigmas), system.sigma.new_ones((system.batch, 1)))
