"""What a row of the table of statistics is, and what its computation may look at."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from reader_study.analysis_result import Analysis, ItemResult
from reader_study.arrays import Booleans, Floats
from reader_study.comparison import Comparison
from reader_study.document import ReportBlock
from reader_study.item import Item
from reader_study.observations import Observations
from reader_study.protocol import Protocol
from reader_study.statistics.hypothesis_test import HypothesisTest
from reader_study.wording import interval, number, p_cell
from recon.errors import ReconError

Result = TypeVar("Result")
Line = tuple[str, str, str, str, str]
OTHER_ANALYSES = "Does another analysis agree?"


@dataclass(frozen=True)
class Readings:
    """The scores of ``item`` and the study around them; a statistic of the whole study gets the primary item."""

    protocol: Protocol
    found: Observations
    item: Item
    generator: np.random.Generator  # this statistic's own: no other one shifts its draws
    replicates: int  # of a bootstrap

    @property
    def scores(self) -> Floats:
        """`[arm, reader, case]`, higher is better, NaN where missing; arm 0 is the reference. Adjudicated."""
        return self.found.decided(self.item.id)

    @property
    def own(self) -> Floats:
        """``scores`` as the readers gave them, before an adjudicator decided."""
        return self.found.scores[self.item.id]

    @property
    def measured(self) -> Floats:
        """What the comparison takes: ``own``, or of an item that is answered by marks `[arm, reader, slot, case]`."""
        return self.found.measured(self.item.id) if self.protocol.located(self.item) else self.own

    @property
    def raw(self) -> Floats:
        """`[arm, reader, case]` as the readers gave them."""
        return self.found.raw[self.item.id]

    @property
    def compared(self) -> Floats:
        """``scores`` of the readers whose scores suffice for the comparison of the arms."""
        return np.asarray(self.scores[:, self.comparison.readers(self.scores)])

    @property
    def own_compared(self) -> Floats:
        """``own`` of these readers."""
        return np.asarray(self.own[:, self.comparison.readers(self.own)])

    @property
    def planned(self) -> Booleans:
        """`[reader, case]`: was this reader to read this case?"""
        planned = self.found.planned
        return np.ones(self.scores.shape[1:], dtype=bool) if planned is None else planned

    @property
    def expected(self) -> Booleans:
        """``planned`` of the readers of ``compared``."""
        return np.asarray(self.planned[self.comparison.readers(self.scores)])

    @property
    def comparison(self) -> Comparison:
        """How the arms are compared on this item."""
        return comparison_of(self.protocol, self.item, self.found)

    @property
    def complete(self) -> Booleans:
        """`[case]`: did each of these readers who was to read the case score it in both arms?"""
        return np.asarray((np.isfinite(self.compared).all(axis=0) | ~self.expected).all(axis=0))

    @property
    def scale(self) -> tuple[int, ...]:
        """Every possible score, lowest first."""
        return self.item.scale or (-1, 0, 1)

    @property
    def arms(self) -> tuple[str, str]:
        """Names of the reference and the new arm."""
        return self.protocol.reference, self.protocol.new


def comparison_of(protocol: Protocol, item: Item, found: Observations, by: str = "") -> Comparison:
    """How the arms are compared on an item of a study; ``by`` another figure of merit of marks than the protocol's.

    Raises ReconError where an item is answered by marks and none came with the scores.
    """
    if not protocol.located(item):
        return Comparison(protocol, item, found.cases)
    if found.located is None:
        raise ReconError("no marks of lesions came with the scores")
    return Comparison(protocol, item, found.cases, found.located.truth, by)


def always(protocol: Protocol) -> bool:
    """Applies to every study."""
    return True


def scored(protocol: Protocol) -> bool:
    """Applies where readers give scores, not preferences."""
    return protocol.mode != "preference"


def every_item(item: Item) -> bool:
    """Applies to every item."""
    return True


def quality(item: Item) -> bool:
    """Applies where higher is better: of a rating of confidence neither end is."""
    return not item.confidence


def nothing(analysis: Analysis, found: Observations) -> tuple[ReportBlock, ...]:
    """Shows nothing."""
    return ()


def no_line(analysis: Analysis) -> None:
    """Is no other analysis of the primary item."""


def result_line(name: str, test: HypothesisTest, statistic: str, digits: int = 2) -> Line:
    """A row of the table of other analyses from the result of one; ``statistic`` in words."""
    limits = interval(test.low, test.high, digits)
    return name, number(test.estimate, digits), limits, statistic, p_cell(test.p_value)


@dataclass(frozen=True)
class Statistic(Generic[Result]):
    """One statistic of the report.

    ``name`` is its key in analysis.json; ``compute`` gives its result for one item (``per_item``) or for the study, or
    None where there is nothing to compute. A ReconError that it raises, and a ReconWarning, become a note in the
    report. ``blocks`` stand under the heading ``section``; ``line`` is its row in the table of other analyses of the
    primary item: analysis, estimate, interval, statistic, p. ``methods`` says how it was computed, for a statistician.
    """

    name: str
    compute: Callable[[Readings], Result | None]
    methods: str
    applies: Callable[[Protocol], bool] = always
    items: Callable[[Item], bool] = every_item
    per_item: bool = True
    section: str = OTHER_ANALYSES
    folded: bool = False  # does the section start closed?
    blocks: Callable[[Analysis, Observations], tuple[ReportBlock, ...]] = nothing
    marks: bool = False  # does it apply to an item that is answered by marks?
    optional: bool = False  # leaves no key where it does not apply, as in studies of before it
    line: Callable[[Analysis], Line | None] = no_line

    def of(self, found: ItemResult | Analysis) -> Result | None:
        """This statistic's result for an item, or for the study."""
        result: Result | None = found.results.get(self.name)
        return result
