"""Diffusion posterior sampling as in the paper, for comparison.

Chung et al., ICLR 2023, in the form of arXiv:2603.13007's public recipe: Euler steps of the probability-flow ODE from a
high noise level, each followed by a gradient step on |y - A D(x)| through the network. The step length ``weight`` is
the data-consistency weight that has to be found by hand and grows with the acceleration.
"""

from collections.abc import Callable

import torch

from recon.acquisition.problem import Problem
from recon.acquisition.sense import forward
from recon.posterior.random_streams import Noise
from recon.posterior.sampler import DiffusionPrior, Draws
from recon.posterior.schedule import Schedule


def dps(
    problem: Problem,
    prior: DiffusionPrior,
    schedule: Schedule,
    noise: Noise,
    *,
    weight: float = 1.0,
    report: Callable[[], None] = lambda: None,
) -> Draws:
    """One image for each sample stream; ``means`` are the last denoised images, for want of a conditional mean.

    ``x <- x + (sigma_{i+1} - sigma_i) (x - D(x)) / sigma_i - weight * grad_x |y - A D(x)|``
    """
    kspace, maps = problem.kspace.unsqueeze(1), problem.maps.unsqueeze(1)
    slices, sets, _, readout, phase = problem.maps.shape
    image = schedule.sigma_max * noise(sets, readout, phase)
    sigmas = schedule.sigmas()
    denoised = image
    for sigma, following in zip(sigmas, [*sigmas[1:], 0.0], strict=True):
        image = image.detach().requires_grad_(True)
        with torch.enable_grad():
            denoised = prior.denoise(image, sigma)
            gap = kspace - forward(denoised, maps, problem.mask)
            norms = (gap.abs() ** 2).sum((-3, -2, -1)).sqrt()
            (gradient,) = torch.autograd.grad(norms.sum(), image)
        with torch.no_grad():
            image = image + (following - sigma) * (image - denoised) / sigma - weight * gradient
        report()
    return Draws(image.detach(), denoised.detach(), len(sigmas), problem.sigma.new_ones((slices, 1)))
