"""Bang's blinding index of each arm (Bang, Ni and Davis 2004)."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from recon.errors import ReconError


@dataclass(frozen=True)
class BlindingIndex:
    """Share guessed correctly minus share guessed wrongly: 0 blinded, 1 all unblinded, -1 all guess the opposite."""

    guesses: int
    index: float
    standard_error: float
    low: float
    high: float
    p_one_sided: float


def blinding_index(correct: int, wrong: int, unknown: int, confidence: float = 0.95) -> BlindingIndex:
    """Bang's index of one arm from the counts of correct, wrong and "do not know" guesses.

    Variance [p1 (1 - p1) + p2 (1 - p2) + 2 p1 p2] / n; the one-sided p value tests index > 0. Raises ReconError
    for negative counts or none at all.
    """
    total = correct + wrong + unknown
    if min(correct, wrong, unknown) < 0 or total == 0:
        raise ReconError("a blinding index needs at least one guess and no negative count")
    right, false = correct / total, wrong / total
    index = right - false
    error = float(np.sqrt((right * (1 - right) + false * (1 - false) + 2 * right * false) / total))
    half = float(stats.norm.ppf(0.5 + confidence / 2)) * error
    p_value = float(stats.norm.sf(index / error)) if error > 0 else (0.0 if index > 0 else 1.0)
    return BlindingIndex(total, index, error, max(index - half, -1.0), min(index + half, 1.0), p_value)
