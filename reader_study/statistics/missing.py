"""How much the missing scores could matter: worst and best case, multiple imputation, and the tipping point."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reader_study.statistics.hypothesis_test import HypothesisTest, t_test
from reader_study.statistics.non_inferiority import compare_by_case_means, compared_readers
from recon.errors import ReconError

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]


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
    worst: HypothesisTest | None
    best: HypothesisTest | None
    imputed: Imputed | None
    tipping_shift: float | None


def sensitivity(
    scores: Floats,
    scale: tuple[float, float],
    margin: float,
    alpha: float,
    generator: np.random.Generator,
    planned: Booleans | None = None,
    imputations: int = 50,
) -> MissingData:
    """Missing-data sensitivity of the per-case-mean comparison.

    ``scores`` `[arm, reader, case]` with NaN where missing, higher is better, on ``scale`` (lowest, highest). With
    ``planned`` `[reader, case]`, of subsets of the cases, a reading that nobody planned is not missing.
    """
    scores = np.asarray(scores, dtype=np.float64)
    lowest, highest = scale
    missing = np.isnan(scores)
    if planned is not None:
        missing &= planned
    by_arm = (int(missing[0].sum()), int(missing[1].sum()))
    incomplete = int(missing.any(axis=(0, 1)).sum())
    if not missing.any():
        return MissingData(0, by_arm, 0, None, None, None, None)
    filled = [
        np.where(missing, np.array(ends)[:, None, None], scores) for ends in ((highest, lowest), (lowest, highest))
    ]
    worst, best = (compare_by_case_means(values, margin, alpha) for values in filled)
    compared = compared_readers(scores)
    difference = (scores[1] - scores[0])[compared]  # of a lost reader nothing can be imputed
    unplanned = None if planned is None or planned.all() else ~planned[compared]
    try:
        draws = _completed(difference, generator, imputations)
    except ReconError:
        return MissingData(sum(by_arm), by_arm, incomplete, worst, best, None, None)
    absent = np.isnan(difference)
    if unplanned is not None:  # drawn with the others, and not asked for
        draws[:, unplanned] = np.nan

    def at(shift: float) -> Imputed:
        return _combine(draws - shift * absent, shift, margin, alpha)

    base = at(0.0)
    tipping = None
    if base.test.claimed:
        span = highest - lowest
        for shift in np.arange(0.05, span + 1e-9, 0.05):
            if not at(float(shift)).test.claimed:
                tipping = round(float(shift), 2)
                break
    return MissingData(sum(by_arm), by_arm, incomplete, worst, best, base, tipping)


def _completed(difference: Floats, generator: np.random.Generator, imputations: int) -> Floats:
    """Proper imputations of ``difference`` `[reader, case]`: `[imputation, reader, case]`.

    Each reader's missing differences come from a normal regression on the mean difference of the other readers
    (on the mean alone where those are missing too), its parameters drawn from their posterior.
    """
    readers, _ = difference.shape
    completed = np.broadcast_to(difference, (imputations, *difference.shape)).copy()
    for reader in range(readers):
        observed = np.isfinite(difference[reader])
        if observed.sum() < 4:
            raise ReconError("too few observed differences to impute the missing ones")
        others = np.delete(difference, reader, axis=0)
        counts = np.isfinite(others).sum(axis=0)
        helper = np.where(counts > 0, np.nansum(others, axis=0) / np.maximum(counts, 1), np.nan)
        target = ~observed
        for use_helper in (True, False):
            wanted = target & (np.isfinite(helper) == use_helper)
            known = observed & np.isfinite(helper) if use_helper else observed
            if not wanted.any():
                continue
            columns = (
                [np.ones(known.sum()), helper[known]]
                if use_helper and np.ptp(helper[known]) > 0
                else [np.ones(known.sum())]
            )
            design = np.column_stack(columns)
            fresh = np.column_stack([np.ones(wanted.sum()), helper[wanted]][: design.shape[1]])
            completed[:, reader, wanted] = _posterior_predictive(
                difference[reader, known], design, fresh, generator, imputations
            )
    return completed


def _posterior_predictive(
    response: Floats, design: Floats, fresh: Floats, generator: np.random.Generator, imputations: int
) -> Floats:
    """Draws `[imputation, case]` of a normal linear model's predictive distribution under the usual flat prior."""
    df = response.size - design.shape[1]
    inverse = np.linalg.inv(design.T @ design)
    mean = inverse @ design.T @ response
    residual = float(((response - design @ mean) ** 2).sum())
    deviation = np.sqrt(residual / generator.chisquare(df, size=imputations))
    root = np.linalg.cholesky(inverse)
    slopes = mean + deviation[:, None] * (generator.standard_normal((imputations, mean.size)) @ root.T)
    noise = generator.standard_normal((imputations, fresh.shape[0]))
    return np.asarray(slopes @ fresh.T + deviation[:, None] * noise)


def _combine(completed: Floats, shift: float, margin: float, alpha: float) -> Imputed:
    """Rubin's rules over `[imputation, reader, case]` with Barnard and Rubin's degrees of freedom."""
    by_case = completed.mean(axis=1)
    imputations, cases = by_case.shape
    complete_df: float = cases - 1
    if np.isnan(by_case).any():  # subsets of the cases: the comparison itself, once for each completed data set
        paired = [np.stack([np.zeros_like(one), one]) for one in completed]
        tests = [compare_by_case_means(one, margin, alpha) for one in paired]
        estimates = np.array([test.estimate for test in tests])
        within = float(np.mean([test.standard_error**2 for test in tests]))
        cases, complete_df = tests[0].cases, tests[0].df
    else:
        estimates = by_case.mean(axis=1)
        within = float((by_case.var(axis=1, ddof=1) / cases).mean())
    between = float(estimates.var(ddof=1))
    total = within + (1 + 1 / imputations) * between
    estimate = float(estimates.mean())
    share = (1 + 1 / imputations) * between / total if total > 0 else 0.0
    observed_df = (complete_df + 1) / (complete_df + 3) * complete_df * (1 - share)
    df = observed_df if share == 0 else 1 / (1 / ((imputations - 1) / share**2) + 1 / observed_df)
    method = f"multiple imputation ({imputations}) of the differences, Rubin's rules, one-sided t test"
    error = float(np.sqrt(total))
    test = t_test(estimate, error, float(df), cases=cases, margin=margin, alpha=alpha, method=method)
    return Imputed(shift, imputations, test)
