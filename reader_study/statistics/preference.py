"""Paired preference with ties: sign test, and Tango's interval for the difference of two paired proportions."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from reader_study.arrays import Floats
from reader_study.statistics.hypothesis_test import CONFIDENCE
from recon.errors import ReconError


@dataclass(frozen=True)
class Preference:
    """Counts of cases and the share preferring the new minus the share preferring the reference, Tango's interval."""

    prefer_new: int
    prefer_reference: int
    ties: int
    net: float
    low: float
    high: float
    confidence: float
    p_sign_test: float


def tango_interval(b: int, c: int, n: int) -> tuple[float, float]:
    """Score interval of (b - c) / n, ``b`` and ``c`` the discordant counts of ``n`` pairs (Tango 1998).

    Raises ReconError for counts that do not fit into ``n``.
    """
    if min(b, c) < 0 or n < 1 or b + c > n:
        raise ReconError(f"discordant counts {b} and {c} do not fit into {n} pairs")
    critical = float(stats.norm.ppf(0.5 + CONFIDENCE / 2))

    def lower(b: int, c: int) -> float:
        def excess(delta: float) -> float:
            return float(tango_score(b, c, n, delta)) - critical

        return float(optimize.brentq(excess, -1.0, (b - c) / n, xtol=1e-12)) if excess(-1.0) > 0 else -1.0

    return lower(b, c), -lower(c, b)


def tango_score(b: npt.ArrayLike, c: npt.ArrayLike, n: int, delta: float) -> Floats:
    """Score statistic of discordant counts ``b`` and ``c`` (any shape) of ``n`` pairs at a difference ``delta``.

    The variance is that at the constrained maximum of the likelihood (Tango 1998).
    """
    b, c = np.asarray(b), np.asarray(c)
    linear = -b - c + (2 * n - b + c) * delta
    constant = -c * delta * (1 - delta)
    q21 = (np.sqrt(np.maximum(linear**2 - 8 * n * constant, 0.0)) - linear) / (4 * n)
    variance = n * np.maximum(2 * q21 + delta * (1 - delta), 0.0)
    return np.asarray((b - c - n * delta) / np.sqrt(np.maximum(variance, 1e-9)))


def preference(prefer_new: int, prefer_reference: int, ties: int) -> Preference:
    """Preference of one reader (or of per-case majorities): each case counts once, ties stay in the denominator.

    The sign test (exact binomial, two-sided) uses the untied cases.
    """
    total = prefer_new + prefer_reference + ties
    if min(prefer_new, prefer_reference, ties) < 0 or total == 0:
        raise ReconError("a preference needs at least one case and no negative count")
    low, high = tango_interval(prefer_new, prefer_reference, total)
    untied = prefer_new + prefer_reference
    p_value = float(stats.binomtest(prefer_new, untied, 0.5).pvalue) if untied else 1.0
    return Preference(
        prefer_new, prefer_reference, ties, (prefer_new - prefer_reference) / total, low, high, CONFIDENCE, p_value
    )
