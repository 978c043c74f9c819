"""CUSUM charts of several figures at once, with one limit that holds for a baseline of finitely many scans.

Every figure of scan t is standardised, z_t = (x_t - location) / scale, and cumulated on both sides (Page, Biometrika
41:100 (1954)):

    upper_t = max(0, upper_(t-1) + z_t - k)      lower_t = max(0, lower_(t-1) - z_t - k)

An alarm is raised when the largest of all these sums exceeds one limit, so that the run length is that of all charts
together, however they hang together: no further correction for their number is needed.

Location and scale are estimates. Nominal limits take them for exact, and the true run length of a given baseline can
then be a small part of the stated one (Jones, Champ and Rigdon, J Qual Technol 36:95 (2004)). The limit is therefore
found by bootstrap such that the run length is at least the stated one with a stated probability over baselines (Gandy
and Kvaloy, Scand J Stat 40:647 (2013)). Persons are drawn, not scans, with all their scans.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ALLOWANCE = 0.5  # k: the chart is quickest for a shift of one standard deviation
BASELINES = 200  # of the bootstrap
STREAMS = 25  # monitored behind each
WINSOR = 3.0  # how many robust standard deviations from the median count fully
HIGHEST = 200.0  # of limits that are tried


@dataclass(frozen=True)
class Limit:
    """A limit and the run length that it gives: quantiles over the baselines that chance could have given."""

    value: float
    stated: float  # run length asked for, in scans
    confidence: float
    run_length: tuple[float, float, float]  # 5 %, 50 % and 95 % over baselines

    @property
    def range_words(self) -> str:
        """Run lengths of 90 % of baselines; beyond ten times the stated one too few alarms are simulated to tell."""
        low, _, high = self.run_length
        top = 10 * self.stated
        return f"{low:.0f} to {f'more than {top:.0f}' if high > top else f'{high:.0f}'}"


@dataclass(frozen=True)
class Chart:
    """The course of the charts: ``sums`` [scan, figure, side], upper side first, as they were before any restart."""

    sums: NDArray[np.float64]
    alarms: tuple[tuple[int, int, int, int], ...]  # (scan, figure, side, first scan of the excursion)


def location_and_scale(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation along the first axis but one, ``[..., scan, figure]``, of values drawn in to three
    robust standard deviations of the median. A scale of 0: half of the values are the same."""
    middle = np.median(values, axis=-2, keepdims=True)
    spread = 1.4826 * np.median(np.abs(values - middle), axis=-2, keepdims=True)
    drawn_in = np.clip(values, middle - WINSOR * spread, middle + WINSOR * spread)
    return drawn_in.mean(-2), drawn_in.std(-2, ddof=1)


def chart(standardised: NDArray[np.float64], limit: float, allowance: float = ALLOWANCE) -> Chart:
    """The charts of standardised figures ``[scan, figure]``. All sums begin again at 0 after an alarm."""
    count, figures = standardised.shape
    sums = np.zeros((count, figures, 2))
    current, since = np.zeros((figures, 2)), np.zeros((figures, 2), int)
    alarms = []
    for scan, values in enumerate(standardised):
        since[current == 0] = scan
        current = np.maximum(0.0, current + np.stack([values, -values], axis=-1) - allowance)
        sums[scan] = current
        if current.max(initial=0.0) > limit:
            figure, side = (int(index) for index in np.unravel_index(current.argmax(), current.shape))
            alarms.append((scan, figure, side, int(since[figure, side])))
            current = np.zeros_like(current)
    return Chart(sums, tuple(alarms))


def calibrated_limit(
    values: NDArray[np.float64],
    persons: Sequence[str],
    stated: float,
    confidence: float,
    generator: np.random.Generator,
) -> Limit:
    """The limit for a baseline ``[scan, figure]``: the true run length is at least ``stated`` scans with probability
    ``confidence`` over baselines like this one.

    What chance could have given is drawn by a bootstrap over persons, each with all scans. It is not smoothed: normal
    noise would thin the tails, and of baselines of 40 scans of four skewed or heavy-tailed figures the limit then held
    for fewer than stated.

    Chance gives the watched persons as it gave those of the baseline: they are other ones, and no more of them. So
    behind each bootstrapped baseline stands a bootstrapped group of as many persons whose scans are watched; a baseline
    that is held against all persons it was drawn from leaves that part of the difference out.
    """
    population = Population.of(values, persons)
    centres, scales = population.baselines(BASELINES, generator)
    tops = population.highest_sums(
        centres, scales, int(2 * stated), generator, watched=population.groups(BASELINES, generator)
    )
    low, high = 0.0, HIGHEST
    for _ in range(40):
        middle = (low + high) / 2
        lengths = run_lengths(tops, middle)
        low, high = (low, middle) if np.quantile(lengths, 1 - confidence) >= stated else (middle, high)
    quantiles = np.quantile(run_lengths(tops, high), (0.05, 0.5, 0.95))
    return Limit(high, stated, confidence, (float(quantiles[0]), float(quantiles[1]), float(quantiles[2])))


def run_lengths(tops: NDArray[np.float32], limit: float) -> NDArray[np.float64]:
    """The average run length of each baseline from the running maxima ``[baseline, stream, scan]`` of its streams:
    scans under watch over alarms, as for waiting times that are cut off; half an alarm where there is none."""
    length = tops.shape[-1]
    crossed = tops[..., -1] > limit
    first = np.where(crossed, (tops > limit).argmax(-1) + 1, length)
    return first.sum(-1) / np.maximum(crossed.sum(-1), 0.5)


@dataclass(frozen=True)
class Population:
    """What a baseline says of all scans like it. ``rows``: the scans of each person."""

    values: NDArray[np.float64]  # [scan, figure]
    rows: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, values: NDArray[np.float64], persons: Sequence[str]) -> "Population":
        """Of a baseline ``[scan, figure]`` and who each scan shows."""
        names = np.asarray(persons)
        return cls(values, tuple(np.flatnonzero(names == name) for name in dict.fromkeys(persons)))

    def baselines(self, count: int, generator: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Location and scale ``[baseline, figure]`` of other baselines of as many persons."""
        found = []
        for _ in range(count):
            chosen = generator.integers(len(self.rows), size=len(self.rows))
            found.append(location_and_scale(self.values[np.concatenate([self.rows[person] for person in chosen])]))
        return np.stack([centre for centre, _ in found]), np.stack([scale for _, scale in found])

    def highest_sums(
        self,
        centres: NDArray[np.float64],
        scales: NDArray[np.float64],
        length: int,
        generator: np.random.Generator,
        streams: int = STREAMS,
        watched: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float32]:
        """The largest sum of all charts up to each scan, ``[baseline, stream, scan]``, of streams without change.
        ``watched [baseline, person]``: whose scans the streams behind each baseline are drawn from; all, if not given.
        """
        count, figures = centres.shape
        if watched is None:
            rows = self._streams((count, streams, length), generator, np.arange(len(self.rows)))
        else:
            rows = np.stack([self._streams((streams, length), generator, group) for group in watched])
        upper, lower = np.zeros((2, count, streams, figures))
        highest = np.zeros((count, streams))
        tops = np.empty((count, streams, length), np.float32)
        # A resample without spread says nothing of a figure: it raises no alarm there.
        scales = np.where(scales > 0, scales, np.inf)[:, None]
        for step in range(length):
            z = (self.values[rows[..., step]] - centres[:, None]) / scales
            upper = np.maximum(0.0, upper + z - ALLOWANCE)
            lower = np.maximum(0.0, lower - z - ALLOWANCE)
            highest = np.maximum(highest, np.maximum(upper, lower).max(-1))
            tops[..., step] = highest
        return tops

    def groups(self, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
        """Persons ``[group, person]`` drawn with replacement, as many in each as there are."""
        return generator.integers(len(self.rows), size=(count, len(self.rows)))

    def _streams(
        self, shape: tuple[int, ...], generator: np.random.Generator, persons: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Rows of streams of some of the persons, all scans of a person in a row."""
        if max(len(rows) for rows in self.rows) == 1:
            alone = np.concatenate(self.rows)[persons]
            return alone[generator.integers(len(alone), size=shape)]
        total = int(np.prod(shape))
        # More persons than scans asked for: each has at least one.
        flat = [self.rows[person] for person in persons[generator.integers(len(persons), size=total)]]
        return np.concatenate(flat)[:total].reshape(shape)
