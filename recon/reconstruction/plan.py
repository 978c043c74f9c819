"""What a sampler does for one scan: its noise levels and how many samples, chosen from acceleration and noise."""

import math
from dataclasses import dataclass

from recon.errors import ReconError
from recon.posterior.schedule import Schedule, default_sigma_max
from recon.reconstruction.options import ReconstructionOptions

FIRST_LEVEL, LAST_LEVEL = 0.5, 0.05  # of the mean recursion, in units of the image scale
FIRST_DRAW_LEVEL = 0.7  # of the samples
CLEAN = 0.02  # noise relative to the image scale below which two recursions are averaged


@dataclass(frozen=True)
class Plan:
    """The options with every None resolved for one scan: the noise levels of the image and, where the samples are drawn
    by a chain of their own, those of the samples; ``estimates``: recursions that are averaged for the image."""

    schedule: Schedule
    samples: int
    draws: Schedule | None = None
    estimates: int = 1

    @property
    def steps(self) -> int:
        """Network calls one after another: what progress is counted in."""
        return self.schedule.steps + (self.draws.steps if self.draws is not None else 0)

    @property
    def network_calls(self) -> int:
        """Network calls of a slice, all samples together."""
        own = self.draws.steps * self.samples if self.draws is not None else 0
        return self.schedule.steps * self.estimates + own


def mean_plan(options: ReconstructionOptions, acceleration: float, sigma: float) -> Plan:
    """The default's plan: a recursion for the image, and antithetic pairs of samples for its uncertainty.

    16 geometric levels from .5 to .05, where the last conditional mean takes over: fewer levels err by more than 1 % of
    the posterior's variance on a known Gaussian (``tests/posterior/test_certification.py``). Where the noise ``sigma``
    (relative to the image scale) hides little, the estimate's own noise is what is left, and an antithetic pair of
    recursions is averaged. The samples take eight levels: only their deviations are used.
    """
    sigma_max = options.sigma_max or max(FIRST_LEVEL, 10 * sigma)
    sigma_min = min(options.sigma_min or LAST_LEVEL, sigma_max)
    samples = 2 if options.samples is None else options.samples
    schedule = Schedule(sigma_max, options.steps or 16, sigma_min, None)
    draws = Schedule(max(sigma_max, FIRST_DRAW_LEVEL), 8, sigma_min, None) if samples else None
    return Plan(schedule, samples, draws, 2 if sigma < CLEAN else 1)


def stochastic_dds_plan(options: ReconstructionOptions, acceleration: float, sigma: float) -> Plan:
    """Independent samples for an acceleration and a noise level ``sigma`` (relative to the image scale).

    More acceleration needs a higher first noise level, more steps and more samples; so does noise, which hides what
    low accelerations would otherwise show. So many steps, and down to .01, are what the certification asks for.
    """
    usual = default_sigma_max(acceleration)
    steps, samples = (20, 4) if usual < 1 else (24, 4) if usual < 5 else (32, 8)
    sigma_max = options.sigma_max or max(usual, 20 * sigma)
    extra = round(6 * math.log10(max(1.0, sigma_max / usual)))  # the same density of levels over the longer way
    schedule = Schedule(sigma_max, options.steps or steps + extra, min(options.sigma_min or 0.01, sigma_max))
    return _sampled(options, schedule, samples)


def pula_plan(options: ReconstructionOptions, acceleration: float, sigma: float) -> Plan:
    """Many small steps from a middling noise level: the reference that the default is held against."""
    schedule = Schedule(options.sigma_max or 1.0, options.steps or 100, options.sigma_min or 0.01)
    return _sampled(options, schedule, 4)


def dds_plan(options: ReconstructionOptions, acceleration: float, sigma: float) -> Plan:
    """Twenty levels, as is usual for it; one sample, whose image is already smooth."""
    sigma_max = options.sigma_max or max(default_sigma_max(acceleration), 20 * sigma)
    schedule = Schedule(sigma_max, options.steps or 20, min(options.sigma_min or 0.02, sigma_max))
    return _sampled(options, schedule, 1)


def pigdm_plan(options: ReconstructionOptions, acceleration: float, sigma: float) -> Plan:
    """Twenty levels, as in the paper's fast setting; on simulated subjects fifty, or a first level of 5 or 20 instead
    of 1, had more error, with the paper's weight as with the score's."""
    sigma_max = options.sigma_max or max(1.0, 20 * sigma)
    return _sampled(options, Schedule(sigma_max, options.steps or 20, min(options.sigma_min or 0.02, sigma_max)), 1)


def daps_plan(options: ReconstructionOptions, acceleration: float, sigma: float) -> Plan:
    """Twenty levels of two network calls, the best of 10 to 50 levels of two tried on simulated subjects, and within
    2 % of twenty levels of one; the paper takes 50 of two and more."""
    sigma_max = options.sigma_max or max(default_sigma_max(acceleration), 20 * sigma)
    return _sampled(options, Schedule(sigma_max, options.steps or 40, min(options.sigma_min or 0.02, sigma_max)), 1)


def dps_plan(options: ReconstructionOptions, acceleration: float, sigma: float) -> Plan:
    """As in arXiv:2603.13007: 300 Euler steps from a noise level that hides everything."""
    schedule = Schedule(options.sigma_max or 10.0, options.steps or 300, options.sigma_min or 0.002)
    return _sampled(options, schedule, 1)


def _sampled(options: ReconstructionOptions, schedule: Schedule, usual: int) -> Plan:
    """The plan of a method whose image is the mean of its samples. Raises ReconError for none."""
    samples = usual if options.samples is None else options.samples
    if samples < 1:
        raise ReconError(f"--samples {samples}: the image of method '{options.method}' is the mean of its samples")
    return Plan(schedule, samples, estimates=samples)
