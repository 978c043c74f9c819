"""Which slices of a head are imaged, and on which grid."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.simulate.anatomy import Anatomy
from recon.simulate.options import SimulationOptions

# Narrower than this, a real scan folds; the simulator does not simulate folding, so it refuses.
_HEAD_WIDTH = 180.0  # mm
HEIGHTS = (-18.0, 62.0)  # mm, MNI: the slices lie between them, as far as the anatomy reaches


@dataclass(frozen=True)
class SlicePrescription:
    """Which slices are imaged, and on which grid."""

    heights: NDArray[np.floating]  # [slice] MNI mm of the slices' centres
    thickness: float  # mm
    spacing: tuple[float, float, float]  # mm along slice, readout, phase; pixels are square
    matrix: tuple[int, int]  # readout, phase

    @property
    def shape(self) -> tuple[int, int, int]:
        """The grid: (slice, readout, phase)."""
        return len(self.heights), *self.matrix


def prescribe(
    anatomy: Anatomy,
    options: SimulationOptions,
    generator: np.random.Generator,
    heights: tuple[float, float] = HEIGHTS,
) -> SlicePrescription:
    """The slices of ``options`` between two MNI ``heights`` in mm, as far as the anatomy reaches.

    The field of view is drawn from 220 to 250 mm and the thickness from 3 to 5 mm where the options leave them open;
    slices are thinner where the anatomy is. Raises ReconError when the head does not fit the field of view.
    """
    matrix = options.size
    view = float(generator.uniform(220, 250)) if options.field_of_view is None else float(options.field_of_view)
    pixel = view / matrix[0]
    if pixel * matrix[1] < _HEAD_WIDTH:
        raise ReconError(
            f"size {matrix[0]} x {matrix[1]}: {pixel * matrix[1]:.0f} mm along the phase direction cut the head off; "
            f"choose a wider matrix ({_HEAD_WIDTH:.0f} mm at least)"
        )
    places, thickness, step = _slice_heights(anatomy, options.slices, options.thickness, heights, generator)
    return SlicePrescription(places, thickness, (step, pixel, pixel), matrix)


def native_slices(anatomy: Anatomy) -> bool:
    """Whether slices are taken as they are: a thin slab, or slices too thick to interpolate between."""
    return anatomy.voxel_size[0] >= 2.5 or anatomy.brain.shape[0] * anatomy.voxel_size[0] < 30


def _slice_heights(
    anatomy: Anatomy,
    slices: int,
    thickness: float | None,
    between: tuple[float, float],
    generator: np.random.Generator,
) -> tuple[NDArray[np.floating], float, float]:
    """MNI heights of the slice centres, the slice thickness and the spacing, all in mm."""
    area = anatomy.brain.sum(axis=(1, 2))
    filled = np.flatnonzero(area > 0.35 * area.max())
    ends = anatomy.affine[2, 0] * filled[[0, -1]] + anatomy.affine[2, 3]
    bottom, top = max(float(ends.min()), between[0]), min(float(ends.max()), between[1])
    if top < bottom:
        bottom, top = float(ends.min()), float(ends.max())
    extent = top - bottom
    drawn = float(generator.uniform(3, 5)) if thickness is None else float(thickness)
    pitch = abs(float(anatomy.affine[2, 0]))
    if native_slices(anatomy):
        heights = anatomy.affine[2, 0] * filled + anatomy.affine[2, 3]
        filled = filled[(heights >= bottom - 1e-6) & (heights <= top + 1e-6)]
        count = min(slices, len(filled))
        chosen = filled[np.unique(np.linspace(0, len(filled) - 1, count).round().astype(int))]
        heights = anatomy.affine[2, 0] * chosen + anatomy.affine[2, 3]
        return np.sort(heights), pitch, max(extent / max(count - 1, 1), pitch)
    drawn = max(drawn, pitch)
    step = max(drawn * 1.1, min(extent / max(slices, 1), 12.0)) if thickness is None else max(drawn, pitch)
    count = min(slices, int(extent // step) + 1)
    start = bottom + (extent - (count - 1) * step) * generator.uniform(0.35, 0.65)
    return start + step * np.arange(count), drawn, step


def scan_affine(prescription: SlicePrescription, centre: NDArray[np.floating]) -> NDArray[np.float64]:
    """(readout, phase, slice) index to RAS+ mm: readout towards posterior, phase towards the patient's left."""
    step, pixel, _ = prescription.spacing
    readout, phase = prescription.matrix
    affine = np.eye(4)
    affine[:3, 0] = (0, -pixel, 0)
    affine[:3, 1] = (-pixel, 0, 0)
    affine[:3, 2] = (0, 0, step)
    affine[:3, 3] = (
        centre[0] + pixel * (phase // 2),
        centre[1] + pixel * (readout // 2),
        prescription.heights[0],
    )
    return affine
