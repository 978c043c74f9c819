"""The posterior mean with few network calls: the default estimator.

A sampler that draws from the conditional at every step pays for the variance of the draws in every image, and averaging
a few samples removes little of it. Here the conditional MEAN goes on, and of noise only what keeps the next denoising
honest is added:

    x = mean(0, sigma_data^2)
    for sigma_i, falling:   y = x + noise of covariance (sigma_i^2 I - C)_+      C: conditional covariance of x
                            d = D(y; sigma_i)
                            x = mean(d, v_i),   v_i = max(r_i, sigma_i^2), in the last step r_i

The denoiser at sigma expects an image at the distance sigma from the truth. x errs by C already, in directions that
were not measured by as much as v_i; noise on top of that would tell the denoiser to trust it less than it deserves.
r_i is the denoising error as in ``recon.posterior.stochastic_dds``. Samples come in antithetic pairs, whose noise
cancels in their mean to first order, and every step looks at the image through another flip: both only average errors
that the exact posterior mean does not have.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from recon.posterior.denoising import denoising_variance, through_flips
from recon.posterior.random_streams import AntitheticNoise, NoiseStreams
from recon.posterior.sampler import DiffusionPrior
from recon.posterior.schedule import Schedule
from recon.posterior.system import System


def mean_recursion(
    system: System,
    prior: DiffusionPrior,
    schedule: Schedule,
    noise: NoiseStreams,
    estimates: int = 1,
    *,
    adapt: bool = True,
    report: Callable[[], None] = lambda: None,
) -> tuple[Tensor, Tensor]:
    """Estimates of the posterior mean ``[slice, estimate, set, readout, phase]``, to be averaged, and the estimated
    over the tabulated denoising error ``[slice, step]``.

    ``estimates`` recursions, in antithetic pairs from the first streams of ``noise``; ``adapt`` lets the scan raise the
    validation denoising error; ``report`` is called after each network call.
    """
    paired = AntitheticNoise(noise, estimates)
    sigmas = schedule.sigmas()
    start = torch.full_like(system.sigma, prior.sigma_data**2)
    image = system.renoised(system.zeros().expand(-1, estimates, -1, -1, -1), start, sigmas[0], paired)
    ratios = []
    for step, sigma in enumerate(sigmas):
        last = step + 1 == len(sigmas)
        denoised = system.seen(through_flips(prior.denoise, image, sigma, step), None if last else paired)
        variance, ratio = denoising_variance(system, denoised, prior.variance(sigma), adapt=adapt)
        ratios.append(ratio)
        if last:
            image = system.mean(denoised, variance)
        else:
            image = system.renoised(denoised, variance.clamp_min(sigma**2), sigmas[step + 1], paired)
        report()
    return image, torch.stack(ratios, -1)
