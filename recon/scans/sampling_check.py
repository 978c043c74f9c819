"""Does a slice hold what the mask says? Zeros tell: a line that was measured is never zero in every coil."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError

# A value may be exactly zero by chance (integer data): single positions of 2-D masks may differ, this fraction of them.
CHANCE = 0.01


def check_sampling(path: Path, index: int, kspace: NDArray, mask: NDArray[np.bool_]) -> None:
    """Compare slice ``kspace`` ``[coil, readout, phase]`` with ``mask``, ``[phase]`` or ``[readout, phase]``.

    Slices that are zero throughout say nothing. Raises ReconError when whole lines (of 2-D masks also whole readout
    positions, or more than a few single positions) are zero in every coil although the mask has them, or hold data
    although it does not: the mask changes from slice to slice, or belongs to other data. Fully sampled data may have
    any mask: it chooses what is used of them.
    """
    acquired = np.zeros(kspace.shape[-2:], bool)
    for coil in kspace:
        acquired |= coil != 0
    if not acquired.any():
        return
    grid = np.broadcast_to(mask, acquired.shape)
    if _without_gaps(np.asarray(acquired.any(axis=0))) and (mask.ndim == 1 or acquired.mean() > 1 - CHANCE):
        acquired &= grid  # fully sampled: the mask chooses among what was measured
    _check_lines(path, index, "phase line", np.asarray(acquired.any(axis=0)), np.asarray(grid.any(axis=0)))
    if mask.ndim == 2:
        _check_lines(path, index, "readout position", np.asarray(acquired.any(axis=1)), np.asarray(grid.any(axis=1)))
        different = int((acquired != grid).sum())
        if different > CHANCE * grid.sum():
            raise _refusal(path, index, f"{different} k-space positions differ from the mask's {int(grid.sum())}")


def _check_lines(path: Path, index: int, name: str, acquired: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> None:
    missing, beyond = np.flatnonzero(wanted & ~acquired), np.flatnonzero(acquired & ~wanted)
    if missing.size:
        raise _refusal(path, index, f"{name}s in the mask are zero in every coil: {_some(missing)}")
    if beyond.size:
        raise _refusal(path, index, f"{name}s outside the mask hold data: {_some(beyond)}")


def _without_gaps(lines: NDArray[np.bool_]) -> bool:
    """Whether all lines between the first and the last are there; outside of them lies the padding."""
    there = np.flatnonzero(lines)
    return int(there[-1] - there[0]) + 1 == there.size


def _some(places: NDArray[np.int64]) -> str:
    return ", ".join(map(str, places[:4])) + (f" and {places.size - 4} more" if places.size > 4 else "")


def _refusal(path: Path, index: int, wrong: str) -> ReconError:
    return ReconError(
        f"{path}: slice {index}: {wrong}; the sampling mask changes from slice to slice or is not this scan's, "
        "export the scan again with one mask for all slices"
    )
