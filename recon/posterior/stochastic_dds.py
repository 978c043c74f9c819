"""Noisy decomposed diffusion sampling: the default sampler.

Chung et al., Decomposed Diffusion Sampler (ICLR 2024), alternates a denoising with a data consistency step. Here that
step is an exact draw from the Gaussian conditional: the denoiser says x ~ N(d, v), the data say y ~ N(A x, sigma^2),
and both weights are measured:

    x = draw(0, sigma_data^2) + sigma_0 n
    for sigma_i:  d = D(x; sigma_i);  x_hat = draw(d, v_i, v_i);  x = x_hat + sigma_{i+1} n

v_i is the larger of the validation error of the denoiser at sigma_i and the error of d that the scan itself shows. It
is an average: in flat tissue a denoiser errs by less, at edges and in lesions by more, though by no more than
sigma_i^2. Trusted too little, d leaves noise, which the next denoising removes; trusted too much, it takes away
detail, which no later step brings back. Until the last step the data are therefore weighed against
v_i = max(v_i, sigma_i^2), and the draw varies by v_i where nothing was measured. In the last step v is
denoiser_variance. That draw is one posterior sample; its noise-free mean is what is averaged over samples
(Rao-Blackwell).
"""

from collections.abc import Callable

import torch

from recon.posterior.random_streams import NoiseStreams
from recon.posterior.sampler import Denoise, Draws
from recon.posterior.schedule import Schedule
from recon.posterior.system import System


def stochastic_dds(
    system: System,
    denoise: Denoise,
    schedule: Schedule,
    variance_table: Callable[[float], float],
    sigma_data: float,
    noise: NoiseStreams,
    *,
    adapt: bool = True,
    report: Callable[[], None] = lambda: None,
) -> Draws:
    """Posterior samples for a batch of slices; see the module's docstring.

    ``variance_table`` gives the validation denoising error at a sigma; ``adapt`` lets the scan raise it. ``report`` is
    called after each network call.
    """
    sigmas = schedule.sigmas()
    image = system.start(sigma_data**2, noise)
    image = image + sigmas[0] * noise(*image.shape[2:])
    mean, inflations = image, []
    for sigma, following in zip(sigmas, [*sigmas[1:], 0.0], strict=True):
        denoised = denoise(image, sigma)
        denoiser_variance = torch.full_like(system.sigma, variance_table(sigma))
        if adapt:
            estimate = system.denoised_variance(denoised)
            inflations.append((estimate / denoiser_variance).clamp_min(1.0).sqrt())
            denoiser_variance = torch.maximum(denoiser_variance, estimate)
        if following == 0:
            mean, image = system.condition(denoised, denoiser_variance, noise)
        else:
            most = denoiser_variance.clamp_min(sigma**2)
            image = system.draw(denoised, most, noise, (1.0, denoiser_variance / most)) + following * noise(
                *image.shape[2:]
            )
        report()
    inflation = torch.stack(inflations, -1) if inflations else system.sigma.new_ones((system.batch, 1))
    return Draws(image, mean, len(sigmas), inflation)
