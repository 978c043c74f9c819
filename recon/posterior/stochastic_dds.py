"""Stochastic decomposed diffusion sampling: independent posterior samples, and those around the default's image.

Chung et al., Decomposed Diffusion Sampler (ICLR 2024), alternates a denoising with a data consistency step. Here that
step is an exact draw from the Gaussian conditional: the denoiser says x ~ N(d, v), the data say y ~ N(A x, sigma^2),
and both weights are measured:

    x = draw(0, sigma_data^2) + sigma_0 n
    for sigma_i:  d = D(x; sigma_i);  x_hat = draw(d, v_i, r_i);  x = x_hat + sigma_{i+1} n

r_i is the larger of the validation error of the denoiser at sigma_i and the error of d that the scan itself shows. It
is an average: in flat tissue a denoiser errs by less, at edges and in lesions by more, though by no more than
sigma_i^2. Trusted too little, d leaves noise, which the next denoising removes; trusted too much, it takes away
detail, which no later step brings back. Until the last step the data are therefore weighed against
v_i = max(r_i, sigma_i^2), and the draw varies by r_i where nothing was measured, or by as many times r_i, but at most
v_i, as the prior's ``draw_excess`` says. In the last step v is r. That draw is one posterior sample; its noise-free
mean is what is averaged over samples (Rao-Blackwell).
"""

from collections.abc import Callable

import torch

from recon.posterior.denoising import denoising_variance, through_flips
from recon.posterior.random_streams import Noise
from recon.posterior.sampler import DiffusionPrior, Draws
from recon.posterior.schedule import Schedule
from recon.posterior.system import LOOSE, System


def stochastic_dds(
    system: System,
    prior: DiffusionPrior,
    schedule: Schedule,
    noise: Noise,
    *,
    adapt: bool = True,
    flips: bool = False,
    report: Callable[[], None] = lambda: None,
) -> Draws:
    """Posterior samples for a batch of slices; see the module's docstring.

    ``adapt`` lets the scan raise the validation denoising error; ``flips`` denoises through flips that change from step
    to step. ``report`` is called after each network call.
    """
    sigmas = schedule.sigmas()
    image = system.start(prior.sigma_data**2, noise)
    image = image + sigmas[0] * noise(*image.shape[2:])
    mean, ratios = image, []
    for step, (sigma, following) in enumerate(zip(sigmas, [*sigmas[1:], 0.0], strict=True)):
        clean = through_flips(prior.denoise, image, sigma, step) if flips else prior.denoise(image, sigma)
        denoised = system.seen(clean, noise)
        variance, ratio = denoising_variance(system, denoised, prior.variance(sigma), adapt=adapt)
        ratios.append(ratio)
        if following == 0:
            mean, image = system.condition(denoised, variance, noise)
        else:
            most = variance.clamp_min(sigma**2)
            varied = torch.minimum(prior.draw_excess * variance, most)
            drawn = system.draw(denoised, most, noise, (1.0, varied / most), error=LOOSE * following)
            image = drawn + following * noise(*image.shape[2:])
        report()
    return Draws(image, mean, len(sigmas), torch.stack(ratios, -1))
