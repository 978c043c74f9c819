"""Drift of the scores over the reading order: fatigue, learning, or a standard that shifts.

Ordinary least squares of the score on arm and order with a mean of its own for every case, standard errors
clustered by case (Liang and Zeger 1986), one reader at a time, through statsmodels.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import statsmodels.api as sm

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class OrderDrift:
    """Change of a reader's score from the first to the last presentation, and how much more the new arm changes.

    ``slope`` in score points over the whole reading; ``interaction`` is the extra slope of the new arm.
    """

    presentations: int
    slope: float
    slope_low: float
    slope_high: float
    slope_p: float
    interaction: float
    interaction_p: float


def drift(scores: Floats, order: Floats, arm: Floats, case: npt.NDArray[np.int64]) -> OrderDrift | None:
    """Drift of one reader: ``scores``, ``order`` (from 1), ``arm`` (0 or 1) and ``case``, all `[presentation]`.

    None where there is nothing to estimate: fewer than five cases seen twice, or scores without variation.
    """
    known = np.isfinite(scores) & np.isfinite(order)
    scores, order, arm, case = scores[known], order[known], arm[known], case[known]
    _, case, counts = np.unique(case, return_inverse=True, return_counts=True)
    if (counts >= 2).sum() < 5 or np.ptp(order) == 0 or np.ptp(scores) == 0:
        return None
    position = (order - order.min()) / np.ptp(order)
    design = np.column_stack([position, arm, (position - 0.5) * (arm - 0.5)])
    # Within-case deviations carry the same slopes as one indicator per case, without a hundred columns.
    within = design - _case_means(design, case, counts)
    response = scores - _case_means(scores[:, None], case, counts)[:, 0]
    if np.linalg.matrix_rank(within) < within.shape[1] or np.allclose(response, 0):
        return None
    found = sm.OLS(response, within).fit(cov_type="cluster", cov_kwds={"groups": case}, use_t=True)
    low, high = found.conf_int()[0]
    return OrderDrift(
        int(scores.size),
        float(found.params[0]),
        float(low),
        float(high),
        float(found.pvalues[0]),
        float(found.params[2]),
        float(found.pvalues[2]),
    )


def pair_drift(scores: Floats, order: Floats) -> OrderDrift | None:
    """Drift of one reader who sees both arms at once: ``scores`` `[arm, case]`, ``order`` `[case]`.

    Mean score and difference of each pair are regressed on the order; heteroscedasticity-robust errors (HC3).
    """
    known = np.isfinite(scores).all(axis=0) & np.isfinite(order)
    order, scores = order[known], scores[:, known]
    if order.size < 5 or np.ptp(order) == 0 or np.ptp(scores) == 0:
        return None
    design = sm.add_constant((order - order.min()) / np.ptp(order))
    mean = sm.OLS(scores.mean(axis=0), design).fit(cov_type="HC3", use_t=True)
    difference = sm.OLS(scores[1] - scores[0], design).fit(cov_type="HC3", use_t=True)
    low, high = mean.conf_int()[1]
    return OrderDrift(
        int(order.size),
        float(mean.params[1]),
        float(low),
        float(high),
        float(mean.pvalues[1]),
        float(difference.params[1]),
        float(difference.pvalues[1]),
    )


def _case_means(values: Floats, case: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> Floats:
    sums = np.zeros((counts.size, values.shape[1]))
    np.add.at(sums, case, values)
    return np.asarray((sums / counts[:, None])[case])
