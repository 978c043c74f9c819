"""Agreement of each reader's first and second reading of the same image."""

from reader_study.analyses.statistic import Readings, Statistic
from reader_study.analysis_result import Analysis
from reader_study.document import Paragraph, ReportBlock, Table
from reader_study.observations import Observations
from reader_study.statistics.repeatability import Repeatability, repeatability
from reader_study.wording import number

_HEADER = (
    *("item", "reader, arm", "repeats", "same score, %", "±1 point, %"),
    *("mean change", "within SD", "weighted kappa"),
)


def _compute(readings: Readings) -> dict[str, Repeatability]:
    """By "reader, arm"; in preference mode the answers belong to the pair."""
    first, second = readings.raw, readings.found.repeats[readings.item.id]
    agreed = {}
    for index, reader in enumerate(readings.found.readers):
        for arm, name in enumerate(readings.arms):
            if readings.item.scale or arm == 1:
                result = repeatability(first[arm, index], second[arm, index], readings.scale)
                if result is not None:
                    agreed[f"{reader}, {name}"] = result
    return agreed


def _blocks(analysis: Analysis, observations: Observations) -> tuple[ReportBlock, ...]:
    rows = []
    for item in analysis.items:
        for name, found in (REPEATABILITY.of(item) or {}).items():
            shares = [number(100 * share, 0) for share in (found.exact_agreement, found.within_one_point)]
            rest = [number(value) for value in (found.mean_change, found.within_deviation, found.kappa)]
            rows.append((item.item, name, str(found.pairs), *shares, *rest))
    if not rows:
        return (Paragraph("No case was read twice by one reader: agreement within readers is not known."),)
    return (Table(_HEADER, tuple(rows), "First against second reading of the same image.", text_columns=2),)


REPEATABILITY = Statistic(
    "repeatability",
    _compute,
    "Within readers: shares of equal scores, mean change, within-reader standard deviation sqrt(mean d^2 / 2) and "
    "quadratically weighted kappa of first and second readings.",
    section="Agreement within each reader",
    folded=True,
    blocks=_blocks,
)
