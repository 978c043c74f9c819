"""How far a mask reaches from k-space's centre, and whether it lacks an edge: partial Fourier."""

import numpy as np
from numpy.typing import NDArray

SMALLEST_PART = 16  # of an axis: edges that differ by less than its 16th are no partial Fourier
Range = tuple[int, int]


def covered_range(sampled: NDArray[np.bool_]) -> Range | None:
    """Half-open range from the first to the last sampled position of one axis; None when there is none."""
    places = np.flatnonzero(sampled)
    return (int(places[0]), int(places[-1]) + 1) if places.size else None


def lacks_an_edge(sampled: NDArray[np.bool_]) -> bool:
    """Whether the one end of an axis lacks more than the other, by more than the mask's gaps and a part of the axis."""
    covered = covered_range(sampled)
    if covered is None:
        return False
    below, above = _reach(sampled.size, covered)
    gap = int(np.diff(np.flatnonzero(sampled)).max(initial=1))
    return min(below, above) > 0 and abs(below - above) > max(gap, sampled.size // SMALLEST_PART)


def axes_of(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which positions of readout and phase a mask ``[phase]`` or ``[readout, phase]`` samples anywhere. Along the
    readout of a ``[phase]`` mask nothing is missing: one position, sampled."""
    grid = mask if mask.ndim == 2 else mask[None]
    return np.asarray(grid.any(axis=1)), np.asarray(grid.any(axis=0))


def covered_shares(mask: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Along readout and phase, how much of what is symmetric about k-space's centre a mask covers from its one end to
    the other: .75 is 6/8, 1 where no edge is missing. None when neither axis lacks one."""
    readout, phase = (_share(sampled) for sampled in axes_of(mask))
    return None if readout == phase == 1 else (readout, phase)


def _share(sampled: NDArray[np.bool_]) -> float:
    covered = covered_range(sampled)
    if covered is None or not lacks_an_edge(sampled):
        return 1.0
    below, above = _reach(sampled.size, covered)
    return round((covered[1] - covered[0]) / min(sampled.size, 2 * max(below, above + 1)), 4)


def _reach(size: int, covered: Range) -> tuple[int, int]:
    """Positions below and above k-space's centre out to the ends of what is covered."""
    return size // 2 - covered[0], covered[1] - 1 - size // 2
