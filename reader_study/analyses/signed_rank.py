"""Wilcoxon's signed-rank test of the per-case mean differences."""

from reader_study.analyses.statistic import Line, Readings, Statistic, quality, result_line
from reader_study.analysis_result import Analysis
from reader_study.statistics.non_inferiority import case_differences
from reader_study.statistics.nonparametric import SignedRank, signed_rank


def _compute(readings: Readings) -> SignedRank:
    primary = readings.protocol.primary
    return signed_rank(case_differences(readings.scores, readings.planned), primary.margin, primary.alpha)


def _line(analysis: Analysis) -> Line | None:
    rank = SIGNED_RANK.of(analysis.primary)
    return None if rank is None else result_line(rank.test.method, rank.test, "signed ranks")


SIGNED_RANK = Statistic(
    "wilcoxon",
    _compute,
    "Wilcoxon signed-rank test and Hodges-Lehmann estimate on the per-case mean differences.",
    line=_line,
    items=quality,
)
