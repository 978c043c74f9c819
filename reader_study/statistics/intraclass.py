"""Intraclass correlations of Shrout and Fleiss 1979, all six."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from recon.errors import ReconError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Intraclass:
    """One coefficient with its F-based confidence interval; ``model`` is ICC(1,1), ICC(2,1) ... ICC(3,k)."""

    model: str
    coefficient: float
    low: float
    high: float


def intraclass(ratings: Floats, confidence: float = 0.95) -> dict[str, Intraclass]:
    """The six Shrout-Fleiss coefficients of ``ratings`` `[reader, case]` over the cases that every reader scored.

    Keys ``ICC(1,1)``, ``ICC(2,1)``, ``ICC(3,1)``, ``ICC(1,k)``, ``ICC(2,k)``, ``ICC(3,k)``. Coefficients are NaN
    where nothing varies. Raises ReconError for fewer than two readers or two complete cases.
    """
    table = np.asarray(ratings, dtype=np.float64).T
    table = table[np.isfinite(table).all(axis=1)]
    cases, readers = table.shape
    if cases < 2 or readers < 2:
        raise ReconError(f"an intraclass correlation needs two readers and two complete cases, got {readers}, {cases}")
    grand, by_case, by_reader = table.mean(), table.mean(axis=1), table.mean(axis=0)
    between = readers * ((by_case - grand) ** 2).sum() / (cases - 1)
    within = ((table - by_case[:, None]) ** 2).sum() / (cases * (readers - 1))
    reader = cases * ((by_reader - grand) ** 2).sum() / (readers - 1)
    residual_df = (cases - 1) * (readers - 1)
    residual = max((within * cases * (readers - 1) - reader * (readers - 1)) / residual_df, 0.0)
    tail = 0.5 + confidence / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        one, three = between / within, between / residual
        df = (cases - 1, cases * (readers - 1))
        one_low, one_high = one / stats.f.ppf(tail, *df), one * stats.f.ppf(tail, *df[::-1])
        df = (cases - 1, residual_df)
        three_low, three_high = three / stats.f.ppf(tail, *df), three * stats.f.ppf(tail, *df[::-1])
        two = (between - residual) / (between + (readers - 1) * residual + readers * (reader - residual) / cases)
        two_low, two_high = _two_way_interval(two, between, reader, residual, cases, readers, tail)
        return {
            found.model: found
            for found in (
                Intraclass("ICC(1,1)", *(_single(value, readers) for value in (one, one_low, one_high))),
                Intraclass("ICC(2,1)", float(two), two_low, two_high),
                Intraclass("ICC(3,1)", *(_single(value, readers) for value in (three, three_low, three_high))),
                Intraclass("ICC(1,k)", *(float(1 - 1 / value) for value in (one, one_low, one_high))),
                Intraclass("ICC(2,k)", *(_stepped_up(value, readers) for value in (two, two_low, two_high))),
                Intraclass("ICC(3,k)", *(float(1 - 1 / value) for value in (three, three_low, three_high))),
            )
        }


def _single(ratio: float, readers: int) -> float:
    """Single-rating coefficient from an F ratio; 1 where the error is zero."""
    return 1.0 if np.isinf(ratio) else float((ratio - 1) / (ratio + readers - 1))


def _stepped_up(single: float, readers: int) -> float:
    """Spearman-Brown: reliability of the mean of ``readers`` ratings."""
    return float(single * readers / (1 + single * (readers - 1)))


def _two_way_interval(
    two: float, between: float, reader: float, residual: float, cases: int, readers: int, tail: float
) -> tuple[float, float]:
    """Interval of ICC(2,1) with Satterthwaite's degrees of freedom (Shrout and Fleiss 1979, McGraw and Wong 1996)."""
    ratio = reader / residual
    offset = cases * (1 + (readers - 1) * two) - readers * two
    v = ((readers - 1) * (cases - 1) * (readers * two * ratio + offset) ** 2) / (
        (cases - 1) * readers**2 * two**2 * ratio**2 + offset**2
    )
    if not np.isfinite(v):
        return float("nan"), float("nan")
    upper, lower = stats.f.ppf(tail, cases - 1, v), stats.f.ppf(tail, v, cases - 1)
    mixed = readers * reader + (readers * cases - readers - cases) * residual
    low = cases * (between - upper * residual) / (upper * mixed + cases * between)
    high = cases * (lower * between - residual) / (mixed + cases * lower * between)
    return float(low), float(high)
