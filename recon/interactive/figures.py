"""Figures of an interaction: area under the curve, and the number of clicks to a target, which may be censored."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ClicksTo:
    """Clicks until the target was first reached; ``reached`` False: not within ``clicks``, the budget (censored)."""

    clicks: int
    reached: bool


def interaction_area(curve: Sequence[float]) -> float:
    """Area under the curve of agreement after 1, 2, ... clicks by the trapezoid rule, over its length in clicks.

    Between 0 and 1: the mean agreement while clicking. Of a single click, the agreement after it.
    """
    values = np.asarray(curve, float)
    if len(values) == 1:
        return float(values[0])
    return float((values[1:] + values[:-1]).sum() / 2 / (len(values) - 1))


def clicks_to(curve: Sequence[float], target: float) -> ClicksTo:
    """The first number of clicks after which the curve is at least ``target`` (to rounding)."""
    for number, value in enumerate(curve, start=1):
        if value >= target - 1e-12:
            return ClicksTo(number, True)
    return ClicksTo(len(curve), False)


def order(first: ClicksTo, second: ClicksTo) -> int:
    """-1 when ``first`` surely needs fewer clicks than ``second``, 1 when more, 0 when equal or unknown.

    A censored number is known to be larger than the budget, which is the same for both.
    """
    if first.reached and second.reached:
        return int(np.sign(first.clicks - second.clicks))
    return int(second.reached) - int(first.reached)


def reached_by(numbers: Sequence[ClicksTo], budget: int) -> NDArray[np.float64]:
    """The share that has reached the target after 1, 2, ..., ``budget`` clicks: one minus the Kaplan-Meier estimate,
    which is this plain share because nothing is censored before the budget."""
    times = np.array([number.clicks if number.reached else budget + 1 for number in numbers])
    return np.array([(times <= click).mean() for click in range(1, budget + 1)])
