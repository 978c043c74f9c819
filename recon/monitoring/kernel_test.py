"""Maximum mean discrepancy between two groups of scans, with a permutation test over persons.

MMD^2 = |mean of phi(x) over one group - mean over the other|^2 in the space of a kernel (Gretton et al., J Mach Learn
Res 13:723 (2012)), here the mean of one Gaussian kernel for each block of features, its width the median distance.
Everything that is taken from the data (standardisation, widths) is taken from both groups together, so that it is the
same for every permutation and the p-value is exact: uniform when persons are exchangeable.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recon.monitoring.cusum import WINSOR, location_and_scale

_AT_ONCE = 2048  # permutations: those of a long watch would not fit into memory


def permutation_p_value(
    blocks: Sequence[NDArray[np.float64]],
    persons: Sequence[str],
    watched: NDArray[np.bool_],
    permutations: int,
    generator: np.random.Generator,
) -> tuple[float, float]:
    """MMD^2 of the watched scans against the others, and its p-value.

    Args:
        blocks: features ``[scan, feature]`` of all scans, one array a kernel.
        persons: who each scan shows. A person's scans in one group stay together; a person in both counts as two.
        watched: ``[scan]``, which scans are the window.
        permutations: how many.
        generator: of the permutations.
    """
    labels = [f"{bool(late)}{name}" for late, name in zip(watched, persons, strict=True)]
    _, units, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    member = (units[:, None] == np.arange(len(sizes))).astype(float)
    sums = member.T @ joint_kernel(blocks) @ member
    late = np.unique(units[watched])
    found = float(_squared_discrepancies(sums, sizes, late[None])[0])
    as_large = 1  # the grouping itself
    for first in range(0, permutations, _AT_ONCE):
        drawn = generator.random((min(_AT_ONCE, permutations - first), len(sizes)))
        # A permutation sorts what was drawn; its window are the places that the window's units come to.
        places = _places(drawn, late)
        # Rounding must not make a permutation that is the grouping itself smaller than it.
        as_large += int((_squared_discrepancies(sums, sizes, places) >= found * (1 - 1e-9)).sum())
    return found, as_large / (1 + permutations)


def _places(drawn: NDArray[np.float64], chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of ``drawn [permutation, unit]`` lie below each of the ``chosen`` units', ``[permutation, place]``.

    Unit by unit over all permutations, counted in bytes: most of the time of a long watch goes here."""
    columns = np.ascontiguousarray(drawn.T)
    own = columns[chosen]
    places, below = np.zeros(own.shape, np.int64), np.empty(own.shape, bool)
    for first in range(0, len(columns), 255):
        counts = np.zeros(own.shape, np.uint8)
        for column in columns[first : first + 255]:
            counts += np.less(column, own, out=below).view(np.uint8)
        places += counts
    return np.ascontiguousarray(places.T)


def _squared_discrepancies(
    sums: NDArray[np.float64], sizes: NDArray[np.int64], windows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """MMD^2 ``[window]`` of the units ``windows [window, place]`` against all others: the kernel's ``sums``
    ``[unit, unit]`` over their scans, of which they have ``sizes [unit]``."""
    within = sums.take(windows[:, :, None] * len(sums) + windows[:, None, :]).sum((1, 2))
    whole = sums.sum(1)[windows].sum(1)
    scans = sizes[windows].sum(1)
    others = sizes.sum() - scans
    return np.asarray(
        within / scans**2 - 2 * (whole - within) / (scans * others) + (sums.sum() - 2 * whole + within) / others**2
    )


def joint_kernel(blocks: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The mean of the blocks' Gaussian kernels, ``[scan, scan]``."""
    return np.mean([_gaussian(robustly_standardised(block)) for block in blocks], axis=0)


def robustly_standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each feature ``[scan, feature]`` over its robust scale; those that hardly vary by their standard deviation."""
    centre, scale = location_and_scale(values)
    scale = np.where(scale > 0, scale, values.std(0))
    standardised = np.where(scale > 0, (values - centre) / np.where(scale > 0, scale, 1.0), 0.0)
    return np.clip(standardised, -3 * WINSOR, 3 * WINSOR)


def _gaussian(values: NDArray[np.float64]) -> NDArray[np.float64]:
    squares = (values**2).sum(1)
    distances = np.maximum(squares[:, None] + squares - 2 * values @ values.T, 0.0)
    width = np.median(distances[np.triu_indices(len(values), 1)])
    return np.exp(-distances / max(width, 1e-12))
