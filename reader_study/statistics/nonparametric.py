"""Wilcoxon signed-rank test and the Hodges-Lehmann estimate of per-case differences."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from reader_study.statistics.hypothesis_test import HypothesisTest, check_margin

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SignedRank:
    """Pseudo-median of the differences with its confidence interval, and Wilcoxon's tests of it.

    ``statistic`` and ``p_difference`` of ``test`` belong to symmetry about zero over the ``non_zero`` differences,
    ``p_value`` to the differences + margin.
    """

    non_zero: int
    test: HypothesisTest


def walsh_averages(differences: Floats) -> Floats:
    """All means of two differences (each with itself too), sorted: `[case]` to `[case (case + 1) / 2]`."""
    first, second = np.triu_indices(differences.size)
    return np.sort((differences[first] + differences[second]) / 2)


def signed_rank(differences: Floats, margin: float, alpha: float = 0.025) -> SignedRank:
    """Wilcoxon signed-rank test (zeros dropped) and Hodges-Lehmann estimate of ``differences`` `[case]`.

    The interval inverts the signed-rank test on the Walsh averages (normal approximation, Hollander and Wolfe).
    Raises ReconError for a negative margin.
    """
    check_margin(margin, alpha)
    differences = np.asarray(differences, dtype=np.float64)
    count = differences.size
    averages = walsh_averages(differences)
    centre = count * (count + 1) / 4
    deviation = np.sqrt(count * (count + 1) * (2 * count + 1) / 24)
    rank = int(np.floor(centre - stats.norm.ppf(1 - alpha) * deviation))
    rank = min(max(rank, 0), averages.size // 2)
    non_zero = int(np.count_nonzero(differences))
    statistic, p_difference, p_margin = 0.0, 1.0, 1.0
    if non_zero:
        test = stats.wilcoxon(differences, zero_method="wilcox", method="approx", correction=False)
        statistic, p_difference = float(test.statistic), float(test.pvalue)
    shifted = differences + margin
    if np.any(shifted):
        p_margin = float(stats.wilcoxon(shifted, alternative="greater", method="approx").pvalue)
    found = HypothesisTest(
        method="Wilcoxon signed rank, Hodges-Lehmann",
        cases=count,
        estimate=float(np.median(averages)),
        standard_error=float("nan"),
        df=float("nan"),
        margin=margin,
        alpha=alpha,
        alternative="greater",
        statistic=statistic,
        p_value=p_margin,
        p_difference=p_difference,
        low=float(averages[rank]),
        high=float(averages[averages.size - 1 - rank]),
    )
    return SignedRank(non_zero, found)
