"""Volumes on one grid: axes permuted and flipped, never interpolated."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.images.volume import Volume

GRID_TOLERANCE = 0.1  # of a voxel: beyond it two grids are different ones


def on_grid(volume: Volume, shape: tuple[int, ...], affine: NDArray[np.float64] | None, what: str) -> NDArray[Any]:
    """The volume's values on the grid of a result: ``shape`` ``[slice, readout, phase]`` and its affine.

    Axes are permuted and flipped when both affines say so (a NIfTI file that another program turned around); nothing
    is interpolated. ``what`` names the volume in the error. Raises ReconError when the grids differ.
    """
    values = volume.values
    if affine is not None and volume.affine is not None:
        turned = _turn(np.moveaxis(values, 0, -1), volume.affine, affine)
        if turned is None:
            raise ReconError(
                f"{volume.path}: the {what} lies elsewhere in space than the result (their affines differ by more than "
                "a permutation or flip of axes); resample it onto the result's grid"
            )
        values = np.moveaxis(turned, -1, 0)
    if values.shape != tuple(shape):
        raise ReconError(
            f"{volume.path}: the {what} has {_words(values.shape)}, the result {_words(shape)}; "
            "both must be on the same grid"
        )
    return values


def _turn(values: NDArray[Any], affine: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[Any] | None:
    """``values`` (readout, phase, slice) permuted and flipped onto the axes of ``target``; None when that is not
    enough to make both grids coincide to ``GRID_TOLERANCE`` of a voxel at every corner."""
    mapping = np.linalg.inv(target) @ affine  # index in values -> index in target
    axes = np.abs(mapping[:3, :3]).argmax(axis=1)  # the axis of values that runs along each axis of target
    if sorted(axes) != [0, 1, 2]:
        return None
    signs = np.sign(mapping[np.arange(3), axes])
    turned = np.transpose(values, axes)
    turned = turned[tuple(slice(None, None, int(sign)) for sign in signs)]
    # Where each corner of ``values`` should now be found, against where the affines put it.
    for corner in np.ndindex(2, 2, 2):
        index = np.array(corner) * (np.array(values.shape) - 1)
        expected = np.where(signs > 0, index[axes], np.array(turned.shape) - 1 - index[axes])
        found = mapping[:3, :3] @ index + mapping[:3, 3]
        if np.abs(found - expected).max() > GRID_TOLERANCE:
            return None
    return turned


def _words(shape: tuple[int, ...]) -> str:
    if len(shape) != 3:
        return f"shape {tuple(shape)}"
    return f"{shape[0]} slices of {shape[1]} x {shape[2]}"
