"""The choice among judged checkpoints, with its standard error, in numbers and in two sentences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recon.finetuning.candidates import Record


@dataclass(frozen=True)
class Entry:
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
    grid: tuple[Entry, ...]  # the prior as it came first
    patients: int
    interior: bool  # neither the lowest nor the highest rate, neither the shortest nor the longest length
    explanation: str

    @property
    def best(self) -> Entry:
        """The chosen point."""
        return next(entry for entry in self.grid if (entry.rate, entry.images) == (self.rate, self.images))

    @property
    def before(self) -> Entry:
        """The prior as it came."""
        return self.grid[0]


def choose(records: Sequence[Record], slices_per_epoch: float, acceleration: float) -> Choice:
    """The rate and length with the lowest mean NRMSE over all held-out patients of all folds.

    ``slices_per_epoch`` turns images into epochs for the explanation. Every point must be judged on the same patients.
    """
    points = sorted({(record.rate, record.images) for record in records})
    scores: dict[tuple[float, int], dict[str, float]] = {point: {} for point in points}
    denoising: dict[tuple[float, int], list[tuple[float, ...]]] = {point: [] for point in points}
    for record in records:
        scores[record.rate, record.images].update(record.nrmse)
        denoising[record.rate, record.images].append(record.denoising)
    patients = sorted(scores[0.0, 0])
    before = np.array([scores[0.0, 0][name] for name in patients])
    grid = []
    for point in points:
        values = np.array([scores[point][name] for name in patients])
        errors = tuple(float(v) for v in np.mean(denoising[point], 0))
        gain = before - values
        grid.append(Entry(*point, float(values.mean()), _error(values), float(gain.mean()), _error(gain), errors))
    best = min(grid, key=lambda entry: (entry.nrmse, entry.images, entry.rate))
    rates, lengths = sorted({r for r, _ in points if r}), sorted({n for _, n in points if n})
    interior = best.images > 0 and rates[0] < best.rate < rates[-1] and lengths[0] < best.images < lengths[-1]
    text = _explain(best, grid, rates, lengths, len(patients), slices_per_epoch, acceleration)
    return Choice(best.rate, best.images, tuple(grid), len(patients), interior, text)


def _error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def _explain(
    best: Entry,
    grid: Sequence[Entry],
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
            f"No candidate beat the prior as it came {where} (NRMSE {before.nrmse:.4f} ± {before.nrmse_error:.4f}), so "
            f"it was kept unchanged. Rates {rates[0]:.2g} to {rates[-1]:.2g} for {lengths[0]} to {lengths[-1]} images "
            "were tried; lower rates, shorter runs or more patients may help."
        )
    first = (
        f"Rate {best.rate:.2g} for {best.images} images ({best.images / slices:.1f} epochs of {slices:.0f} slices) "
        f"gave the lowest NRMSE {where}: {best.nrmse:.4f} ± {best.nrmse_error:.4f} (standard error), against "
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
