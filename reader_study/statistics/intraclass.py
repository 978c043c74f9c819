"""Intraclass correlations of Shrout and Fleiss 1979, all six."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from reader_study.arrays import Floats
from reader_study.statistics.hypothesis_test import CONFIDENCE
from recon.errors import ReconError

_TAIL = 0.5 + CONFIDENCE / 2


@dataclass(frozen=True)
class Intraclass:
    """One coefficient with its F-based confidence interval; ``model`` is ICC(1,1), ICC(2,1) ... ICC(3,k)."""

    model: str
    coefficient: float
    low: float
    high: float


def intraclass(ratings: Floats) -> dict[str, Intraclass]:
    """The six Shrout-Fleiss coefficients of ``ratings`` `[reader, case]` over the cases that every reader scored.

    Keys ``ICC(1,1)``, ``ICC(2,1)``, ``ICC(3,1)``, ``ICC(1,k)``, ``ICC(2,k)``, ``ICC(3,k)``. Coefficients are NaN
    where nothing varies. Raises ReconError for fewer than two readers or two complete cases.
    """
    table = np.asarray(ratings, dtype=np.float64).T
    table = table[np.isfinite(table).all(axis=1)]
    cases, readers = table.shape
    if cases < 2 or readers < 2:
        raise ReconError(f"an intraclass correlation needs two readers and two complete cases, got {readers}, {cases}")
    between, reader = readers * table.mean(axis=1).var(ddof=1), cases * table.mean(axis=0).var(ddof=1)
    within = table.var(axis=1, ddof=1).mean()
    residual = max((cases * within - reader) / (cases - 1), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        one = _ratios(between, within, (cases - 1, cases * (readers - 1)))
        three = _ratios(between, residual, (cases - 1, (cases - 1) * (readers - 1)))
        agreed = (between - residual) / (between + (readers - 1) * residual + readers * (reader - residual) / cases)
        two = np.array([agreed, *_two_way_interval(agreed, between, reader, residual, cases, readers)])
        # One rating's reliability and that of the mean of all; 1 where the error is zero, and F infinite.
        values = {
            "ICC(1,1)": np.where(np.isinf(one), 1.0, (one - 1) / (one + readers - 1)),
            "ICC(2,1)": two,
            "ICC(3,1)": np.where(np.isinf(three), 1.0, (three - 1) / (three + readers - 1)),
            "ICC(1,k)": 1 - 1 / one,
            "ICC(2,k)": two * readers / (1 + two * (readers - 1)),  # Spearman and Brown
            "ICC(3,k)": 1 - 1 / three,
        }
    return {model: Intraclass(model, *value.tolist()) for model, value in values.items()}


def _ratios(numerator: float, denominator: float, df: tuple[int, int]) -> Floats:
    """F and the ends of the interval of what it estimates."""
    ratio = numerator / denominator
    return np.array([ratio, ratio / stats.f.ppf(_TAIL, *df), ratio * stats.f.ppf(_TAIL, *df[::-1])])


def _two_way_interval(
    two: float, between: float, reader: float, residual: float, cases: int, readers: int
) -> tuple[float, float]:
    """Interval of ICC(2,1) with Satterthwaite's degrees of freedom (Shrout and Fleiss 1979, McGraw and Wong 1996)."""
    of_readers, rest = readers * two * reader, (cases * (1 + (readers - 1) * two) - readers * two) * residual
    v = (readers - 1) * (cases - 1) * (of_readers + rest) ** 2 / ((cases - 1) * of_readers**2 + rest**2)
    if residual == 0 < between:
        v = readers - 1.0  # its limit, even where the readers agree in everything
    upper, lower = stats.f.ppf(_TAIL, cases - 1, v), stats.f.ppf(_TAIL, v, cases - 1)
    mixed = readers * reader + (readers * cases - readers - cases) * residual
    low = cases * (between - upper * residual) / (upper * mixed + cases * between)
    high = cases * (lower * between - residual) / (mixed + cases * lower * between)
    return low, high
