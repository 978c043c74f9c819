"""Drift of the scores over the reading order: fatigue, learning, or a standard that shifts.

Least squares of the score on arm and order with a mean of its own for every case, standard errors clustered by case
(Liang and Zeger 1986), one reader at a time. With twenty cases such errors are too small, so the reference distribution
of t is its own under random exchanges: the order was drawn at random, and without drift the scores of one case could
have stood at the places of any other (Freedman and Lane 1983 for what the other terms explain).
"""

from dataclasses import dataclass

import numpy as np

from reader_study.arrays import Floats
from reader_study.statistics.hypothesis_test import CONFIDENCE

EXCHANGES = 999
FEWEST_CASES = 6


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


def drift(scores: Floats, order: Floats, generator: np.random.Generator) -> OrderDrift | None:
    """Drift of one reader: ``scores`` and ``order`` (from 1), both `[arm, case]`; NaN where missing.

    Of pairs shown together ``order`` is `[case]`: mean score and difference of each pair are regressed on it. None
    where there is nothing to estimate: fewer than six cases seen in both arms, or scores without variation.
    """
    known = (np.isfinite(scores) & np.isfinite(order)).all(axis=0)
    scores, order = scores[:, known], order[..., known]
    if known.sum() < FEWEST_CASES or np.ptp(order) == 0 or np.ptp(scores) == 0:
        return None
    position = (order - order.min()) / np.ptp(order)
    if order.ndim == 1:
        design = np.stack([position, np.ones_like(position)])[:, None]
        slope = _exchanged(scores.mean(axis=0)[None], design, 0, generator)
        extra = _exchanged(np.diff(scores, axis=0), design, 0, generator)
    else:
        arm = np.broadcast_to(np.array([[-0.5], [0.5]]), scores.shape)
        design = np.stack([position, arm, (position - 0.5) * arm])  # [effect, arm, case]
        # Within-case deviations carry the same slopes as one indicator per case, without a hundred columns.
        within, response = design - design.mean(axis=1, keepdims=True), scores - scores.mean(axis=0)
        if np.linalg.matrix_rank(within.reshape(3, -1)) < 3 or np.allclose(response, 0):
            return None
        slope, extra = (_exchanged(response, within, effect, generator) for effect in (0, 2))
    return OrderDrift(position.size, *slope, extra[0], extra[3])


def _exchanged(
    response: Floats, design: Floats, effect: int, generator: np.random.Generator
) -> tuple[float, float, float, float]:
    """(estimate, low, high, p) of one effect: ``response`` `[row, case]`, ``design`` `[effect, row, case]`.

    The residuals of the model without the effect are exchanged between cases, all rows of a case together.
    """
    residual = _residuals(response[None], np.delete(design, effect, axis=0))[0]
    drawn = generator.permuted(np.tile(np.arange(response.shape[1]), (EXCHANGES, 1)), axis=1)
    shuffled = response - residual + np.moveaxis(residual[:, drawn], 1, 0)
    studies = np.concatenate([response[None], shuffled])
    weights = np.linalg.pinv(design.reshape(len(design), -1).T)[effect].reshape(design.shape[1:])
    by_case = (weights * _residuals(studies, design)).sum(axis=1)  # errors are clustered by case
    estimates, errors = (weights * studies).sum(axis=(1, 2)), np.sqrt((by_case**2).sum(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.nan_to_num(np.abs(estimates / errors), nan=0.0)
    value, half = float(estimates[0]), float(np.quantile(t, CONFIDENCE, method="higher") * errors[0])
    return value, value - half, value + half, float((t >= t[0] - 1e-9).mean())


def _residuals(response: Floats, design: Floats) -> Floats:
    """What a least squares fit of ``response`` `[study, row, case]` leaves."""
    columns, flat = design.reshape(len(design), -1).T, response.reshape(len(response), -1)
    return np.asarray((flat - flat @ (columns @ np.linalg.pinv(columns))).reshape(response.shape))
