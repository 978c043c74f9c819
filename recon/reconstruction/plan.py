"""What a sampler does for one scan: its noise levels and how many samples, chosen from acceleration and noise."""

import math
from dataclasses import dataclass

from recon.posterior.schedule import Schedule, default_sigma_max
from recon.reconstruction.options import ReconstructionOptions


@dataclass(frozen=True)
class Plan:
    """The options with every None resolved for one scan."""

    schedule: Schedule
    samples: int


def stochastic_dds_plan(options: ReconstructionOptions, acceleration: float, sigma: float) -> Plan:
    """The default sampler's plan for an acceleration and a noise level ``sigma`` (relative to the image scale).

    More acceleration needs a higher first noise level, more steps and more samples; so does noise, which hides what
    low accelerations would otherwise show.
    """
    usual = default_sigma_max(acceleration)
    steps, samples = (12, 4) if usual < 1 else (16, 4) if usual < 5 else (24, 8)
    sigma_max = options.sigma_max or max(usual, 20 * sigma)
    extra = round(6 * math.log10(max(1.0, sigma_max / usual)))  # the same density of levels over the longer way
    schedule = Schedule(sigma_max, options.steps or steps + extra, min(options.sigma_min or 0.03, sigma_max))
    return Plan(schedule, options.samples or samples)


def pula_plan(options: ReconstructionOptions, acceleration: float, sigma: float) -> Plan:
    """Many small steps from a middling noise level: the reference that the default is held against."""
    schedule = Schedule(options.sigma_max or 1.0, options.steps or 100, options.sigma_min or 0.01)
    return Plan(schedule, options.samples or 4)


def dps_plan(options: ReconstructionOptions, acceleration: float, sigma: float) -> Plan:
    """As in arXiv:2603.13007: 300 Euler steps from a noise level that hides everything."""
    schedule = Schedule(options.sigma_max or 10.0, options.steps or 300, options.sigma_min or 0.002)
    return Plan(schedule, options.samples or 1)
