"""How well a segmentation agrees with the true outline: Dice coefficient and normalised surface distance."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt

from recon.interactive.clicks import Spacing


def dice(segmented: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """``2 |A and B| / (|A| + |B|)``; 1 when both are empty."""
    total = int(segmented.sum()) + int(truth.sum())
    return 2 * int((segmented & truth).sum()) / total if total else 1.0


def surface_agreement(
    segmented: NDArray[np.bool_], truth: NDArray[np.bool_], spacing: Spacing, tolerance: float
) -> float:
    """Normalised surface distance at ``tolerance`` mm (Nikolov et al., J Med Internet Res 23:e26151 (2021)): the share
    of both outlines that has the other outline within the tolerance.

    The outline is what contouring in slices draws: voxels of the mask ``[slice, readout, phase]`` with a face neighbour
    in their slice outside of it (beyond the image counts as outside). Distances between voxel centres in mm are taken
    in three dimensions, so a slice that was left out counts as missed unless slices are closer than the tolerance.
    1 when both are empty, 0 when one is.
    """
    if not segmented.any() or not truth.any():
        return float(segmented.any() == truth.any())
    either = np.argwhere(segmented | truth)
    box = tuple(slice(low, high + 1) for low, high in zip(either.min(0), either.max(0), strict=True))
    first, second = _outline(segmented[box]), _outline(truth[box])
    # A rounding of the spacing must not decide whether a neighbour is within the tolerance.
    within = tolerance + 1e-6
    near_first = distance_transform_edt(~first, sampling=spacing) <= within
    near_second = distance_transform_edt(~second, sampling=spacing) <= within
    agreed = int((first & near_second).sum()) + int((second & near_first).sum())
    return agreed / (int(first.sum()) + int(second.sum()))


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    cross = np.zeros((3, 3, 3), bool)
    cross[1, 1, :] = cross[1, :, 1] = True
    return mask & ~binary_erosion(mask, cross, border_value=0)
