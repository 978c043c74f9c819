"""Did the readers recognise the arms?"""

from dataclasses import dataclass

import numpy as np

from reader_study.analyses.statistic import Readings, Statistic
from reader_study.analysis_result import Analysis
from reader_study.document import Paragraph, ReportBlock, Table
from reader_study.observations import Observations
from reader_study.statistics.blinding_index import BlindingIndex, JamesIndex, blinding_index, james_index
from reader_study.wording import interval, number, p_cell

SECTION = "Blinding, flags and reading time"
ALL = "all"


@dataclass(frozen=True)
class Blinding:
    """Bang's index by "reader, arm" and James' by reader; ``ALL`` for the readers together."""

    bang: dict[str, BlindingIndex]
    james: dict[str, JamesIndex]


def _compute(readings: Readings) -> Blinding | None:
    counts: dict[str, dict[str, tuple[int, int, int]]] = {}
    for row in readings.found.guesses:
        counts.setdefault(row.reader, {})[row.arm] = (row.correct, row.wrong, row.unknown)
    if not counts:
        return None
    if len(counts) > 1:
        arms = dict.fromkeys(row.arm for row in readings.found.guesses)
        absent = (0, 0, 0)
        counts[ALL] = {
            arm: tuple(np.sum([by_arm.get(arm, absent) for by_arm in counts.values()], axis=0).tolist()) for arm in arms
        }
    bang = {
        f"{reader}, {arm}": blinding_index(*tally)
        for reader, by_arm in counts.items()
        for arm, tally in by_arm.items()
        if sum(tally)
    }
    james = {
        reader: james_index(by_arm[readings.arms[0]], by_arm[readings.arms[1]], readings.generator)
        for reader, by_arm in counts.items()
        if all(sum(by_arm.get(arm, ())) for arm in readings.arms)  # a guess about a pair is of no single arm
    }
    return Blinding(bang, james)


def _blocks(analysis: Analysis, observations: Observations) -> tuple[ReportBlock, ...]:
    found = BLINDING.of(analysis)
    if found is None:
        return (Paragraph("The readers' guesses of the arm were not collected: blinding is not tested."),)
    bang = [
        (name, str(one.guesses), number(one.index), interval(one.low, one.high), p_cell(one.p_one_sided))
        for name, one in found.bang.items()
    ]
    caption = (
        "Bang's blinding index: 0 is guessing, 1 all arms recognised, −1 all mistaken; p is one-sided for above 0."
    )
    blocks = [Table(("reader, arm", "guesses", "index", "95 %", "p"), tuple(bang), caption)]
    if found.james:
        james = [
            (name, str(one.guesses), number(one.index), interval(one.low, one.high))
            for name, one in found.james.items()
        ]
        caption = "James' blinding index: 0 is all arms recognised, 0.5 guessing, 1 nobody can tell."
        blocks.append(Table(("reader", "guesses", "index", "95 %"), tuple(james), caption))
    return tuple(blocks)


BLINDING = Statistic(
    "blinding",
    _compute,
    "Blinding: Bang's index for every reader and arm and for the readers together, exact interval (Chan and Zhang; "
    "over 30 guesses Tango's score interval), exact one-sided binomial test of right against wrong guesses; James' "
    "index, interval from the posterior under Perks' prior, quantiles of Student's t for the number of guesses.",
    per_item=False,
    section=SECTION,
    blocks=_blocks,
)
