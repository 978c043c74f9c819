"""Tuning a method on the reference: an oracle for benchmarks only, which no real reconstruction has.

``recon benchmark`` grants it to CG-SENSE and L1-wavelet, so that no default of ours can put them at a disadvantage.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from recon.errors import ReconError
from recon.quality.metrics import nrmse


@dataclass(frozen=True)
class OracleResult:
    """The reconstruction with the least NRMSE against the reference."""

    image: ArrayLike
    weight: float
    nrmse: float
    evaluations: int
    at_the_edge: bool  # the best weight is the smallest or largest that was tried: widen the range


def best_over_weights(
    reconstruct: Callable[[float], ArrayLike],
    reference: ArrayLike,
    weights: Sequence[float],
    refinements: int = 6,
    mask: ArrayLike | None = None,
) -> OracleResult:
    """The reconstruction of least NRMSE over ``weights`` (rising, positive, e.g. one an octave), then over a golden-
    section search of ``refinements`` evaluations in the logarithm of the weight between the best one's neighbours.

    ``reconstruct(weight)`` gives an image of the reference's shape, complex or magnitude; ``mask`` as in ``metrics``.
    Raises ReconError when the weights are not positive and rising, or an image cannot be compared.
    """
    logs = [math.log(weight) if weight > 0 else math.nan for weight in weights]
    if not logs or not all(np.diff(logs) > 0) or not np.isfinite(logs).all():
        raise ReconError(f"weights to try must be positive and rising, not {list(weights)}")
    best: tuple[float, float, ArrayLike] | None = None

    def error(log: float) -> float:
        nonlocal best
        image = reconstruct(math.exp(log))
        value = nrmse(image, reference, mask)
        if best is None or value < best[0]:
            best = (value, log, image)
        return value

    errors = [error(log) for log in logs]
    index = int(np.argmin(errors))
    evaluations = len(logs)
    interior = 0 < index < len(logs) - 1
    if interior:
        low, high = logs[index - 1], logs[index + 1]
        ratio = (math.sqrt(5) - 1) / 2
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        at_left = at_right = math.nan
        for step in range(refinements):
            if step == 0:
                at_left = error(left)
            elif step == 1:
                at_right = error(right)
            elif at_left < at_right:
                high, right, at_right = right, left, at_left
                left = high - ratio * (high - low)
                at_left = error(left)
            else:
                low, left, at_left = left, right, at_right
                right = low + ratio * (high - low)
                at_right = error(right)
            evaluations += 1
    assert best is not None
    value, log, image = best
    return OracleResult(image, math.exp(log), value, evaluations, not interior and len(logs) > 1)
