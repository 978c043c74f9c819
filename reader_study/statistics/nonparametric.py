"""Wilcoxon signed-rank test and the Hodges-Lehmann estimate of per-case differences."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SignedRank:
    """Pseudo-median of the differences with its confidence interval, and Wilcoxon's two-sided p value.

    ``p_value`` tests symmetry about zero; ``p_non_inferiority`` is one-sided for ``difference + margin``.
    """

    cases: int
    non_zero: int
    estimate: float
    low: float
    high: float
    confidence: float
    statistic: float
    p_value: float
    p_non_inferiority: float


def walsh_averages(differences: Floats) -> Floats:
    """All means of two differences (each with itself too), sorted: `[case]` to `[case (case + 1) / 2]`."""
    first, second = np.triu_indices(differences.size)
    return np.sort((differences[first] + differences[second]) / 2)


def signed_rank(differences: Floats, margin: float, confidence: float = 0.95) -> SignedRank:
    """Wilcoxon signed-rank test (zeros dropped) and Hodges-Lehmann estimate of ``differences`` `[case]`.

    The interval inverts the signed-rank test on the Walsh averages (normal approximation, Hollander and Wolfe).
    """
    differences = np.asarray(differences, dtype=np.float64)
    count = differences.size
    averages = walsh_averages(differences)
    centre = count * (count + 1) / 4
    spread = np.sqrt(count * (count + 1) * (2 * count + 1) / 24)
    rank = int(np.floor(centre - stats.norm.ppf(0.5 + confidence / 2) * spread))
    rank = min(max(rank, 0), averages.size // 2)
    non_zero = int(np.count_nonzero(differences))
    statistic, p_value = (0.0, 1.0)
    if non_zero:
        test = stats.wilcoxon(differences, zero_method="wilcox", method="approx", correction=False)
        statistic, p_value = float(test.statistic), float(test.pvalue)
    shifted = differences + margin
    p_margin = 1.0
    if np.any(shifted):
        p_margin = float(stats.wilcoxon(shifted, alternative="greater", method="approx").pvalue)
    return SignedRank(
        count,
        non_zero,
        float(np.median(averages)),
        float(averages[rank]),
        float(averages[averages.size - 1 - rank]),
        confidence,
        statistic,
        p_value,
        p_margin,
    )
