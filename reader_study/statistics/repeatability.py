"""Agreement of one reader's first and second reading of the same images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reader_study.arrays import Floats
from reader_study.statistics.agreement import cohen, cross_table


@dataclass(frozen=True)
class Repeatability:
    """Agreement of one reader's first and second reading of the same images.

    ``within_deviation`` is the within-reader standard deviation in score points, sqrt(mean d^2 / 2); ``kappa`` is
    quadratically weighted, NaN where only one score occurs.
    """

    pairs: int
    exact_agreement: float
    within_one_point: float
    mean_change: float
    within_deviation: float
    kappa: float


def repeatability(first: Floats, second: Floats, scale: Sequence[int]) -> Repeatability | None:
    """Repeatability from paired readings `[image]` on ``scale``, NaN where missing; None if nothing was read twice."""
    change = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    change = change[np.isfinite(change)]
    if change.size == 0:
        return None
    return Repeatability(
        pairs=int(change.size),
        exact_agreement=float((change == 0).mean()),
        within_one_point=float((np.abs(change) <= 1).mean()),
        mean_change=float(change.mean()),
        within_deviation=float(np.sqrt((change**2).mean() / 2)),
        kappa=cohen(cross_table(first, second, scale), "quadratic").kappa,
    )
