"""Wilcoxon's signed-rank test of the per-case mean differences."""

from reader_study.analyses.statistic import Readings, Statistic, quality
from reader_study.analysis_result import Analysis
from reader_study.statistics.non_inferiority import case_differences
from reader_study.statistics.nonparametric import SignedRank, signed_rank
from reader_study.wording import interval, number, p_cell


def _compute(readings: Readings) -> SignedRank:
    primary = readings.protocol.primary
    return signed_rank(case_differences(readings.scores, readings.planned), primary.margin, primary.alpha)


def _line(analysis: Analysis) -> tuple[str, str, str, str, str] | None:
    rank = SIGNED_RANK.of(analysis.primary)
    if rank is None:
        return None
    test = rank.test
    limits = interval(test.low, test.high)
    return test.method, number(test.estimate), limits, "signed ranks", p_cell(test.p_value)


SIGNED_RANK = Statistic(
    "wilcoxon",
    _compute,
    "Wilcoxon signed-rank test and Hodges-Lehmann estimate on the per-case mean differences.",
    line=_line,
    items=quality,
)
