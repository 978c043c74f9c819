"""The choice among judged checkpoints, with its standard error, in numbers and in two sentences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recon.errors import ReconError
from recon.finetuning.candidates import Record


@dataclass(frozen=True)
class GridPoint:
    """One point of the grid: mean NRMSE over the held-out patients and its standard error; ``gain`` is the mean paired
    difference to the prior as it came (positive is better), with its standard error."""

    rate: float
    images: int
    nrmse: float
    nrmse_error: float
    gain: float
    gain_error: float
    denoising: tuple[float, ...]


@dataclass(frozen=True)
class Choice:
    """``rate`` 0 and ``images`` 0 mean that no candidate beat the prior as it came."""

    rate: float
    images: int
    grid: tuple[GridPoint, ...]  # the prior as it came first
    patients: int
    interior: bool  # neither the lowest nor the highest rate, neither the shortest nor the longest length
    explanation: str

    @property
    def best(self) -> GridPoint:
        """The chosen point."""
        return next(entry for entry in self.grid if (entry.rate, entry.images) == (self.rate, self.images))

    @property
    def before(self) -> GridPoint:
        """The prior as it came."""
        return self.grid[0]


def choose(records: Sequence[Record], slices_per_epoch: float, acceleration: float) -> Choice:
    """The mildest rate and length that does as well as the best, over all held-out patients of all folds.

    The point of least mean NRMSE among many is partly a point of luck. So a point is only taken when it beats the prior
    as it came by more than the standard error of the paired difference and in more than half of the patients; and of
    the points whose paired difference to the best is within one standard error, the one that changes the prior least
    (rate times images) is taken: the one-standard-error rule of Breiman et al., Classification and Regression Trees
    (1984), section 3.4.3. ``slices_per_epoch`` turns images into epochs for the explanation. Every point must be judged
    on the same patients, at least two. Raises ReconError otherwise.
    """
    points = sorted({(record.rate, record.images) for record in records})
    scores: dict[tuple[float, int], dict[str, float]] = {point: {} for point in points}
    denoising: dict[tuple[float, int], list[tuple[float, ...]]] = {point: [] for point in points}
    for record in records:
        scores[record.rate, record.images].update(record.nrmse)
        denoising[record.rate, record.images].append(record.denoising)
    patients = sorted(scores[0.0, 0])
    if len(patients) < 2:
        raise ReconError("one held-out patient only: a choice needs at least two; add patients or ask for more --folds")
    values = {point: np.array([scores[point][name] for name in patients]) for point in points}
    before = values[0.0, 0]
    grid = []
    for point in points:
        gain = before - values[point]
        errors = tuple(float(v) for v in np.mean(denoising[point], 0))
        mean = float(values[point].mean())
        grid.append(GridPoint(*point, mean, _error(values[point]), float(gain.mean()), _error(gain), errors))
    best = _mildest(grid, values)
    rates, lengths = sorted({r for r, _ in points if r}), sorted({n for _, n in points if n})
    interior = best.images > 0 and rates[0] < best.rate < rates[-1] and lengths[0] < best.images < lengths[-1]
    text = _explain(best, grid, rates, lengths, len(patients), slices_per_epoch, acceleration)
    return Choice(best.rate, best.images, tuple(grid), len(patients), interior, text)


def _mildest(grid: Sequence[GridPoint], values: dict[tuple[float, int], np.ndarray]) -> GridPoint:
    """The point that ``choose`` takes; ``values`` are the NRMSE of every patient by point."""
    before = values[0.0, 0]
    proven = [
        entry
        for entry in grid
        if entry.images and entry.gain > entry.gain_error and (before > values[entry.rate, entry.images]).mean() > 0.5
    ]
    if not proven:
        return grid[0]
    best = min(proven, key=lambda entry: (entry.nrmse, entry.images, entry.rate))
    of_best = values[best.rate, best.images]

    def as_good(entry: GridPoint) -> bool:
        lost = values[entry.rate, entry.images] - of_best
        return entry is best or float(lost.mean()) <= _error(lost)

    return min(
        (entry for entry in proven if as_good(entry)), key=lambda entry: (entry.rate * entry.images, entry.nrmse)
    )


def _error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def _explain(
    best: GridPoint,
    grid: Sequence[GridPoint],
    rates: Sequence[float],
    lengths: Sequence[int],
    patients: int,
    slices: float,
    acceleration: float,
) -> str:
    before = grid[0]
    where = f"on {patients} held-out patients at R = {acceleration:g}"
    if best.images == 0:
        return (
            f"No candidate beat the prior as it came {where} (NRMSE {before.nrmse:.4f} ± {before.nrmse_error:.4f}) by "
            "more than the standard error and in more than half of the patients, so "
            f"it was kept unchanged. Rates {rates[0]:.2g} to {rates[-1]:.2g} for {lengths[0]} to {lengths[-1]} images "
            "were tried; lower rates, shorter runs or more patients may help."
        )
    first = (
        f"Rate {best.rate:.2g} for {best.images} images ({best.images / slices:.1f} epochs of {slices:.0f} slices) "
        f"is the mildest choice that does as well as the best {where}: NRMSE {best.nrmse:.4f} ± {best.nrmse_error:.4f} "
        f"(standard error), against "
        f"{before.nrmse:.4f} without fine-tuning (paired difference {best.gain:.4f} ± {best.gain_error:.4f})."
    )
    along_rate = [entry for entry in grid if entry.rate == best.rate]
    notes = []
    if best.images == lengths[-1]:
        notes.append("longer runs than the longest tried may be better still")
    else:
        longest = next(entry for entry in along_rate if entry.images == lengths[-1])
        notes.append(f"training on to {longest.images} images gave {longest.nrmse:.4f}")
    if best.images == lengths[0]:
        notes.append("shorter runs than the shortest tried may do as well")
    else:
        shortest = next(entry for entry in along_rate if entry.images == lengths[0])
        notes.append(f"stopping at {shortest.images} gave {shortest.nrmse:.4f}")
    for edge, word in ((rates[0], "lowest"), (rates[-1], "highest")):
        if best.rate == edge:
            notes.append(f"the rate is the {word} tried")
        else:
            other = min(entry.nrmse for entry in grid if entry.rate == edge)
            notes.append(f"the {word} rate, {edge:.2g}, reached {other:.4f} at best")
    second = "; ".join(notes)
    return f"{first} {second[0].upper()}{second[1:]}."
