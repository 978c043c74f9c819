"""The samplers as methods: the posterior mean of a diffusion prior and the samples around it."""

import torch

from recon.posterior.dps import dps as dps_sampler
from recon.posterior.pula import pula as pula_sampler
from recon.posterior.sampler import Draws
from recon.posterior.stochastic_dds import stochastic_dds as stochastic_dds_sampler
from recon.reconstruction.preparing import Prepared
from recon.reconstruction.solving import Solution, Task, required_sampling, required_system


def stochastic_dds(prepared: Prepared, task: Task) -> Solution:
    """See ``recon.posterior.stochastic_dds``."""
    given, system = required_sampling(task), required_system(prepared, task)
    with torch.no_grad():
        draws = stochastic_dds_sampler(
            system, given.denoise, given.plan.schedule, given.denoiser_variance, given.sigma_data, given.noise,
            adapt=task.options.denoiser_variance == "scan", report=given.step,
        )  # fmt: skip
    return _solution(draws)


def pula(prepared: Prepared, task: Task) -> Solution:
    """See ``recon.posterior.pula``."""
    given, system = required_sampling(task), required_system(prepared, task)
    with torch.no_grad():
        draws = pula_sampler(
            system, given.denoise, given.plan.schedule, given.sigma_data, given.noise, gamma=1.0, report=given.step
        )
    return _solution(draws)


def dps(prepared: Prepared, task: Task) -> Solution:
    """See ``recon.posterior.dps``."""
    given = required_sampling(task)
    weight = 1.0 if task.options.weight is None else task.options.weight
    draws = dps_sampler(
        prepared.problem, given.denoise, given.plan.schedule, given.noise, weight=weight, report=given.step
    )
    return _solution(draws)


def _solution(draws: Draws) -> Solution:
    calls = draws.network_calls * draws.samples.shape[1]
    return Solution(draws.means.mean(1), draws.samples, calls, draws.inflation)
