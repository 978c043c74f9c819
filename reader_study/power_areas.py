"""Power where the arms are compared by areas under a curve: the planned test on thousands of simulated studies at once.

Areas under the ROC curve (case truth), the AFROC, weighted AFROC and localisation ROC curves (marked lesions). Each is
a share of comparisons won between a case of the condition and one without, so that the area without a case follows from
sums; estimate, variance and degrees of freedom are those of ``statistics.roc`` (tested to agree).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from reader_study.arrays import Booleans, Floats
from reader_study.case_truth import FEWEST
from reader_study.incomplete_blocks import assign
from reader_study.power import batches, monte_carlo_error, pieces, random_error
from reader_study.power_options import AreaAssumptions, Assumptions
from reader_study.power_ratings import RatingModel
from reader_study.power_scores import Design
from reader_study.protocol import Protocol
from reader_study.statistics.localisation import WINS
from reader_study.statistics.roc import over_cases
from recon.errors import ReconError
from recon.progress import Report, silent

_COMPARISONS_AT_ONCE = 2_000_000  # more would leave the processor's cache


@dataclass(frozen=True)
class SimulatedAreas:
    """Share of simulated studies that make the claim, with its Monte Carlo standard error.

    ``covered``: share of the two-sided intervals that hold the true ``effect``; ``estimate`` and ``reference_area``:
    means over the studies.
    """

    cases: int
    diseased: int
    readers: int
    effect: float
    claimed: float
    monte_carlo_error: float
    covered: float
    estimate: float
    reference_area: float
    replicates: int


class AreaSimulation:
    """A planned study with true differences ``effects`` of the new arms' areas from the reference's."""

    def __init__(
        self,
        protocol: Protocol,
        design: Design,
        assumptions: Assumptions,
        areas: AreaAssumptions,
        effects: Sequence[float],
    ) -> None:
        item, rule = protocol.item(protocol.primary.item), protocol.localisation
        self.design, self.effects = design, tuple(effects)
        self.figure = rule.figure if rule is not None and protocol.located(item) else ""
        share = areas.lesion_cases
        if not self.figure and protocol.truth is not None:
            share = len(protocol.truth.diseased) / len(protocol.case_ids)
        self.diseased = round(design.cases * share)
        self.free = design.cases - self.diseased
        if min(self.diseased, self.free) < FEWEST:
            raise ReconError(
                f"{self.diseased} of {design.cases} simulated cases with the condition: {FEWEST} with and {FEWEST} "
                "without are needed"
            )
        categories = len(item.scale)
        self.model = RatingModel(self.figure, design.readers, design.fixed_readers, categories, assumptions, areas)
        self.means, self.cuts = self.model.means(effects)

    @property
    def truth(self) -> Booleans:
        """`[case]`: has it the condition?"""
        return np.arange(self.diseased + self.free) < self.diseased

    @property
    def studies_at_once(self) -> int:
        """As many as the memory holds comfortably."""
        lesions = len(self.model.lesion_chances) if self.figure else 1
        own = len(self.means) * self.design.readers * self.diseased * self.free * lesions
        return max(1, min(500, _COMPARISONS_AT_ONCE // own))

    def ratings(self, count: int, generator: np.random.Generator) -> Floats:
        """``count`` studies as ``RatingModel.draw`` has them, NaN where a reader was not to read."""
        drawn = self.model.draw(self.means, self.cuts, self.diseased, self.free, count, generator)
        size = self.design.readers_per_case
        if size is None:
            return drawn
        # Masks of lesions are no part of the protocol: then the subsets cannot be dealt by them.
        if self.figure:
            planned = assign([len(self.truth)], self.design.readers, size, generator)
            planned = planned[:, generator.permutation(len(self.truth))]
        else:
            planned = assign([self.diseased, self.free], self.design.readers, size, generator)
        fewest = min(planned[:, self.truth].sum(axis=1).min(), planned[:, ~self.truth].sum(axis=1).min())
        if fewest < FEWEST:
            raise ReconError(
                f"{len(self.truth)} cases leave a reader fewer than {FEWEST} with or without the condition"
            )
        return np.where(planned[:, None] if self.figure else planned, drawn, np.nan)

    def tests(self, ratings: Floats) -> list[tuple[Floats, Floats, Floats]]:
        """(difference, standard error, degrees of freedom) `[study]` of each new arm against the reference."""
        figures, left_out = areas_and_left_out(ratings, self.truth, self.figure)
        return [
            area_test(figures[:, [0, arm]], left_out[:, [0, arm]], self.truth, self.design.fixed_readers)
            for arm in range(1, figures.shape[1])
        ]


def areas_and_left_out(ratings: Floats, truth: Booleans, figure: str) -> tuple[Floats, Floats]:
    """Areas `[study, arm, reader]`, and with each case left out `[study, arm, reader, case]`, as far as it was read."""
    if figure:
        won, count = WINS[figure](ratings, truth)
        read = np.isfinite(ratings[..., 0, :])
    else:
        own, other = ratings[..., truth][..., None, :], ratings[..., ~truth][..., :, None]
        won = (own > other) + 0.5 * (own == other)
        read = np.isfinite(ratings)
        count = read[..., truth].astype(np.float64)
    free = read[..., ~truth].astype(np.float64)
    total, number, lesions = won.sum(axis=(-2, -1)), free.sum(axis=-1), count.sum(axis=-1)
    without_free = (total[..., None] - won.sum(axis=-1)) / ((number[..., None] - free) * lesions[..., None])
    without_case = (total[..., None] - won.sum(axis=-2)) / (number[..., None] * (lesions[..., None] - count))
    left_out = np.empty(read.shape)
    left_out[..., ~truth], left_out[..., truth] = without_free, without_case
    return total / (number * lesions), left_out


def area_test(figures: Floats, left_out: Floats, truth: Booleans, fixed_readers: bool) -> tuple[Floats, Floats, Floats]:
    """(difference, standard error, degrees of freedom) of areas `[study, two arms, reader]` and of those without each
    case `[study, two arms, reader, case]`: ``roc.compare_areas``, or Obuchowski-Rockette for readers in general."""
    by_reader, difference = figures[:, 1] - figures[:, 0], left_out[:, 1] - left_out[:, 0]
    variance, df = over_cases(difference.mean(axis=1), truth)
    if fixed_readers:
        return by_reader.mean(axis=1), np.sqrt(variance), df
    errors = (difference - difference.mean(axis=2, keepdims=True)) * np.sqrt(1 - 1 / truth.size)
    square, _, shared = pieces(by_reader, errors)
    error, df = random_error(square, shared, by_reader.shape[1], df)
    return by_reader.mean(axis=1), error, df


def simulate_areas(
    protocol: Protocol,
    design: Design,
    assumptions: tuple[Assumptions, AreaAssumptions],
    effect: float,
    replicates: int,
    generator: np.random.Generator,
    report: Report = silent,
) -> SimulatedAreas:
    """Simulate ``replicates`` studies whose areas truly differ by ``effect``.

    Raises ReconError for too few readers or cases of either kind, or an area that cannot be.
    """
    if not design.fixed_readers and design.readers < 2:
        raise ReconError("a simulated study of readers in general needs two readers or more")
    study = AreaSimulation(protocol, design, *assumptions, [effect])
    claimed = covered = 0
    estimates = references = 0.0
    for count in batches(replicates, study.studies_at_once, report):
        ratings = study.ratings(count, generator)
        figures, left_out = areas_and_left_out(ratings, study.truth, study.figure)
        estimate, error, df = area_test(figures, left_out, study.truth, design.fixed_readers)
        half = stats.t.ppf(1 - design.alpha, df) * error
        claimed += int((estimate - half > -design.margin).sum())
        covered += int((np.abs(estimate - effect) <= half).sum())
        estimates += float(estimate.sum())
        references += float(figures[:, 0].mean(axis=1).sum())
    share = claimed / replicates
    return SimulatedAreas(
        design.cases,
        study.diseased,
        design.readers,
        effect,
        share,
        monte_carlo_error(share, replicates),
        covered / replicates,
        estimates / replicates,
        references / replicates,
        replicates,
    )
