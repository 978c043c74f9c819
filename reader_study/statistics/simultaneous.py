"""Several new arms against one reference: which claims hold together, and bounds that hold together with them.

Holm's step-down procedure (Holm 1979), or a fixed sequence of tests at the full error rate (Maurer, Hothorn and
Lehmacher 1995). The lower bounds are those that fit the procedure (Strassburger and Bretz, Statistics in Medicine 27
(2008) 4914; Guilbaud, Biometrical Journal 50 (2008) 678): all of them cover together with probability ``1 - alpha``,
and one lies above the margin exactly where the claim is made or, at the margin, is all that can be said of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from reader_study.arrays import Floats
from reader_study.statistics.hypothesis_test import HypothesisTest


@dataclass(frozen=True)
class Together:
    """One test of a family. ``low`` to ``high`` are Bonferroni's: all intervals cover together ``1 - 2 alpha``.

    ``lower_bound`` is the procedure's simultaneous bound: minus infinity for what a fixed sequence did not reach.
    """

    name: str
    p_value: float
    p_adjusted: float
    claimed: bool
    lower_bound: float
    low: float
    high: float


def adjusted(p_values: Floats, order: Sequence[int] = ()) -> Floats:
    """Adjusted one-sided p values `[..., test]`: Holm's, or with an ``order`` of testing those of a fixed sequence."""
    p_values = np.asarray(p_values, dtype=np.float64)
    if order:
        changed = np.empty_like(p_values)
        changed[..., list(order)] = np.maximum.accumulate(p_values[..., list(order)], axis=-1)
        return changed
    ranked = np.argsort(p_values, axis=-1)  # statsmodels adjusts one family at a time; a simulation has thousands
    factors = np.arange(p_values.shape[-1], 0, -1)
    stepped = np.maximum.accumulate(np.take_along_axis(p_values, ranked, axis=-1) * factors, axis=-1)
    changed = np.empty_like(p_values)
    np.put_along_axis(changed, ranked, np.minimum(stepped, 1.0), axis=-1)
    return changed


def decide(names: Sequence[str], tests: Sequence[HypothesisTest], order: Sequence[int] = ()) -> tuple[Together, ...]:
    """The claims of a family of tests with one ``alpha`` and one margin; ``order`` (positions): a fixed sequence."""
    alpha = tests[0].alpha
    changed = adjusted(np.array([test.p_value for test in tests]), order)
    claimed = [bool(p < alpha) for p in changed]
    levels = _levels(claimed, order, alpha)
    found = []
    for name, test, p, claim, level in zip(names, tests, changed, claimed, levels, strict=True):
        bound = _bound(test, level) if level > 0 else -np.inf
        if claim:  # the claim itself is a bound: above the margin
            bound = max(bound, -test.margin)
        half = _bound(test, alpha / len(tests))
        found.append(Together(name, test.p_value, float(p), claim, bound, half, 2 * test.estimate - half))
    return tuple(found)


def _levels(claimed: Sequence[bool], order: Sequence[int], alpha: float) -> list[float]:
    """One-sided error rate of each bound; 0 where the data give none beyond the claim."""
    count = len(claimed)
    if all(claimed):  # the whole rate is free again, shared equally
        return [alpha / count] * count
    if order:
        first = next(place for place in order if not claimed[place])
        return [alpha if place == first else 0.0 for place in range(count)]
    left = claimed.count(False)
    return [0.0 if claim else alpha / left for claim in claimed]


def _bound(test: HypothesisTest, level: float) -> float:
    return test.estimate - float(stdtrit(test.df, 1 - level)) * test.standard_error
