"""Did the readers recognise the arms?"""

from reader_study.analyses.statistic import Readings, Statistic
from reader_study.analysis_result import Analysis
from reader_study.document import Paragraph, ReportBlock, Table
from reader_study.observations import Observations
from reader_study.statistics.blinding_index import BlindingIndex, blinding_index
from reader_study.wording import interval, number, p_cell

SECTION = "Blinding, flags and reading time"


def _compute(readings: Readings) -> dict[str, BlindingIndex]:
    """By "reader, arm"."""
    return {
        f"{row.reader}, {row.arm}": blinding_index(row.correct, row.wrong, row.unknown)
        for row in readings.found.guesses
    }


def _blocks(analysis: Analysis, observations: Observations) -> tuple[ReportBlock, ...]:
    rows = [
        (name, str(found.guesses), number(found.index), interval(found.low, found.high), p_cell(found.p_one_sided))
        for name, found in (BLINDING.of(analysis) or {}).items()
    ]
    if not rows:
        return (Paragraph("The readers' guesses of the arm were not collected: blinding is not tested."),)
    caption = (
        "Bang's blinding index: 0 is guessing, 1 all arms recognised, −1 all mistaken; p is one-sided for above 0."
    )
    return (Table(("reader, arm", "guesses", "index", "95 %", "p"), tuple(rows), caption),)


BLINDING = Statistic(
    "blinding",
    _compute,
    "Blinding: Bang's index for every reader and arm.",
    per_item=False,
    section=SECTION,
    blocks=_blocks,
)
