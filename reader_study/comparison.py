"""The comparison of the arms on one item: by mean scores, of ratings of confidence by areas under the ROC curve, and of
marked lesions by areas under the curve that the protocol names."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from reader_study.analysis_result import RandomReaders
from reader_study.arrays import Booleans, Floats
from reader_study.item import Item
from reader_study.localisation_rule import NAMES
from reader_study.protocol import Protocol
from reader_study.statistics import non_inferiority, obuchowski_rockette, roc
from reader_study.statistics.figure_of_merit import FigureOfMerit, area_under_curve
from reader_study.statistics.hypothesis_test import HypothesisTest
from reader_study.statistics.localisation import FIGURES
from reader_study.statistics.obuchowski_rockette import Components


@dataclass(frozen=True)
class Comparison:
    """How the arms of ``item`` are compared in a study with these ``cases``, in this order.

    ``lesioned`` `[case]` of an item that is answered by marks: has the case a lesion? Its scores are the ratings
    `[arm, reader, slot, case]` of ``statistics.localisation``.
    """

    protocol: Protocol
    item: Item
    cases: tuple[str, ...]
    lesioned: Booleans | None = None
    by: str = ""  # figure of merit of marks; the protocol's if empty

    @property
    def truth(self) -> Booleans:
        """`[case]`: has the case the condition? Of ratings of confidence only."""
        if self.lesioned is not None:
            return self.lesioned
        assert self.protocol.truth is not None  # the protocol was checked
        return np.isin(self.cases, self.protocol.truth.diseased)

    @property
    def curve(self) -> str:
        """The curve whose area is compared; "" where scores are."""
        rule = self.protocol.localisation
        if rule is not None and self.protocol.located(self.item):
            return NAMES[self.by or rule.figure]
        return "ROC curve" if self.item.confidence else ""

    @property
    def figure(self) -> FigureOfMerit:
        """The figure of merit of ratings of confidence or of marks."""
        rule = self.protocol.localisation
        if rule is not None and self.protocol.located(self.item):
            return FIGURES[self.by or rule.figure]
        return area_under_curve

    @property
    def _method(self) -> str:
        return f"areas under the {self.curve} of these readers, one-sided t test"

    @property
    def margin(self) -> float:
        """The protocol's margin where the item has the primary one's unit, else none: a test against zero."""
        return self.protocol.primary.margin if self.protocol.in_primary_unit(self.item) else 0.0

    def readers(self, scores: Floats) -> Booleans:
        """`[reader]`: whose scores `[arm, reader, case]` suffice."""
        if self.item.confidence:
            return roc.compared_readers(scores, self.truth)
        return non_inferiority.compared_readers(scores)

    def fixed(self, scores: Floats, inside: Booleans | None = None) -> HypothesisTest:
        """For these readers, of scores `[arm, reader, case]`; only the cases ``inside`` if given. Raises ReconError."""
        alpha, chosen = self.protocol.primary.alpha, slice(None) if inside is None else inside
        if self.item.confidence:
            return roc.compare_areas(
                scores[..., chosen], self.truth[chosen], self.margin, alpha, figure=self.figure, method=self._method
            )
        return non_inferiority.compare_by_case_means(scores[..., chosen], self.margin, alpha)

    def alone(self, readers: Sequence[str], scores: Floats) -> Iterator[tuple[str, Floats, HypothesisTest]]:
        """Every reader whose own scores suffice: name, these scores, and the comparison by them."""
        for index, reader in enumerate(readers):
            own = scores[:, index : index + 1]
            if self.readers(own).any():
                yield reader, own, self.fixed(own)

    def areas(self, scores: Floats) -> tuple[float, float]:
        """Mean areas of the reference and the new arm over these readers' pairs."""
        pairs = roc.comparable_pairs(scores, self.truth)
        reference, new = self.figure(pairs, self.truth).mean(axis=1)
        return float(reference), float(new)

    def random(self, scores: Floats) -> RandomReaders | None:
        """For readers in general; None where fewer than two can be compared."""
        compared = self.readers(scores)
        if compared.sum() < 2:
            return None
        components = self._components(scores[:, compared])
        return RandomReaders(
            components,
            obuchowski_rockette.equality(components),
            obuchowski_rockette.difference(components, self.margin, self.protocol.primary.alpha),
        )

    def _components(self, scores: Floats) -> Components:
        if self.item.confidence:
            return roc.components_of_areas(scores, self.truth, self.figure)
        return obuchowski_rockette.components_of_pairs(scores)
