"""Spots that the readers marked, by kind and arm."""

from dataclasses import dataclass

from statsmodels.stats.contingency_tables import mcnemar

from reader_study.analyses.blinding import SECTION
from reader_study.analyses.statistic import Readings, Statistic
from reader_study.analysis_result import Analysis
from reader_study.document import ReportBlock, Table
from reader_study.observations import Observations
from reader_study.wording import p_cell


@dataclass(frozen=True)
class FlagCount:
    """Cases of each arm in which at least one reader marked ``kind``; exact McNemar p value."""

    kind: str
    reference: int
    new: int
    only_reference: int
    only_new: int
    p_value: float


def _compute(readings: Readings) -> tuple[FlagCount, ...]:
    rows = []
    found = readings.found
    for kind in readings.protocol.viewing.flags:
        marked = [{flag.case for flag in found.flags if flag.kind == kind and flag.arm == arm} for arm in (0, 1)]
        only = (len(marked[0] - marked[1]), len(marked[1] - marked[0]))
        both = len(marked[0] & marked[1])
        table = [[both, only[0]], [only[1], len(found.cases) - both - sum(only)]]
        p_value = float(mcnemar(table, exact=True).pvalue) if sum(only) else 1.0
        rows.append(FlagCount(kind, len(marked[0]), len(marked[1]), *only, p_value))
    return tuple(rows)


def _blocks(analysis: Analysis, observations: Observations) -> tuple[ReportBlock, ...]:
    names = (analysis.protocol.reference, analysis.protocol.new)
    rows = []
    for flag in FLAGS.of(analysis) or ():
        counts = (flag.reference, flag.new, flag.only_reference, flag.only_new)
        rows.append((flag.kind, *(str(count) for count in counts), p_cell(flag.p_value)))
    if not rows:
        return ()
    header = ("flag", *names, *(f"only {name}" for name in names), "p")
    return (Table(header, tuple(rows), "Cases that at least one reader flagged; p by the exact McNemar test."),)


FLAGS = Statistic(
    "flags",
    _compute,
    "Flags: exact McNemar test on cases.",
    per_item=False,
    section=SECTION,
    blocks=_blocks,
)
