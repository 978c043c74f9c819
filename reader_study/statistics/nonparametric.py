"""Wilcoxon signed-rank test and the Hodges-Lehmann estimate of per-case differences on a coarse scale.

Means of Likert scores have few values, so that many differences and many Walsh averages are tied. The textbook interval
counts every tie for itself and covers 99 % instead of 95 %. Here the test that is inverted is the conditional one, its
variance the sum of the squared midranks (Pratt 1959), and between two neighbouring Walsh averages its statistic is
interpolated: the differences are taken as grouped.
"""

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from scipy import stats

from reader_study.arrays import Floats
from reader_study.statistics.hypothesis_test import HypothesisTest, check_margin, quotient
from recon.errors import ReconError


@dataclass(frozen=True)
class SignedRank:
    """Pseudo-median of the differences with its confidence interval, and Wilcoxon's tests of it.

    ``statistic`` and ``p_difference`` of ``test`` belong to symmetry about zero, ``p_value`` to symmetry about the
    margin; ``non_zero`` differences have a sign.
    """

    non_zero: int
    test: HypothesisTest


def walsh_averages(differences: Floats) -> Floats:
    """The different means of two differences (each with itself too), sorted."""
    first, second = np.triu_indices(differences.size)
    return np.asarray(np.unique(np.round((differences[first] + differences[second]) / 2, 12)))


def signed_ranks(differences: Floats, centre: float) -> tuple[float, float]:
    """(sum of signed midranks of the differences from ``centre``, its standard deviation under symmetry).

    Zeros are ranked and have no sign (Pratt 1959). The sum is the number of Walsh averages above ``centre`` minus the
    number below.
    """
    moved = np.round(differences - centre, 12)
    ranks, signs = stats.rankdata(np.abs(moved)), np.sign(moved)
    return float((signs * ranks).sum()), float(np.sqrt(((signs * ranks) ** 2).sum()))


def signed_rank(differences: Floats, margin: float, alpha: float = 0.025) -> SignedRank:
    """Wilcoxon signed-rank test and Hodges-Lehmann estimate of ``differences`` `[case]`, at ``1 - 2 alpha``.

    Raises ReconError for a negative margin, and where there is no case.
    """
    check_margin(margin, alpha)
    differences = np.asarray(differences, dtype=np.float64)
    if differences.size == 0:
        raise ReconError("signed ranks need a case that every reader scored in both arms")
    averages = walsh_averages(differences)
    critical = float(stats.norm.ppf(1 - alpha))
    at_zero, at_margin = (_standardised(differences, centre) for centre in (0.0, -margin))
    low, estimate, high = (_crossing(differences, averages, level) for level in (critical, 0.0, -critical))
    found = HypothesisTest(
        method="Wilcoxon signed rank, Hodges-Lehmann",
        cases=differences.size,
        estimate=estimate,
        margin=margin,
        alpha=alpha,
        statistic=at_zero,
        p_value=float(stats.norm.sf(at_margin)),
        p_difference=float(2 * stats.norm.sf(abs(at_zero))),
        low=low,
        high=high,
    )
    return SignedRank(int(np.count_nonzero(differences)), found)


def _standardised(differences: Floats, centre: float) -> float:
    return quotient(*signed_ranks(differences, centre))


def _crossing(differences: Floats, averages: Floats, level: float) -> float:
    """Where the standardised statistic, which falls with the centre, passes ``level``."""
    above = bisect_left(averages, -level, key=lambda centre: -_standardised(differences, centre))
    around = averages[max(above - 1, 0) : above + 1]
    return float(np.interp(-level, [-_standardised(differences, centre) for centre in around], around))
