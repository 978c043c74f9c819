"""Scores of every item, arm and reader as given."""

from reader_study.analyses.statistic import Readings, Statistic
from reader_study.analysis_result import Analysis
from reader_study.document import Picture, ReportBlock, Table
from reader_study.figures.likert import ItemShares, likert
from reader_study.observations import Observations
from reader_study.statistics.descriptive import Descriptive, describe
from reader_study.wording import number

_BEST = {
    "higher-is-better": "highest",
    "lower-is-better": "lowest",
    "higher-is-present": "none; highest: condition present",
    "lower-is-present": "none; lowest: condition present",
}


def _compute(readings: Readings) -> tuple[Descriptive, ...]:
    found = []
    for arm, name in enumerate(readings.arms):
        if not readings.item.scale and arm == 0:
            continue  # a preference belongs to the pair
        for reader, values in [
            ("all", readings.raw[arm]),
            *zip(readings.found.readers, readings.raw[arm], strict=True),
        ]:
            row = describe(values, readings.scale, name, reader)
            if row is not None:
                found.append(row)
    return tuple(found)


def _blocks(analysis: Analysis, found: Observations) -> tuple[ReportBlock, ...]:
    rows, shares = [], []
    for item in analysis.items:
        together = tuple(row for row in DESCRIPTIVE.of(item) or () if row.reader == "all")
        shares.append(ItemShares(item.item, item.direction.startswith("lower-is-"), item.primary, together))
        for row in together:
            counts = " · ".join(str(count) for count in row.counts.values())
            best = _BEST.get(item.direction, "new arm, +1")
            rows.append((item.item, row.arm, best, number(row.mean), number(row.median, 1), counts))
    header = ("item", "arm", "best score", "mean", "median", "readings at each score, lowest first")
    legend = (
        "Share of every score in per cent, all readers together, as given; blue is the good end of each scale (of a "
        "rating of confidence: condition present). "
        "Descriptive: readings of one case are not independent."
    )
    return Picture("likert", likert(shares), legend), Table(header, tuple(rows), text_columns=3)


DESCRIPTIVE = Statistic("descriptive", _compute, "", section="Scores", blocks=_blocks)
