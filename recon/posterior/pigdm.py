"""Pseudoinverse-guided diffusion (PiGDM), for comparison.

Song et al., Pseudoinverse-Guided Diffusion Models for Inverse Problems (ICLR 2023, Algorithm 1), here with noise levels
instead of times. p(x | x_i) is taken as N(d, r^2), r^2 = sigma_i^2 sigma_data^2 / (sigma_i^2 + sigma_data^2), so that
the score of the data given x_i is known, through the network; r^2 is also its weight:

    d = D(x_i; sigma_i);   g = r^2 (dd/dx_i)^H A^H (r^2 A A^H + sigma_y^2)^-1 (y - A d)
    x_{i+1} = d + g + c_2 (x_i - d) / sigma_i + c_1 n,    c_1 = eta sigma_{i+1} sqrt(1 - sigma_{i+1}^2 / sigma_i^2),
                                                          c_1^2 + c_2^2 = sigma_{i+1}^2  (DDIM, eta = 1 as in the paper)

The inverse is what our solvers give exactly: r^2 A^H (...)^-1 (y - A d) is the way from d to the conditional mean.

The guidance is added whole at every step, so that with many steps the data are met too well. ``score=True`` takes the
score as it is instead: m = d + (sigma_i^2 / r^2) g in both places of d. That tends to the known Gaussian posterior with
many steps, whereas the algorithm's image is better at few.
"""

from collections.abc import Callable

import torch

from recon.posterior.random_streams import Noise
from recon.posterior.sampler import DiffusionPrior, Draws
from recon.posterior.schedule import Schedule
from recon.posterior.system import System


def pigdm(
    system: System,
    prior: DiffusionPrior,
    schedule: Schedule,
    noise: Noise,
    *,
    eta: float = 1.0,
    score: bool = False,
    report: Callable[[], None] = lambda: None,
) -> Draws:
    """One image for each sample stream; ``samples`` and ``means`` are the last guided denoised images."""
    sigmas = schedule.sigmas()
    zero = system.zeros().expand(-1, noise.samples, -1, -1, -1)
    image = zero + sigmas[0] * noise(*zero.shape[2:])
    guided = image
    for sigma, following in zip(sigmas, [*sigmas[1:], 0.0], strict=True):
        image = image.detach().requires_grad_(True)
        with torch.enable_grad():
            denoised = prior.denoise(image, sigma)
        variance = sigma**2 * prior.sigma_data**2 / (sigma**2 + prior.sigma_data**2)
        with torch.no_grad():
            way = system.mean(denoised, torch.full_like(system.sigma, variance)) - denoised
        (gradient,) = torch.autograd.grad(denoised, image, way)
        with torch.no_grad():
            guided = denoised + gradient * (sigma**2 / variance if score else 1.0)
            fresh = eta * following * (1 - (following / sigma) ** 2) ** 0.5
            kept = (following**2 - fresh**2) ** 0.5
            image = guided + kept * (image - (guided if score else denoised)) / sigma
            if fresh > 0:
                image = image + fresh * noise(*image.shape[2:])
        report()
    return Draws(guided.detach(), guided.detach(), len(sigmas), system.sigma.new_ones((system.batch, 1)))
