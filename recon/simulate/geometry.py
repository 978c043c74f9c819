"""Where each pixel of a scan comes from: slice positions, pose and deformation, pulled back into an anatomy."""

import numpy as np
from numpy.typing import NDArray

from recon.simulate.anatomy import Anatomy
from recon.simulate.deformation import random_affine, random_displacement
from recon.simulate.fields import sample_volume


def native_slices(anatomy: Anatomy) -> bool:
    """Whether slices are taken as they are: a thin slab, or slices too thick to interpolate between."""
    return anatomy.voxel_size[0] >= 2.5 or anatomy.brain.shape[0] * anatomy.voxel_size[0] < 30


def slice_heights(
    anatomy: Anatomy,
    slices: int,
    thickness: float | None,
    lowest: float,
    highest: float,
    generator: np.random.Generator,
) -> tuple[NDArray[np.floating], float, float]:
    """MNI heights of the slice centres, the slice thickness and the spacing, all in mm."""
    area = anatomy.brain.sum(axis=(1, 2))
    filled = np.flatnonzero(area > 0.35 * area.max())
    ends = anatomy.affine[2, 0] * filled[[0, -1]] + anatomy.affine[2, 3]
    bottom, top = max(float(ends.min()), lowest), min(float(ends.max()), highest)
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


def pull_back(
    anatomy: Anatomy,
    heights: NDArray[np.floating],
    shape: tuple[int, int],
    spacing: tuple[float, float, float],
    generator: np.random.Generator,
) -> tuple[NDArray[np.float64], bool, NDArray[np.float32]]:
    """Where every pixel of the scan comes from: anatomy voxel coordinates ``[3, slice, readout, phase]``.

    Also the world point (mm) at the middle of the in-plane grid, and whether left and right are swapped.
    """
    occupied = np.argwhere(anatomy.brain.any(axis=0))
    middle_row, middle_column = (occupied.min(0) + occupied.max(0)) / 2
    grid = (len(heights), *shape)
    displacement = random_displacement(grid, spacing, generator)
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
    coordinates = np.empty((3, *grid), np.float32)
    origins = ((centre_height - anatomy.affine[2, 3]) / anatomy.affine[2, 0], middle_row, middle_column)
    direction = float(np.sign(anatomy.affine[2, 0]))
    for axis in range(3):
        moved = m[axis, 0] * through + m[axis, 1] * down + m[axis, 2] * across + displacement[axis]
        pitch = anatomy.voxel_size[axis] * (direction if axis == 0 else 1.0)
        coordinates[axis] = moved / np.float32(pitch) + np.float32(origins[axis])
    centre = anatomy.affine[:3, :3] @ np.array(origins) + anatomy.affine[:3, 3]
    return centre, mirrored, coordinates


def slab_offsets(anatomy: Anatomy, thickness: float) -> NDArray[np.float32]:
    """Offsets in voxels along the slice axis whose mean is the slice profile: one every 1.2 mm or so."""
    count = max(round(thickness / max(anatomy.voxel_size[0], 1.2)), 1)
    if thickness <= anatomy.voxel_size[0]:
        return np.zeros(1, np.float32)
    return (((np.arange(count) + 0.5) / count - 0.5) * thickness / anatomy.voxel_size[0]).astype(np.float32)


def slab_average(
    volume: NDArray[np.float32],
    anatomy: Anatomy,
    coordinates: NDArray[np.float32],
    offsets: NDArray[np.float32],
    outside: float = 0.0,
) -> NDArray[np.float32]:
    total = np.zeros(coordinates.shape[1:], np.float32)
    shift = np.zeros((3, 1, 1, 1), np.float32)
    for offset in offsets:
        shift[0] = offset
        total += sample_volume(volume, coordinates + shift, outside)
    return total / np.float32(len(offsets))


def scan_affine(
    shape: tuple[int, int], pixel: float, heights: NDArray[np.floating], step: float, centre: NDArray[np.floating]
) -> NDArray[np.float64]:
    """(readout, phase, slice) index to RAS+ mm: readout towards posterior, phase towards the patient's left."""
    affine = np.eye(4)
    affine[:3, 0] = (0, -pixel, 0)
    affine[:3, 1] = (-pixel, 0, 0)
    affine[:3, 2] = (0, 0, step)
    affine[:3, 3] = (
        centre[0] + pixel * (shape[1] // 2),
        centre[1] + pixel * (shape[0] // 2),
        heights[0],
    )
    return affine
