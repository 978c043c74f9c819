"""Decoupled annealing posterior sampling (DAPS), for comparison.

Zhang et al., Improving Diffusion Inverse Problem Solving with Decoupled Noise Annealing (CVPR 2025, arXiv:2407.01521):
at each noise level the probability-flow ODE is solved to an estimate of the clean image, a sample is drawn around it
that agrees with the data, and noise of the next level is added:

    d = ODE(x; sigma_i -> 0);   x_0 ~ exp(-|A x_0 - y|^2 / (2 sigma_y^2) - |x_0 - d|^2 / (2 sigma_i^2))
    x = x_0 + sigma_{i+1} n

The original draws x_0 by Langevin steps. For a linear scan it is a Gaussian conditional, drawn exactly here.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from recon.posterior.random_streams import Noise
from recon.posterior.sampler import DiffusionPrior, Draws
from recon.posterior.schedule import Schedule
from recon.posterior.system import LOOSE, System

ODE_STEPS = 2  # network calls a noise level, as in the paper's variant of few evaluations


def daps(
    system: System,
    prior: DiffusionPrior,
    schedule: Schedule,
    noise: Noise,
    *,
    ode_steps: int = ODE_STEPS,
    report: Callable[[], None] = lambda: None,
) -> Draws:
    """One posterior sample for each stream, and its last conditional mean. ``schedule.steps`` counts network calls:
    there are ``schedule.steps // ode_steps`` noise levels, one at least."""
    levels = Schedule(schedule.sigma_max, max(1, schedule.steps // ode_steps), schedule.sigma_min, schedule.rho)
    sigmas = levels.sigmas()
    zero = system.zeros().expand(-1, noise.samples, -1, -1, -1)
    image = zero + sigmas[0] * noise(*zero.shape[2:])
    mean = image
    for sigma, following in zip(sigmas, [*sigmas[1:], 0.0], strict=True):
        estimate = clean_estimate(prior, image, sigma, ode_steps, min(schedule.sigma_min, sigma), report)
        variance = torch.full_like(system.sigma, sigma**2)
        if following == 0:
            mean, image = system.condition(estimate, variance, noise)
        else:
            drawn = system.draw(estimate, variance, noise, error=LOOSE * following)
            image = drawn + following * noise(*image.shape[2:])
    return Draws(image, mean, len(sigmas) * ode_steps, system.sigma.new_ones((system.batch, 1)))


def clean_estimate(
    prior: DiffusionPrior, image: Tensor, sigma: float, steps: int, last: float, report: Callable[[], None]
) -> Tensor:
    """Euler steps of the probability-flow ODE from ``sigma`` over ``last`` to zero; one step is a denoising."""
    sigmas = Schedule(sigma, steps, last).sigmas()
    for level, following in zip(sigmas, [*sigmas[1:], 0.0], strict=True):
        denoised = prior.denoise(image, level)
        image = denoised + (following / level) * (image - denoised)
        report()
    return image
