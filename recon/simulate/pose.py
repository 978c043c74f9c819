"""Where each pixel of a scan comes from: pose and deformation, pulled back into an anatomy."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recon.simulate.anatomy import Anatomy
from recon.simulate.deformation import random_affine, random_displacement
from recon.simulate.fields import sample_volume
from recon.simulate.prescription import SlicePrescription, native_slices


@dataclass(frozen=True)
class Pose:
    """How a person lies in the scanner, as the place in the anatomy that every pixel shows."""

    coordinates: NDArray[np.float32]  # [3, slice, readout, phase] anatomy voxels along slice, row, column
    offsets: NDArray[np.float32]  # [sample] voxels along the slice axis whose mean is the slice profile
    centre: NDArray[np.float64]  # [3] MNI mm in the middle of the in-plane grid
    mirrored: bool  # left and right are swapped

    def slab_average(self, volume: NDArray[np.float32], outside: float = 0.0) -> NDArray[np.float32]:
        """An anatomy's ``volume`` [slice, row, column] averaged over the thickness of the imaged slices.

        Returns [slice, readout, phase]; pixels beyond the volume are ``outside``.
        """
        total = np.zeros(self.coordinates.shape[1:], np.float32)
        shift = np.zeros((3, 1, 1, 1), np.float32)
        for offset in self.offsets:
            shift[0] = offset
            total += sample_volume(volume, self.coordinates + shift, outside)
        return total / np.float32(len(self.offsets))

    def middle_of_slab(self, volume: NDArray[np.float32], outside: float = 0.0) -> NDArray[np.float32]:
        """As ``slab_average``, in the middle of the slices only."""
        middle = len(self.offsets) // 2
        return replace(self, offsets=self.offsets[middle : middle + 1]).slab_average(volume, outside)


def pull_back(anatomy: Anatomy, prescription: SlicePrescription, generator: np.random.Generator) -> Pose:
    """Draw a pose and a deformation: where in the anatomy every pixel of the scan comes from."""
    shape, spacing, heights = prescription.matrix, prescription.spacing, prescription.heights
    occupied = np.argwhere(anatomy.brain.any(axis=0))
    middle_row, middle_column = (occupied.min(0) + occupied.max(0)) / 2
    displacement = random_displacement(prescription.shape, spacing, generator)
    matrix = random_affine(generator)
    mirrored = bool(matrix[2, 2] < 0)
    if native_slices(anatomy):
        displacement[0] = 0
        matrix[0], matrix[:, 0] = (1, 0, 0), (1, 0, 0)
    shift = generator.uniform(-5, 5, 2)
    centre_height = float(np.mean(heights))
    through = (heights - centre_height).astype(np.float32)[:, None, None]
    down = ((np.arange(shape[0]) - shape[0] // 2) * spacing[1] + shift[0]).astype(np.float32)[None, :, None]
    across = ((np.arange(shape[1]) - shape[1] // 2) * spacing[2] + shift[1]).astype(np.float32)[None, None, :]
    m = matrix.astype(np.float32)
    coordinates = np.empty((3, *prescription.shape), np.float32)
    origins = ((centre_height - anatomy.affine[2, 3]) / anatomy.affine[2, 0], middle_row, middle_column)
    direction = float(np.sign(anatomy.affine[2, 0]))
    for axis in range(3):
        moved = m[axis, 0] * through + m[axis, 1] * down + m[axis, 2] * across + displacement[axis]
        pitch = anatomy.voxel_size[axis] * (direction if axis == 0 else 1.0)
        coordinates[axis] = moved / np.float32(pitch) + np.float32(origins[axis])
    centre = anatomy.affine[:3, :3] @ np.array(origins) + anatomy.affine[:3, 3]
    return Pose(coordinates, _slab_offsets(anatomy, prescription.thickness), centre, mirrored)


def _slab_offsets(anatomy: Anatomy, thickness: float) -> NDArray[np.float32]:
    """Offsets in voxels along the slice axis whose mean is the slice profile: one every 1.2 mm or so."""
    count = max(round(thickness / max(anatomy.voxel_size[0], 1.2)), 1)
    if thickness <= anatomy.voxel_size[0]:
        return np.zeros(1, np.float32)
    return (((np.arange(count) + 0.5) / count - 0.5) * thickness / anatomy.voxel_size[0]).astype(np.float32)
