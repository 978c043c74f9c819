"""The one image volume, and the one rule for which of a stored array's axes runs across the slices."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLEARLY_LARGER = 1.01
"""Ratio of spacings from which one counts as the larger: 0.9999 mm and 1 mm are the same spacing, whatever a
scanner's rounding says."""


@dataclass(frozen=True, eq=False)
class Volume:
    """An image or mask ``[slice, readout, phase]`` and where it lies: index (readout, phase, slice) to RAS+ mm.

    Of images that no scanner of ours measured, readout and phase are the two other axes in their stored order.
    """

    path: Path
    values: NDArray[Any]
    affine: NDArray[np.float64] | None
    kind: str  # where the values come from, in words
    voxel_size: tuple[float, float, float] | None = None  # mm along readout, phase, slice; stated where no affine is
    placed: bool = True  # False: the affine's lengths are known, its place and directions are not

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """Edges of a voxel in mm along readout, phase, slice; None where nothing states them."""
        return self.voxel_size if self.affine is None else spacing_of(self.affine)


@dataclass(frozen=True)
class SliceAxis:
    """Which axis of a stored array runs across its slices, and why."""

    axis: int
    reason: str


def spacing_of(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    """Edge lengths of a voxel in mm along the three axes of the array."""
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    return (float(edges[0]), float(edges[1]), float(edges[2]))


def single_slice_axis(shape: tuple[int, ...]) -> SliceAxis | None:
    """The axis across a stack of one slice, whatever the spacings; None when there are several."""
    return SliceAxis(shape.index(1), "a single slice") if sorted(shape)[:2].count(1) == 1 else None


def thick_axis(affine: NDArray[np.float64]) -> SliceAxis | None:
    """The axis whose spacing is clearly the largest; None when there is none."""
    spacing = np.array(spacing_of(affine))
    order = np.argsort(spacing)
    if not spacing[order[2]] > spacing[order[1]] * CLEARLY_LARGER:
        return None
    axis = int(order[2])
    return SliceAxis(axis, f"largest spacing in the header ({spacing[axis]:.4g} mm)")


def slice_axis(shape: tuple[int, ...], affine: NDArray[np.float64]) -> SliceAxis:
    """Across the slices of an array ``shape`` runs, in this order: the axis across a single slice, the axis of clearly
    largest spacing, the last axis."""
    found = single_slice_axis(shape) or thick_axis(affine)
    return found or SliceAxis(2, "no axis of clearly largest spacing in the header; the last axis")


def slices_first(
    values: NDArray[Any], affine: NDArray[np.float64], axis: int | None = None
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """A stored array as ``[slice, readout, phase]``, and its affine as (readout, phase, slice) to RAS+ mm.

    ``axis`` overrides the rule: 2 keeps the stored order of an array whose slices are settled elsewhere.
    """
    across = slice_axis(values.shape, affine).axis if axis is None else axis
    order = [other for other in range(3) if other != across] + [across]
    return values.transpose(across, order[0], order[1]), np.column_stack([affine[:, order], affine[:, 3]])
