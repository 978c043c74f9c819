"""Drift of the scores over the reading order: fatigue, learning, or a standard that shifts.

Least squares of the score on arm and order with a mean of its own for every case, standard errors clustered by case
(Liang and Zeger 1986), one reader at a time. With twenty cases such errors are too small, so the reference distribution
of t is its own under random exchanges: the order was drawn at random, and without drift the scores of one case could
have stood at the places of any other (Freedman and Lane 1983 for what the other terms explain).
"""

from dataclasses import dataclass

import numpy as np

from reader_study.arrays import Floats

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

    None where there is nothing to estimate: fewer than six cases seen in both arms, or scores without variation.
    """
    known = np.isfinite(scores).all(axis=0) & np.isfinite(order).all(axis=0)
    scores, order = scores[:, known], order[:, known]
    if known.sum() < FEWEST_CASES or np.ptp(order) == 0 or np.ptp(scores) == 0:
        return None
    position = (order - order.min()) / np.ptp(order)
    arm = np.broadcast_to(np.array([[-0.5], [0.5]]), scores.shape)
    design = np.stack([position, arm, (position - 0.5) * arm])  # [effect, arm, case]
    # Within-case deviations carry the same slopes as one indicator per case, without a hundred columns.
    within = design - design.mean(axis=1, keepdims=True)
    response = scores - scores.mean(axis=0)
    if np.linalg.matrix_rank(within.reshape(3, -1)) < 3 or np.allclose(response, 0):
        return None
    slope = _exchanged(response, within, 0, generator)
    interaction = _exchanged(response, within, 2, generator)
    return OrderDrift(int(scores.size), *slope, interaction[0], interaction[3])


def pair_drift(scores: Floats, order: Floats, generator: np.random.Generator) -> OrderDrift | None:
    """Drift of one reader who sees both arms at once: ``scores`` `[arm, case]`, ``order`` `[case]`.

    Mean score and difference of each pair are regressed on the order.
    """
    known = np.isfinite(scores).all(axis=0) & np.isfinite(order)
    order, scores = order[known], scores[:, known]
    if order.size < FEWEST_CASES or np.ptp(order) == 0 or np.ptp(scores) == 0:
        return None
    position = (order - order.min()) / np.ptp(order)
    design = np.stack([position, np.ones_like(position)])[:, None]
    slope = _exchanged(scores.mean(axis=0)[None], design, 0, generator)
    difference = _exchanged((scores[1] - scores[0])[None], design, 0, generator)
    return OrderDrift(int(order.size), *slope, difference[0], difference[3])


def _exchanged(
    response: Floats, design: Floats, effect: int, generator: np.random.Generator
) -> tuple[float, float, float, float]:
    """(estimate, low, high, p) of one effect: ``response`` `[row, case]`, ``design`` `[effect, row, case]`.

    The residuals of the model without the effect are exchanged between cases, all rows of a case together.
    """
    others = np.delete(design, effect, axis=0)
    fitted, residual = _regress(response[None], others)
    drawn = generator.permuted(np.tile(np.arange(response.shape[1]), (EXCHANGES, 1)), axis=1)
    shuffled = fitted + np.moveaxis(residual[0][:, drawn], 1, 0)
    estimate, error = _estimate(response[None], design, effect)
    estimates, errors = _estimate(shuffled, design, effect)
    with np.errstate(divide="ignore", invalid="ignore"):
        reference = np.nan_to_num(np.abs(estimates / errors), nan=0.0)
    value, standard_error = float(estimate[0]), float(error[0])
    t = abs(value) / standard_error if standard_error > 0 else (0.0 if value == 0 else float("inf"))
    p_value = (1 + int((reference >= t - 1e-9).sum())) / (EXCHANGES + 1)
    half = float(np.quantile(np.append(reference, t), 0.95, method="higher")) * standard_error
    return value, value - half, value + half, p_value


def _regress(response: Floats, design: Floats) -> tuple[Floats, Floats]:
    """Fitted values and residuals of ``response`` `[study, row, case]`."""
    columns = design.reshape(design.shape[0], -1).T
    projector = columns @ np.linalg.pinv(columns)  # symmetric
    fitted = (response.reshape(response.shape[0], -1) @ projector).reshape(response.shape)
    return fitted, response - fitted


def _estimate(response: Floats, design: Floats, effect: int) -> tuple[Floats, Floats]:
    """Coefficient `[study]` of one effect and its standard error clustered by case."""
    weights = np.linalg.pinv(design.reshape(design.shape[0], -1).T)[effect].reshape(design.shape[1:])
    _, residual = _regress(response, design)
    by_case = (weights * residual).sum(axis=1)
    return (weights * response).sum(axis=(1, 2)), np.sqrt((by_case**2).sum(axis=1))
