"""Scores of simulated reader studies: the model behind ``power``.

A score is latent mean + reader + case + arm x reader + arm x case + reader x case + residual, all normal, rounded to
the planned scale and clipped at its ends. Effects are stated in points of the ROUNDED scale: the latent means are
solved so that the expected scores differ by exactly the effect.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from reader_study.arrays import Floats
from reader_study.incomplete_blocks import assign
from reader_study.power_options import Assumptions
from recon.errors import ReconError


@dataclass(frozen=True)
class Design:
    """What the planned analysis needs to know. ``scale`` None: continuous scores (to check the test itself)."""

    readers: int
    cases: int
    fixed_readers: bool
    margin: float
    alpha: float
    scale: tuple[int, int] | None
    preference: bool = False
    ties: bool = True
    arms: int = 2
    readers_per_case: int | None = None  # case subsets by reader
    adjudicated: int | None = None  # points apart at which a third reader's score is analysed


def reader_constants(readers: int) -> Floats:
    """Fixed readers: centred normal scores of unit standard deviation, one reader lenient, another severe."""
    if readers == 1:
        return np.zeros(1)
    scores = stats.norm.ppf((np.arange(readers) + 0.5) / readers)
    return np.asarray(scores / scores.std(ddof=1))


def latent_means(design: Design, assumptions: Assumptions, effect: float) -> tuple[float, float]:
    """Latent means of both arms whose expected rounded scores are the reference mean and ``effect`` above it."""
    if design.scale is None:
        base = assumptions.reference_mean or 0.0
        return base, base + effect
    low, high = design.scale
    deviation, offsets = _deviations(design, assumptions)
    shifts = reader_constants(design.readers) if design.fixed_readers else np.zeros(1)

    def expected(latent: float, arm: int) -> float:
        centre = latent + shifts * (offsets[0] + (offsets[1] if arm else 0.0))
        if design.preference and not design.ties:
            return float((2 * stats.norm.cdf(centre / deviation) - 1).mean())
        cuts = np.arange(low, high) + 0.5
        return float(low + stats.norm.sf(cuts[:, None], centre, deviation).sum(axis=0).mean())

    def solve(target: float, arm: int) -> float:
        if not low < target < high:
            raise ReconError(f"an expected score of {target:g} does not fit on the scale {low} to {high}")
        wide = 10 * (deviation + high - low)
        return float(optimize.brentq(lambda latent: expected(latent, arm) - target, low - wide, high + wide, xtol=1e-9))

    if design.preference:
        return 0.0, solve(effect, 1)
    start = low + 0.75 * (high - low) if assumptions.reference_mean is None else assumptions.reference_mean
    return solve(start, 0), solve(start + effect, 1)


def _deviations(design: Design, assumptions: Assumptions) -> tuple[float, tuple[float, float]]:
    """(standard deviation of a latent score around its reader's mean, deviations of fixed reader and reader x arm)."""
    a = assumptions
    if design.preference:
        variance = 2 * (a.case_arm**2 + a.residual**2)
        variance += 0.0 if design.fixed_readers else 2 * a.reader_arm**2
        return float(np.sqrt(variance)), (0.0, np.sqrt(2) * a.reader_arm)
    variance = a.case**2 + a.case_arm**2 + a.reader_case**2 + a.residual**2
    variance += 0.0 if design.fixed_readers else a.reader**2 + a.reader_arm**2
    return float(np.sqrt(variance)), (a.reader, np.sqrt(2) * a.reader_arm)


def draw_scores(
    design: Design,
    assumptions: Assumptions,
    means: Sequence[float],
    count: int,
    generator: np.random.Generator,
    *,
    third: bool = False,
) -> Floats:
    """Scores `[study, arm, reader, case]`, rounded to the scale; ``means`` are latent, one for each arm.

    Readings outside the reader's subset of the cases are NaN. With ``third`` all readers read all cases, and a third
    reader without leniency or taste of his own comes last.
    """
    constants = np.append(reader_constants(design.readers), 0.0) if third else reader_constants(design.readers)
    scores = _crossed_scores(design, assumptions, means, constants, count, generator)
    size = design.readers_per_case
    return scores if size is None or third else leave_unplanned(scores, size, generator)


def leave_unplanned(scores: Floats, size: int, generator: np.random.Generator) -> Floats:
    """NaN in scores `[study, arm, reader, case]` that were not planned: one draw of the subsets for these studies."""
    readers, cases = scores.shape[2:]
    return np.where(assign([cases], readers, size, generator), scores, np.nan)


def _crossed_scores(
    design: Design,
    assumptions: Assumptions,
    means: Sequence[float],
    fixed: Floats,
    count: int,
    generator: np.random.Generator,
) -> Floats:
    """``fixed``: the constants of fixed readers."""
    a, normal = assumptions, generator.standard_normal
    readers, cases = len(fixed), design.cases
    latent = np.array(means)[None, :, None, None] + a.case_arm * normal((count, design.arms, 1, cases))
    latent = latent + a.residual * normal((count, design.arms, readers, cases))
    if not design.preference:
        latent += a.case * normal((count, 1, 1, cases)) + a.reader_case * normal((count, 1, readers, cases))
    if design.fixed_readers:
        latent[:, 1:] += (np.sqrt(2) * a.reader_arm * fixed)[None, None, :, None]
        if not design.preference:
            latent += (a.reader * fixed)[None, None, :, None]
    else:
        latent += a.reader_arm * normal((count, design.arms, readers, 1)) + a.reader * normal((count, 1, readers, 1))
    if design.preference:
        chosen = latent[:, 1] - latent[:, 0]
        answer = np.clip(np.rint(chosen), -1, 1) if design.ties else np.where(chosen >= 0, 1.0, -1.0)
        return np.stack([np.zeros_like(answer), answer], axis=1)
    if design.scale is None:
        return latent
    return np.asarray(np.clip(np.floor(latent + 0.5), *design.scale))
