"""Ratings of confidence and of marked lesions for a power simulation, with areas under the curve that are known.

A latent rating is mean + case + arm x case + reader x case + residual, all normal, of unit variance together, and
reader + arm x reader apart for what is there and what is not (Roe and Metz 1997). A rating of confidence is its place
among cuts that share the reference arm's readings evenly. Marked lesions follow the search model (Chakraborty 2006):
a case has some places that look like a lesion, and in a case of the condition lesions; a place is marked where its
latent rating is above the first cut. The means are solved so that the expected areas differ by exactly the effect.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from reader_study.arrays import Floats
from reader_study.power_options import AreaAssumptions, Assumptions
from reader_study.power_scores import reader_constants
from reader_study.statistics.localisation import UNMARKED
from recon.errors import ReconError

_NODES = 15  # of the quadrature over readers
_RARE = 1e-4  # chance of more lesions or places in a case than are simulated


@dataclass(frozen=True)
class RatingModel:
    """How readers rate. ``figure`` "" is the area under the ROC curve, else a figure of merit of marks."""

    figure: str
    readers: int
    fixed_readers: bool
    categories: int
    assumptions: Assumptions
    areas: AreaAssumptions

    @property
    def scale(self) -> float:
        """Standard deviation of one latent rating around its reader's mean; all others are divided by it."""
        a = self.assumptions
        return float(np.sqrt(a.case**2 + a.case_arm**2 + a.reader_case**2 + a.residual**2))

    @property
    def lesion_chances(self) -> Floats:
        """Chance of 0, 1, 2 ... lesions in a case of the condition: one, and a Poisson number of others."""
        return np.r_[0.0, _poisson(self.areas.lesions - 1)]

    @property
    def place_chances(self) -> Floats:
        """Chance of 0, 1, 2 ... places that look like a lesion, in any case."""
        return _poisson(self.areas.places)

    def cuts(self, mean: float) -> Floats:
        """Between the categories, for the reference arm's ``mean`` of what is there."""
        if self.figure:
            return np.linspace(0.0, max(mean, 0.0) + 0.5, self.categories)
        grid = np.linspace(-6.0, 6.0 + mean, 4001)
        mixed = (stats.norm.cdf(grid) + stats.norm.cdf(grid, mean)) / 2
        return np.interp(np.arange(1, self.categories) / self.categories, mixed, grid)

    def reader_shifts(self, arm: int) -> tuple[Floats, Floats]:
        """Of fixed readers' latent ratings of what is there, and of what is not."""
        a, constants = self.assumptions, reader_constants(self.readers)
        own = np.sqrt(2) * a.reader + (2 * a.reader_arm if arm else 0.0)
        return own / self.scale * constants, np.zeros(self.readers)

    def expected(self, mean: float, arm: int, cuts: Floats) -> float:
        """The expected area of one arm, over its readers."""
        if self.fixed_readers:
            there, not_there = self.reader_shifts(arm)
            weights = np.full(self.readers, 1 / self.readers)
        else:
            nodes, chances = np.polynomial.hermite_e.hermegauss(_NODES)
            spread = float(np.hypot(self.assumptions.reader, self.assumptions.reader_arm)) / self.scale
            there, not_there = (axis.ravel() for axis in np.meshgrid(spread * nodes, spread * nodes))
            weights = np.outer(chances, chances).ravel() / chances.sum() ** 2
        below = stats.norm.cdf(cuts, (mean + there)[:, None])  # of each category but the last
        free = stats.norm.cdf(cuts, not_there[:, None])
        ones = np.ones((len(there), 1))
        own, other = np.hstack([below, ones]), np.hstack([free, ones])
        if self.figure:  # of the highest of the places, and for the localisation ROC of the lesions
            other = np.polynomial.polynomial.polyval(other, self.place_chances)
        if self.figure == "localisation-roc":
            own = np.polynomial.polynomial.polyval(own, self.lesion_chances)
        chance, false = np.diff(own, prepend=0.0), np.diff(other, prepend=0.0)
        won = other - 0.5 * false
        if self.figure == "localisation-roc":
            won, chance = won**2, chance * (np.arange(chance.shape[1]) > 0)
        return float(weights @ (chance * won).sum(axis=1))

    def means(self, effects: Sequence[float]) -> tuple[list[float], Floats]:
        """(mean of what is there in each arm, the reference first, and the cuts) for these differences of the areas.

        Raises ReconError for an area that the model cannot have.
        """
        base = self.areas.reference_area
        reference = self._solve(lambda mean: self.expected(mean, 0, self.cuts(mean)), base)
        cuts = self.cuts(reference)
        new = [self._solve(lambda mean: self.expected(mean, 1, cuts), base + effect) for effect in effects]
        return [reference, *new], cuts

    def _solve(self, area: Callable[[float], float], target: float) -> float:
        low, high = -4.0, 8.0
        if not area(low) < target < area(high):
            raise ReconError(
                f"an area of {target:g} cannot be: with these readers and this scale it lies between {area(low):.3f} "
                f"and {area(high):.3f}; choose another --reference-area or --effect"
            )
        return float(optimize.brentq(lambda mean: area(mean) - target, low, high, xtol=1e-9))

    def draw(
        self, means: Sequence[float], cuts: Floats, diseased: int, free: int, count: int, generator: np.random.Generator
    ) -> Floats:
        """``count`` studies; the cases of the condition come first.

        Ratings of confidence `[study, arm, reader, case]`, those of marks `[study, arm, reader, slot, case]` as
        ``statistics.localisation`` has them.
        """
        if not self.figure:
            there = self._latent(means, count, (diseased,), generator, there=True)
            not_there = self._latent([0.0] * len(means), count, (free,), generator, there=False)
            return np.searchsorted(cuts, np.concatenate([there, not_there], axis=-1)).astype(np.float64)
        lesions, places = len(self.lesion_chances) - 1, len(self.place_chances) - 1
        found = self._latent(means, count, (lesions, diseased), generator, there=True)
        ratings = np.full((*found.shape[:3], 1 + lesions, diseased + free), np.nan)
        numbers = generator.choice(lesions + 1, (count, 1, 1, diseased), p=self.lesion_chances)
        exists = np.arange(lesions)[:, None] < numbers[..., None, :]
        ratings[..., 1:, :diseased] = np.where(exists, np.searchsorted(cuts, found), np.nan)
        false = self._latent([0.0] * len(means), count, (places, diseased + free), generator, there=False)
        numbers = generator.choice(places + 1, (count, 1, 1, diseased + free), p=self.place_chances)
        exists = np.arange(places)[:, None] < numbers[..., None, :]
        marked = np.where(exists, np.searchsorted(cuts, false), UNMARKED)
        ratings[..., 0, :] = marked.max(axis=-2, initial=UNMARKED)
        return ratings

    def _latent(
        self, means: Sequence[float], count: int, cells: tuple[int, ...], generator: np.random.Generator, *, there: bool
    ) -> Floats:
        """`[study, arm, reader, *cells]`."""
        a, arms, readers, normal = self.assumptions, len(means), self.readers, generator.standard_normal
        latent = a.case * normal((count, 1, 1, *cells)) + a.case_arm * normal((count, arms, 1, *cells))
        latent = latent + a.reader_case * normal((count, 1, readers, *cells))
        latent += a.residual * normal((count, arms, readers, *cells))
        flat = (1,) * len(cells)
        if self.fixed_readers:
            shifts = np.stack([self.reader_shifts(arm)[0 if there else 1] for arm in range(arms)])
            moved = self.scale * shifts.reshape(1, arms, readers, *flat)
        else:
            moved = a.reader * normal((count, 1, readers, *flat)) + a.reader_arm * normal((count, arms, readers, *flat))
        return np.asarray((latent + moved) / self.scale + np.reshape(means, (1, arms, 1, *flat)))


def _poisson(mean: float) -> Floats:
    """Chances of 0, 1, 2 ... up to a number that is rarely exceeded."""
    if mean <= 0:
        return np.ones(1)
    numbers = np.arange(int(stats.poisson.isf(_RARE, mean)) + 1)
    chances = stats.poisson.pmf(numbers, mean)
    return np.asarray(chances / chances.sum())
