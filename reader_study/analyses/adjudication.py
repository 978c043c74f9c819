"""What a third reader decided, and what the comparison is without it."""

from dataclasses import dataclass

from reader_study.analyses.statistic import Line, Readings, Statistic, result_line
from reader_study.analysis_result import Analysis
from reader_study.document import Paragraph, ReportBlock, Table
from reader_study.item import Item
from reader_study.observations import Observations
from reader_study.protocol import Protocol
from reader_study.statistics.hypothesis_test import HypothesisTest


@dataclass(frozen=True)
class Adjudicated:
    """Of ``compared`` images the readers ``disagreed`` on some; ``own`` is the comparison by the readers' scores."""

    compared: int
    disagreed: int
    decided: int
    own: HypothesisTest


def _applies(protocol: Protocol) -> bool:
    return protocol.adjudication is not None


def _compute(readings: Readings) -> Adjudicated | None:
    counts, item = readings.found.verdicts, readings.item.id
    if counts is None or item not in counts.disagreed:
        return None
    own = readings.comparison.fixed(readings.own)
    return Adjudicated(counts.compared, counts.disagreed[item], counts.decided[item], own)


def _blocks(analysis: Analysis, observations: Observations) -> tuple[ReportBlock, ...]:
    rule = analysis.protocol.adjudication
    if rule is None:
        return ()
    rows = [
        (item.item, str(found.compared), str(found.disagreed), str(found.decided))
        for item in analysis.items
        if (found := ADJUDICATION.of(item)) is not None
    ]
    text = (
        f"Where the readers' scores of one image lay {rule.difference} points or more apart, the score of "
        f"{rule.reader} ({rule.experience}) stands in their place. On it rest the comparison of these items, that of "
        "their cohorts, missing scores, signed ranks and preference by case; each reader's own comparison, the ordinal "
        "model, agreement, interchangeability, repeats and reading order rest on the readers' own scores. "
        f"{rule.reader} read in one sitting in random order, without washout between the arms of a case, and knew that "
        "these were disagreements."
    )
    if not rows:
        return (Paragraph(f"{text} No adjudicated scores are known: the readers' own stand."),)
    header = ("item", "images scored by two readers or more", "disagreements", "decided")
    return Table(header, tuple(rows)), Paragraph(text)


def _line(analysis: Analysis) -> Line | None:
    found = ADJUDICATION.of(analysis.primary)
    return None if found is None else result_line("Readers' own scores, not adjudicated", found.own, "t")


def _scored(item: Item) -> bool:
    return bool(item.scale) and not item.confidence


ADJUDICATION = Statistic(
    "adjudication",
    _compute,
    "",
    applies=_applies,
    items=_scored,
    section="Adjudication",
    blocks=_blocks,
    line=_line,
    optional=True,
)
