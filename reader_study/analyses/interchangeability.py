"""Does one reader on the new image disagree with the others more than on the reference?"""

from reader_study.analyses.preference import SECTION
from reader_study.analyses.statistic import Readings, Statistic, scored
from reader_study.analysis_result import Analysis
from reader_study.document import ReportBlock, Table
from reader_study.observations import Observations
from reader_study.protocol import Protocol
from reader_study.statistics.interchangeability import Interchangeability, interchangeability
from reader_study.wording import interval, number

TOLERANCES = {"exact": 0.0, "±1 point": 1.0}


def _applies(protocol: Protocol) -> bool:
    return scored(protocol) and len(protocol.readers) > 1


def _compute(readings: Readings) -> dict[str, Interchangeability]:
    return {
        name: interchangeability(
            readings.own_compared, readings.expected, readings.generator, tolerance, readings.replicates
        )
        for name, tolerance in TOLERANCES.items()
    }


def _blocks(analysis: Analysis, observations: Observations) -> tuple[ReportBlock, ...]:
    rows = []
    for item in analysis.items:
        for label, found in (INTERCHANGEABILITY.of(item) or {}).items():
            shares = [100 * found.disagree_reference_reference, 100 * found.disagree_new_reference]
            cells = [number(share, 1) for share in (*shares, 100 * found.difference)]
            rows.append((item.item, label, *cells, interval(100 * found.low, 100 * found.high, 1)))
    if not rows:
        return ()
    header = ("item", "agreement", "both on reference", "one on new", "added", "95 %")
    return (Table(header, tuple(rows), "Disagreement between two readers in per cent of cases.", text_columns=2),)


INTERCHANGEABILITY = Statistic(
    "interchangeability",
    _compute,
    "Interchangeability: probability that two different readers disagree when one reads the new image, minus the same "
    "with both on the reference; 95 % percentile interval from a bootstrap of the cases.",
    applies=_applies,
    section=SECTION,
    blocks=_blocks,
)
