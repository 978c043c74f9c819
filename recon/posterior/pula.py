"""Preconditioned annealed Langevin dynamics (pULA): the asymptotically exact reference.

Luo et al., "Bayesian MRI reconstruction with joint uncertainty estimation using diffusion models", Magn Reson Med
90:295 (2023), and BART's `sample`: Langevin steps on p(y | x) p_sigma(x) with the preconditioner
P = (A^H A / sigma_y^2 + I / sigma^2)^-1 while sigma is annealed towards zero.

One step moves the fraction gamma towards m = x + P (grad log p(y|x) + (D(x) - x) / sigma^2), which is the conditional
mean around D(x). Along what was measured that is the transition of an Ornstein-Uhlenbeck process, whose noise has the
variance gamma (2 - gamma); along what was not, an Euler step with the variance 2 gamma. Both are exact to second order
in gamma, and the two sources of the conditional draw's noise carry them apart.
"""

from collections.abc import Callable

import torch

from recon.posterior.random_streams import Noise
from recon.posterior.sampler import DiffusionPrior, Draws
from recon.posterior.schedule import Schedule
from recon.posterior.system import System


def pula(
    system: System,
    prior: DiffusionPrior,
    schedule: Schedule,
    noise: Noise,
    *,
    repeats: int = 1,
    gamma: float = 0.5,
    report: Callable[[], None] = lambda: None,
) -> Draws:
    """Posterior samples for a batch of slices by ``repeats`` Langevin steps at each noise level."""
    image = system.start(prior.sigma_data**2, noise)
    image = image + schedule.sigma_max * noise(*image.shape[2:])
    calls = 0
    mean = image
    weights = (gamma * (2 - gamma), 2 * gamma)
    for sigma in schedule.sigmas():
        variance = torch.full_like(system.sigma, sigma**2)
        for _ in range(repeats):
            mean, drawn = system.condition(prior.denoise(image, sigma), variance, noise, weights)
            image = drawn + (1 - gamma) * (image - mean)
            calls += 1
            report()
    return Draws(image, mean, calls, system.sigma.new_ones((system.batch, 1)))
