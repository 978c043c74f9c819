"""How much the missing scores could matter: worst and best case, multiple imputation, and the tipping point."""

from dataclasses import dataclass, replace

import numpy as np

from reader_study.arrays import Booleans, Floats
from reader_study.statistics.hypothesis_test import HypothesisTest, t_test
from reader_study.statistics.non_inferiority import compare_by_case_means, compared_readers, over_readers
from recon.errors import ReconError

IMPUTATIONS = 50
METHOD = f"multiple imputation ({IMPUTATIONS}) of the differences, Rubin's rules, one-sided t test"
_TOO_FEW = "too few observed differences to impute the missing ones"


@dataclass(frozen=True)
class Imputed:
    """Rubin's combination over ``imputations`` completed data sets; ``shift`` was added to every imputed difference."""

    shift: float
    imputations: int
    test: HypothesisTest


@dataclass(frozen=True)
class MissingData:
    """Sensitivity of the primary result.

    ``worst`` and ``best`` fill every missing score, those of lost readers too, with the end of the scale least and most
    favourable to the new arm; only readers with pairs are imputed. ``tipping_shift`` is the smallest penalty, in score
    points on each imputed difference, that takes a non-inferiority claim away: None where no penalty within the scale
    does, or where there was no claim.
    """

    missing_scores: int
    missing_by_arm: tuple[int, int]
    incomplete_cases: int
    worst: HypothesisTest | None = None
    best: HypothesisTest | None = None
    imputed: Imputed | None = None
    tipping_shift: float | None = None


def sensitivity(
    scores: Floats,
    planned: Booleans,
    scale: tuple[float, float],
    margin: float,
    alpha: float,
    generator: np.random.Generator,
) -> MissingData:
    """Missing-data sensitivity of the per-case-mean comparison.

    ``scores`` `[arm, reader, case]` with NaN where missing, higher is better, on ``scale`` (lowest, highest). A
    reading that nobody ``planned`` `[reader, case]` is not missing.
    """
    scores = np.asarray(scores, dtype=np.float64)
    missing = np.isnan(scores) & planned
    reference, new = (int(count) for count in missing.sum(axis=(1, 2)))
    found = MissingData(reference + new, (reference, new), int(missing.any(axis=(0, 1)).sum()))
    if not missing.any():
        return found
    worst, best = (
        compare_by_case_means(np.where(missing, np.reshape(ends, (2, 1, 1)), scores), margin, alpha)
        for ends in (scale[::-1], scale)
    )
    found = replace(found, worst=worst, best=best)
    compared = compared_readers(scores)
    difference = (scores[1] - scores[0])[compared]  # of a lost reader nothing can be imputed
    try:
        draws = _completed(difference, generator)
    except ReconError:
        return found
    draws[:, ~planned[compared]] = np.nan  # drawn with the others, and not asked for
    shifts = np.arange(0.0, scale[1] - scale[0] + 1e-9, 0.05)
    tests = (_combine(draws - shift * np.isnan(difference), margin, alpha) for shift in shifts)
    base = next(tests)
    lost = (round(float(shift), 2) for shift, test in zip(shifts[1:], tests, strict=True) if not test.claimed)
    tipping = next(lost, None) if base.claimed else None
    return replace(found, imputed=Imputed(0.0, IMPUTATIONS, base), tipping_shift=tipping)


def _completed(difference: Floats, generator: np.random.Generator) -> Floats:
    """Proper imputations of ``difference`` `[reader, case]`: `[imputation, reader, case]`.

    Each reader's missing differences come from a normal regression on the mean difference of the other readers
    (on the mean alone where those are missing too), its parameters drawn from their posterior.
    """
    completed = np.tile(difference, (IMPUTATIONS, 1, 1))
    for reader, own in enumerate(difference):
        observed, others = np.isfinite(own), np.delete(difference, reader, axis=0)
        if observed.sum() < 4:
            raise ReconError(_TOO_FEW)
        with np.errstate(invalid="ignore"):
            helper = np.nansum(others, axis=0) / np.isfinite(others).sum(axis=0)
        helped = np.isfinite(helper)
        for wanted, known in ((~observed & helped, observed & helped), (~observed & ~helped, observed)):
            if wanted.any():
                varies = helped[wanted].all() and np.unique(helper[known]).size > 1
                design = np.stack([np.ones(own.size), helper] if varies else [np.ones(own.size)], axis=1)
                completed[:, reader, wanted] = _drawn(own[known], design[known], design[wanted], generator)
    return completed


def _drawn(response: Floats, design: Floats, fresh: Floats, generator: np.random.Generator) -> Floats:
    """Draws `[imputation, case]` of a normal linear model's predictive distribution under the usual flat prior.

    Raises ReconError where no degree of freedom is left.
    """
    df = response.size - design.shape[1]
    if df < 1:
        raise ReconError(_TOO_FEW)
    inverse = np.linalg.inv(design.T @ design)
    mean = inverse @ design.T @ response
    residual = float(((response - design @ mean) ** 2).sum())
    deviation = np.sqrt(residual / generator.chisquare(df, size=IMPUTATIONS))
    root = np.linalg.cholesky(inverse)
    slopes = mean + deviation[:, None] * (generator.standard_normal((IMPUTATIONS, mean.size)) @ root.T)
    noise = generator.standard_normal((IMPUTATIONS, len(fresh)))
    return np.asarray(slopes @ fresh.T + deviation[:, None] * noise)


def _combine(completed: Floats, margin: float, alpha: float) -> HypothesisTest:
    """Rubin's rules over `[imputation, reader, case]` with Barnard and Rubin's degrees of freedom."""
    found = over_readers(completed)
    between = (1 + 1 / IMPUTATIONS) * found.estimate.var(ddof=1)
    total = found.variance.mean() + between
    share = between / total if total > 0 else 0.0
    complete_df = found.effective[0] - 1
    observed_df = (complete_df + 1) / (complete_df + 3) * complete_df * (1 - share)
    df = float(1 / (share**2 / (IMPUTATIONS - 1) + 1 / observed_df))
    estimate, error = float(found.estimate.mean()), float(np.sqrt(total))
    return t_test(estimate, error, df, cases=int(found.cases[0]), margin=margin, alpha=alpha, method=METHOD)
