"""GRAPPA in a plane of two phase-encoded axes: slices of 3-D scans with gaps along both.

2-D GRAPPA (Blaimer et al., Magn Reson Med 56:1359, 2006) for lattices with and without the shift of CAIPIRINHA (Breuer
et al., Magn Reson Med 55:549, 2006). As along one axis, each pattern of neighbours that occurs has a kernel of its own,
so neither the lattice nor its shift need be known, and the seam to the calibration region is no special case.
"""

from collections import defaultdict

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt
from skimage.morphology import convex_hull_image

from recon.errors import ReconError
from recon.reconstruction.ridge import fitted_kernel

BY_QUADRANT = 3  # acquired neighbours that a kernel reads in each quarter around its target
OVERDETERMINATION = 2.0  # equations for each unknown below which a kernel reads fewer neighbours
MOST_KERNELS = 1000  # a lattice with its seams and edges has some hundred; irregular masks have one a sample
WIDEST = 24  # samples to either side within which neighbours are looked for
BLOCK = 4096  # targets looked at together

Offsets = tuple[tuple[int, int], ...]  # of acquired neighbours from the target


def grappa_plane(
    kspace: NDArray[np.complex64],
    mask: NDArray[np.bool_],
    lines: NDArray[np.complex64],
    phase_limits: tuple[int, int] | None = None,
) -> NDArray[np.complex64]:
    """Fill the missing samples of ``kspace [coil, readout, phase]``, zero where ``mask [readout, phase]`` is False.

    ``lines``: the fully sampled calibration region ``[coil, readout, phase]``. ``phase_limits``: half-open range of
    positions along phase that were encoded at all. Acquired samples come back unchanged; those more than twice as far
    from any acquired one as the samples between them are stay zero (corners of an ellipse, partial Fourier).

    Raises ReconError for masks of too many patterns, and when the calibration region is too small for their gaps.
    """
    jobs: dict[Offsets, list[tuple[int, int]]] = defaultdict(list)
    for target, offsets in neighbours(mask, phase_limits).items():
        jobs[affordable(offsets, lines.shape)].append(target)
    if len(jobs) > MOST_KERNELS:
        raise ReconError(
            f"GRAPPA needs a kernel for every pattern of neighbours, and this mask has {len(jobs)} of them, more than "
            f"{MOST_KERNELS}: it fills lattices, not irregular masks; choose the method sense"
        )
    filled = np.array(kspace, np.complex64)
    for offsets, targets in jobs.items():
        weights = _weights(lines, offsets)
        rows, columns = np.array(targets).T
        sources = np.stack(
            [kspace[:, rows + row, columns + column] for row, column in offsets]
        )  # [source, coil, point]
        filled[:, rows, columns] = weights.T @ sources.reshape(-1, len(rows))
    return filled


def neighbours(mask: NDArray[np.bool_], phase_limits: tuple[int, int] | None = None) -> dict[tuple[int, int], Offsets]:
    """For each missing sample that can be filled, the offsets of the nearest acquired ones in each quarter around it.

    Raises ReconError for masks whose gaps are too wide."""
    distance = distance_transform_edt(~mask)
    hull = convex_hull_image(mask)
    core = binary_erosion(hull, iterations=2)  # without a rim where only the grid's rounding lets the hull stick out
    reach = float(distance[core if core.any() else hull].max())
    width = int(np.ceil(2 * reach)) + 1
    if width > WIDEST:
        raise ReconError(
            f"GRAPPA: a sample of this mask lies {reach:.0f} positions from the nearest acquired one, too far for its "
            "kernels; choose the method sense"
        )
    encoded = np.zeros_like(mask)
    encoded[:, slice(*(phase_limits or (0, mask.shape[1])))] = True
    targets = np.argwhere(~mask & encoded & (distance <= 2 * reach))
    if not len(targets):
        return {}
    grid = np.mgrid[-width : width + 1, -width : width + 1].reshape(2, -1).T
    grid = grid[np.lexsort((grid[:, 1], grid[:, 0], (grid**2).sum(1)))]
    padded = np.pad(mask, width)
    blocks = [targets[start : start + BLOCK] for start in range(0, len(targets), BLOCK)]
    chosen = np.concatenate([np.packbits(_nearest(padded, block + width, grid), axis=1) for block in blocks])
    packed, which = np.unique(chosen, axis=0, return_inverse=True)
    known = np.unpackbits(packed, axis=1, count=len(grid)).astype(bool)
    patterns = [tuple((int(a), int(b)) for a, b in grid[one]) for one in known]
    return {(int(a), int(b)): patterns[number] for (a, b), number in zip(targets, which.ravel(), strict=True)}


def _nearest(padded: NDArray[np.bool_], targets: NDArray[np.int64], grid: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which offsets of ``grid``, sorted by distance, each target reads: ``[target, offset]``."""
    row, column = grid.T
    chosen = np.zeros((len(targets), len(grid)), bool)
    for quarter in (
        (row > 0) & (column >= 0), (row <= 0) & (column > 0), (row < 0) & (column <= 0), (row >= 0) & (column < 0),
    ):  # fmt: skip
        places = grid[quarter]
        found = padded[targets[:, :1] + places[:, 0], targets[:, 1:] + places[:, 1]]
        chosen[:, quarter] = found & (np.cumsum(found, axis=1) <= BY_QUADRANT)
    return chosen


def affordable(offsets: Offsets, region: tuple[int, ...]) -> Offsets:
    """The neighbours less the farthest, until the calibration ``region [coil, readout, phase]`` determines the kernel;
    they are sorted by distance."""
    coils, *extents = region
    while offsets:
        around = np.array([(0, 0), *offsets])
        places = np.prod(np.maximum(extents - np.ptp(around, axis=0), 0))
        if places >= OVERDETERMINATION * coils * len(offsets):
            return offsets
        offsets = offsets[:-1]
    raise ReconError(
        f"GRAPPA: a calibration region of {extents[0]} x {extents[1]} is too small for {coils} coils and the gaps of "
        "this mask; acquire more calibration lines, compress the coils, or choose the method sense"
    )


def _weights(lines: NDArray[np.complex64], offsets: Offsets) -> NDArray[np.complex64]:
    """The kernel ``[source x coil, coil]`` over all places of the calibration region that it fits into."""
    around = np.array([(0, 0), *offsets])
    low, size = around.min(axis=0), np.ptp(around, axis=0) + 1
    windows = sliding_window_view(lines, tuple(size), axis=(1, 2))  # [coil, place, place, row, column]
    cut = [windows[..., row - low[0], column - low[1]].reshape(len(lines), -1) for row, column in around]
    return fitted_kernel(np.concatenate(cut[1:]).T, cut[0].T)
