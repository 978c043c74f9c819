"""Change of the scores over the reading order, reader by reader."""

from reader_study.analyses.statistic import Readings, Statistic
from reader_study.analysis_result import Analysis
from reader_study.document import Paragraph, Picture, ReportBlock, Table
from reader_study.figures.reading_order import reading_order
from reader_study.observations import Observations
from reader_study.statistics.drift import OrderDrift, drift
from reader_study.wording import interval, number, p_cell

_LEGEND = (
    "Item {item} over the reading order, one point a reading (shaken), lines are running means. "
    "A slope shared by both arms is fatigue or learning and cancels in the comparison."
)


def _compute(readings: Readings) -> dict[str, OrderDrift]:
    drifts = {}
    for index, reader in enumerate(readings.found.readers):
        order = readings.found.order[:, index]
        result = drift(readings.own[:, index], order[1] if readings.protocol.paired else order, readings.generator)
        if result is not None:
            drifts[reader] = result
    return drifts


def _blocks(analysis: Analysis, observations: Observations) -> tuple[ReportBlock, ...]:
    item, drifts = analysis.primary.item, DRIFT.of(analysis.primary)
    blocks: list[ReportBlock] = []
    figure = reading_order(analysis, observations)
    if figure is not None:
        blocks.append(Picture("order", figure, _LEGEND.format(item=item)))
    if analysis.protocol.located(analysis.protocol.item(item)):
        return (*blocks, Paragraph(f"Item {item} is answered by marks, whose reading order is not analysed."))
    if not drifts:
        return (*blocks, Paragraph("The reading order is not known."))
    rows = []
    for name, found in drifts.items():
        slope = (number(found.slope), interval(found.slope_low, found.slope_high), p_cell(found.slope_p))
        extra = (number(found.interaction), p_cell(found.interaction_p))
        rows.append((name, str(found.presentations), *slope, *extra))
    header = ("reader", "readings", "change, first to last", "95 %", "p", "extra change of new arm", "p")
    return (*blocks, Table(header, tuple(rows), f"Item {item}, points over the whole reading."))


DRIFT = Statistic(
    "drift",
    _compute,
    "Reading order: change of the score from the first to the last reading within cases; the interaction is the extra "
    "change of the new arm. Pairs shown together: regression of the pair's mean and difference on the order. p and "
    "interval from t with errors clustered by case under 999 exchanges of the cases' scores.",
    section="Reading order",
    blocks=_blocks,
)
