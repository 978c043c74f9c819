"""The simulated user: the next click goes to the centre of the largest error.

The policy of interactive-segmentation benchmarks (e.g. arXiv:2510.09499): of the connected regions that were missed or
wrongly included, the largest; in it, the voxel farthest from the region's edge by the Euclidean distance transform.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, find_objects, generate_binary_structure, label

Spacing = tuple[float, float, float]  # mm along slice, readout, phase

ROUNDING = 1 - 1e-9  # two depths that differ by less are the same


@dataclass(frozen=True)
class Click:
    """One click: ``index`` (slice, readout, phase); ``foreground``: whether the lesion is here."""

    index: tuple[int, int, int]
    foreground: bool


@dataclass(frozen=True)
class Places:
    """Where a click may go: equally good voxels ``indices`` ``[place, 3]``, all in the largest error."""

    indices: NDArray[np.int64]
    foreground: bool


def click_places(
    segmented: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    spacing: Spacing,
    slicewise: bool = False,
    scatter: float = 0.0,
) -> Places | None:
    """The best places for the next click, or None when ``segmented`` is ``truth`` (both ``[slice, readout, phase]``).

    Regions hang together through faces of voxels, and their size is counted in voxels; ``slicewise`` regions and
    distances stay in one slice. What lies beyond the edges of a slice counts as outside the region, what lies beyond
    the first and last slice does not, so that a volume of one slice is clicked as an image. Of regions of one size the
    deepest is taken, then what was missed before what was wrongly included; of voxels of one depth (in regions of two
    thick slices many have it) the deepest within their slice. ``scatter`` 0 to 1 allows voxels down to ``1 - scatter``
    of the greatest depth instead.
    """
    best: tuple[int, float] = (0, 0.0)
    found: list[NDArray[np.int64]] = []
    foreground = True
    for missed, error in ((True, truth & ~segmented), (False, segmented & ~truth)):
        labels, boxes, sizes = _regions(error, slicewise)
        for number in np.flatnonzero(sizes == max(sizes.max(initial=0), best[0], 1)):
            box = boxes[number]
            # A voxel of the slices beside the region, which is outside of it, where the volume has such slices.
            box = (slice(max(box[0].start - 1, 0), box[0].stop + 1), *box[1:])
            depth = _depth(labels[box] == number + 1, spacing, slicewise)
            rank = (int(sizes[number]), float(depth.max()))
            if rank < best or (rank == best and missed != foreground):
                continue
            if rank > best:
                best, found, foreground = rank, [], missed
            deep = depth >= max((1 - scatter) * rank[1] * ROUNDING, np.finfo(float).tiny)
            if not (slicewise or scatter):
                within = np.where(deep, _depth(depth > 0, spacing, True), 0)
                deep = within >= within.max() * ROUNDING
            found.append(np.argwhere(deep) + [axis.start for axis in box])
    return Places(np.concatenate(found), foreground) if found else None


def next_click(places: Places, generator: np.random.Generator) -> Click:
    """One of the places, drawn."""
    first, second, third = (int(entry) for entry in places.indices[generator.integers(len(places.indices))])
    return Click((first, second, third), places.foreground)


def _regions(
    error: NDArray[np.bool_], slicewise: bool
) -> tuple[NDArray[np.int32], list[tuple[slice, ...]], NDArray[np.int64]]:
    """Labels 1, 2, ... of the connected regions, the box around each, and their voxels."""
    structure = generate_binary_structure(3, 1)
    if slicewise:
        structure[[0, 2]] = False
    labels, _ = label(error, structure)
    return labels, find_objects(labels), np.bincount(labels.ravel())[1:]


def _depth(region: NDArray[np.bool_], spacing: Spacing, slicewise: bool) -> NDArray[np.float64]:
    """Distance in mm of every voxel of the region to the nearest voxel outside; 0 outside."""
    padded = np.pad(region, ((0, 0), (1, 1), (1, 1)))
    if slicewise:
        depth = np.stack([distance_transform_edt(one, sampling=spacing[1:]) for one in padded])
    else:
        depth = distance_transform_edt(padded, sampling=spacing)
    return depth[:, 1:-1, 1:-1]
