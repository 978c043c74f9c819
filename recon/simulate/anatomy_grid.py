"""The grid of a head: the radiological view, approximate MNI coordinates, the hull of the brain."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_closing, binary_fill_holes, distance_transform_edt, gaussian_filter, zoom


def radiological(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """RAS+ ``[x, y, z]`` to ``[slice, row, column]``: rows from anterior, columns from the patient's right."""
    return np.ascontiguousarray(volume[::-1, ::-1].transpose(2, 1, 0))


def radiological_affine(affine: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Affine of a ``radiological`` volume of ``shape`` [slice, row, column] from its RAS+ image's affine."""
    slices_rows_columns = np.zeros((4, 4))
    slices_rows_columns[0, 2], slices_rows_columns[0, 3] = -1, shape[2] - 1
    slices_rows_columns[1, 1], slices_rows_columns[1, 3] = -1, shape[1] - 1
    slices_rows_columns[2, 0] = 1
    slices_rows_columns[3, 3] = 1
    return affine @ slices_rows_columns


def bounding_box_affine(brain: NDArray[np.bool_], lowest: float | None, slice_step: float) -> NDArray[np.float64]:
    """Approximate MNI coordinates from the extent of the brain, for volumes whose header knows nothing of MNI.

    The widest and longest extents are set to those of the MNI brain (x -70..70, y -105..72 mm); the top slice lies at
    80 mm unless ``lowest`` gives the height of slice 0. Good enough to find a vascular territory, no more.
    """
    slices, rows, columns = (np.flatnonzero(brain.any(axis)) for axis in ((1, 2), (0, 2), (0, 1)))
    row_step = -177.0 / max(rows[-1] - rows[0], 1)
    column_step = -140.0 / max(columns[-1] - columns[0], 1)
    affine = np.eye(4)[[2, 1, 0, 3]].astype(float)
    affine[0, 2], affine[0, 3] = column_step, 70.0 - column_step * columns[0]
    affine[1, 1], affine[1, 3] = row_step, 72.0 - row_step * rows[0]
    affine[2, 0] = slice_step
    affine[2, 3] = lowest if lowest is not None else 80.0 - slice_step * slices[-1]
    return affine


def filled_brain(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A brain mask without holes, sulci closed: what lies inside the dura. ``[slice, row, column]`` bool."""
    half = zoom(mask.astype(np.float32), 0.5, order=1, grid_mode=True, mode="nearest") > 0.4
    closed = np.pad(half, 6)
    closed = binary_closing(closed, iterations=4)[6:-6, 6:-6, 6:-6]
    factors = np.divide(mask.shape, closed.shape)
    smooth = gaussian_filter(zoom(closed.astype(np.float32), factors, order=1, grid_mode=True, mode="nearest"), 1.5)
    filled = np.stack([binary_fill_holes(plane) for plane in (smooth > 0.5) | mask])
    return filled


def brain_distance(brain: NDArray[np.bool_], voxel_size: tuple[float, float, float]) -> NDArray[np.float32]:
    """Signed distance in mm from the brain's hull (negative inside), computed at half the resolution."""
    half = zoom(brain.astype(np.float32), 0.5, order=1, grid_mode=True, mode="nearest") > 0.5
    spacing = [2 * size for size in voxel_size]
    signed = distance_transform_edt(~half, spacing) - distance_transform_edt(half, spacing)
    factors = np.divide(brain.shape, half.shape)
    return zoom(gaussian_filter(signed.astype(np.float32), 1.0), factors, order=1, grid_mode=True, mode="nearest")


def deep_grey_weight(shape: tuple[int, ...], affine: NDArray[np.float64]) -> NDArray[np.float32]:
    """Where grey matter is deep (striatum, pallidum, thalamus): 1 inside, smoothly 0 outside; ``[slice, row, column]``.

    An ellipsoid a side around the nuclei's MNI extents (|x| 0-33, y -35..22, z -12..22 mm), short of the insula.
    """
    x, y, z = millimetres(shape, affine)
    radius = np.sqrt(((np.abs(x) - 14) / 20) ** 2 + ((y + 6) / 31) ** 2 + ((z - 5) / 19) ** 2)
    return (1 / (1 + np.exp(np.clip((radius - 1) * 25, -30, 30)))).astype(np.float32)


def millimetres(shape: tuple[int, ...], affine: NDArray[np.float64]) -> tuple[NDArray[np.float32], ...]:
    """MNI x, y, z in mm of every voxel, as arrays that broadcast to ``shape``; the affine must have no rotation."""
    axes = []
    for world in range(3):
        row = affine[world, :3]
        axis = int(np.argmax(np.abs(row)))
        values = row[axis] * np.arange(shape[axis]) + affine[world, 3]
        axes.append(values.astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)]))
    return tuple(axes)
