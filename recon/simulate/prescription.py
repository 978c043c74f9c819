"""Which slices of a head are imaged, and on which grid."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.simulate.anatomy import Anatomy
from recon.simulate.options import Plane, SimulationOptions

# Narrower than this, a real scan folds; the simulator does not simulate folding, so it refuses.
_HEAD_WIDTHS = {"axial": 180.0, "sagittal": 210.0}  # mm along the phase direction
HEIGHTS = (-18.0, 62.0)  # mm, MNI: the slices lie between them, as far as the anatomy reaches


@dataclass(frozen=True)
class SlicePrescription:
    """Which slices are imaged, and on which grid."""

    heights: NDArray[np.floating]  # [slice] MNI mm of the slices' centres; of sagittal ones along the left-right axis
    thickness: float  # mm
    spacing: tuple[float, float, float]  # mm along slice, readout, phase; pixels are square
    matrix: tuple[int, int]  # readout, phase
    plane: Plane = "axial"

    @property
    def shape(self) -> tuple[int, int, int]:
        """The grid: (slice, readout, phase)."""
        return len(self.heights), *self.matrix

    def require_the_head_to_fit(self) -> None:
        """Raise ReconError when the head is wider than the field of view along the phase direction."""
        width, least = self.spacing[2] * self.matrix[1], _HEAD_WIDTHS[self.plane]
        if width < least:
            raise ReconError(
                f"size {self.matrix[0]} x {self.matrix[1]}: {width:.0f} mm along the phase direction cut the head off; "
                f"choose a wider matrix ({least:.0f} mm at least)"
            )


def field_of_view(options: SimulationOptions, generator: np.random.Generator) -> float:
    """Millimetres along the readout: drawn from 220 to 250 where the options leave them open."""
    return float(generator.uniform(220, 250)) if options.field_of_view is None else float(options.field_of_view)


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
    pixel = field_of_view(options, generator) / matrix[0]
    SlicePrescription(np.zeros(0), 0.0, (0.0, pixel, pixel), matrix).require_the_head_to_fit()
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
    places, step = spread(bottom, top, slices, drawn, thickness is None, generator)
    return places, drawn, step


def spread(
    bottom: float, top: float, slices: int, thickness: float, gaps: bool, generator: np.random.Generator
) -> tuple[NDArray[np.floating], float]:
    """Places of at most ``slices`` slices of ``thickness`` mm between two ends, and their spacing: with gaps of a tenth
    of the thickness at least, or without any."""
    extent = top - bottom
    step = max(thickness * 1.1, min(extent / max(slices, 1), 12.0)) if gaps else thickness
    count = min(slices, int(extent // step) + 1)
    start = bottom + (extent - (count - 1) * step) * generator.uniform(0.35, 0.65)
    return start + step * np.arange(count), step


def scan_affine(prescription: SlicePrescription, centre: NDArray[np.floating]) -> NDArray[np.float64]:
    """(readout, phase, slice) index to RAS+ mm. Axial: readout towards posterior, phase towards the patient's left,
    slices upwards; sagittal: readout downwards, phase towards posterior, slices towards the left. ``centre`` lies in
    the middle of the plane."""
    step, pixel, _ = prescription.spacing
    readout, phase = prescription.matrix
    affine = np.eye(4)
    if prescription.plane == "sagittal":
        affine[:3, 0] = (0, 0, -pixel)
        affine[:3, 1] = (0, -pixel, 0)
        affine[:3, 2] = (-step, 0, 0)
        affine[:3, 3] = (
            prescription.heights[0],
            centre[1] + pixel * (phase // 2),
            centre[2] + pixel * (readout // 2),
        )
        return affine
    affine[:3, 0] = (0, -pixel, 0)
    affine[:3, 1] = (-pixel, 0, 0)
    affine[:3, 2] = (0, 0, step)
    affine[:3, 3] = (
        centre[0] + pixel * (phase // 2),
        centre[1] + pixel * (readout // 2),
        prescription.heights[0],
    )
    return affine
