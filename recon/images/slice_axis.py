"""Which axis of a volume is the slice direction: the one rule, for whoever reads a volume.

Results and scans say it themselves (``[slice, readout, phase]``). The axes of NIfTI come in any order, and the last is
only usually the slices. A single slice is one; else the axis that the field ``dim_info`` names, as in every file that
recon writes; else the header's axis of clearly largest spacing; else, for isotropic volumes, the last axis, where
converters put the slices.

Encoders do not ask the file but its affine alone, and take another axis of isotropic volumes: the one that their
networks were trained on (``header_slice_axis``). ``recon encode --slice-axis`` overrides it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

EQUAL_SPACING = 0.01  # relative: 0.9999 mm and 1 mm are the same spacing, whatever a scanner's rounding says


@dataclass(frozen=True)
class SliceAxis:
    """Which axis of a volume is taken as the slice direction, and why."""

    axis: int
    reason: str


def voxel_spacing(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    """Edge lengths of a voxel in mm along the three axes of the array."""
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    return (float(edges[0]), float(edges[1]), float(edges[2]))


def thick_axis(affine: NDArray[np.float64]) -> SliceAxis | None:
    """The axis of clearly largest spacing; None when the largest spacings are within 1 %."""
    spacing = np.array(voxel_spacing(affine))
    order = np.argsort(spacing)
    if spacing[order[2]] <= spacing[order[1]] * (1 + EQUAL_SPACING):
        return None
    axis = int(order[2])
    return SliceAxis(axis, f"largest spacing in the header ({spacing[axis]:.4g} mm)")


def header_slice_axis(affine: NDArray[np.float64]) -> SliceAxis:
    """The slice direction for encoders: the axis of clearly largest spacing, else the one nearest inferior-superior.

    Array sizes play no role: an isotropic 176x256x256 volume stays what it is.
    """
    thick = thick_axis(affine)
    if thick is not None:
        return thick
    spacing = np.array(voxel_spacing(affine))
    vertical = np.abs(affine[2, :3]) / spacing
    axis = int(np.argmax(vertical))
    reason = f"no axis of largest spacing in the header ({_millimetres(spacing)}); nearest to inferior-superior"
    return SliceAxis(axis, reason)


def single_slice_axis(shape: tuple[int, ...]) -> SliceAxis | None:
    """The axis across a stack of one slice, whatever the spacings; None when there are several."""
    return SliceAxis(shape.index(1), "a single slice") if 1 in shape else None


def slice_axis(shape: tuple[int, ...], affine: NDArray[np.float64], stated: int | None = None) -> SliceAxis:
    """The slice direction of a volume of ``shape`` with ``affine`` (index -> RAS+ mm): the module's rule.

    ``stated`` is the axis that the file itself names, where it does.
    """
    named = None if stated is None else SliceAxis(stated, "named by the file")
    found = single_slice_axis(shape) or named or thick_axis(affine)
    return found or SliceAxis(2, "no axis of largest spacing in the header; the last axis")


def slices_first(
    values: NDArray[Any], affine: NDArray[np.float64], stated: int | None = None
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """``values`` of any axis order as ``[slice, readout, phase]``, and the affine of (readout, phase, slice)."""
    across = slice_axis(values.shape, affine, stated).axis
    order = [axis for axis in range(3) if axis != across] + [across]
    moved = np.column_stack([affine[:, order], affine[:, 3]])
    return values.transpose(across, order[0], order[1]), moved


def _millimetres(spacing: NDArray[np.float64] | tuple[float, ...]) -> str:
    return " x ".join(f"{edge:.6g}" for edge in spacing) + " mm"
