"""The samplers as methods: the posterior mean of a diffusion prior and the samples around it."""

import torch
from torch import Tensor

from recon.posterior.daps import daps as daps_sampler
from recon.posterior.dds import dds as dds_sampler
from recon.posterior.dps import dps as dps_sampler
from recon.posterior.mean_recursion import mean_recursion
from recon.posterior.pigdm import pigdm as pigdm_sampler
from recon.posterior.pula import pula as pula_sampler
from recon.posterior.random_streams import AntitheticNoise
from recon.posterior.sampler import Draws, typical_ratio
from recon.posterior.stochastic_dds import stochastic_dds as stochastic_dds_sampler
from recon.quality.deviations import AIR_FRACTION
from recon.reconstruction.preparing import Prepared
from recon.reconstruction.solving import Solution, Task, required_sampling, required_system


def posterior_mean(prepared: Prepared, task: Task) -> Solution:
    """The image by ``recon.posterior.mean_recursion``, its samples by ``recon.posterior.stochastic_dds`` in pairs."""
    given, system = required_sampling(task), required_system(prepared, task)
    plan, adapt = given.plan, task.options.denoiser_variance == "scan"
    with torch.no_grad():
        means, ratios = mean_recursion(
            system, given.prior, plan.schedule, given.noise, plan.estimates, adapt=adapt, report=given.step
        )
        image = means.mean(1)
        if plan.draws is None:
            return Solution(image, None, plan.schedule.steps * plan.estimates, ratios)
        draws = stochastic_dds_sampler(
            system, given.prior, plan.draws, AntitheticNoise(given.noise, plan.samples),
            adapt=adapt, flips=True, report=given.step,
        )  # fmt: skip
    amplification = _amplification(image, draws.samples, system.sigma)
    seen = zip(amplification.tolist(), typical_ratio(ratios).tolist(), strict=True)
    spread = amplification.new_tensor([given.prior.variance_factor(*of_slice) for of_slice in seen]).sqrt()
    return Solution(
        image, draws.samples, plan.network_calls, ratios, pairs=True, spread=spread, amplification=amplification
    )


def _amplification(image: Tensor, samples: Tensor, sigma: Tensor) -> Tensor:
    """Variance of antithetic samples in the head over that of the noise, both per real component, ``[slice]``."""
    count = samples.shape[1] // 2
    if not count:
        return torch.ones_like(sigma)
    half = (samples[:, :count] - samples[:, samples.shape[1] - count :]) / 2
    variance = half.abs().square().mean(1).flatten(1) / 2
    bright = image.abs().flatten(1)
    head = bright > AIR_FRACTION * bright.quantile(0.99, dim=1, keepdim=True)
    return (variance * head).sum(1) / head.sum(1).clamp_min(1) / sigma**2


def stochastic_dds(prepared: Prepared, task: Task) -> Solution:
    """See ``recon.posterior.stochastic_dds``."""
    given, system = required_sampling(task), required_system(prepared, task)
    with torch.no_grad():
        draws = stochastic_dds_sampler(
            system, given.prior, given.plan.schedule, given.noise,
            adapt=task.options.denoiser_variance == "scan", report=given.step,
        )  # fmt: skip
    return _solution(draws)


def pula(prepared: Prepared, task: Task) -> Solution:
    """See ``recon.posterior.pula``."""
    given, system = required_sampling(task), required_system(prepared, task)
    with torch.no_grad():
        draws = pula_sampler(system, given.prior, given.plan.schedule, given.noise, gamma=1.0, report=given.step)
    return _solution(draws)


def dds(prepared: Prepared, task: Task) -> Solution:
    """See ``recon.posterior.dds``."""
    given, system = required_sampling(task), required_system(prepared, task)
    with torch.no_grad():
        return _solution(dds_sampler(system, given.prior, given.plan.schedule, given.noise, report=given.step))


def pigdm(prepared: Prepared, task: Task) -> Solution:
    """See ``recon.posterior.pigdm``."""
    given, system = required_sampling(task), required_system(prepared, task)
    return _solution(pigdm_sampler(system, given.prior, given.plan.schedule, given.noise, report=given.step))


def daps(prepared: Prepared, task: Task) -> Solution:
    """See ``recon.posterior.daps``."""
    given, system = required_sampling(task), required_system(prepared, task)
    with torch.no_grad():
        return _solution(daps_sampler(system, given.prior, given.plan.schedule, given.noise, report=given.step))


def dps(prepared: Prepared, task: Task) -> Solution:
    """See ``recon.posterior.dps``."""
    given = required_sampling(task)
    weight = 1.0 if task.options.weight is None else task.options.weight
    draws = dps_sampler(
        prepared.problem, given.prior, given.plan.schedule, given.noise, weight=weight, report=given.step
    )
    return _solution(draws)


def _solution(draws: Draws) -> Solution:
    calls = draws.network_calls * draws.samples.shape[1]
    return Solution(draws.means.mean(1), draws.samples, calls, draws.denoising_ratios)
