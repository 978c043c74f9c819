"""NeuroVFM's preparation of an MR volume: RPI, 1x1x4 mm, 16x16x4 patches, percentile mask and intensity map.

Written from the published description (arXiv 2511.18640). Resampling is scipy's cubic B-spline (mirror boundary) where
upstream calls ITK's; both interpolate the same spline, and the outermost half voxel follows ITK's rule.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from recon.encode.geometry import check_volume, header_slice_axis, same_grid, to_encoder_grid
from recon.encode.interface import Lock, Prepared
from recon.errors import ReconError

SPACING = (4.0, 1.0, 1.0)  # mm along depth, height, width
PATCH = (4, 16, 16)  # voxels along depth, height, width: 1024 values
FOREGROUND_PERCENTILE = 10.0
WINDOW_PERCENTILES = (0.5, 99.5)
MEAN, STANDARD_DEVIATION = 0.3141, 0.2623  # of upstream's MR training set after the intensity map


def prepare_neurovfm(
    volume: NDArray[np.floating],
    affine: NDArray[np.float64] | None,
    lock: Lock | None = None,
    *,
    slice_axis: int | None = None,
    statistics: tuple[float, float] = (MEAN, STANDARD_DEVIATION),
) -> Prepared:
    """Patches ``[token, 1024]`` of a volume, standardised; see ``Encoder.prepare``.

    Without a lock, mask (voxels above the 10th percentile) and intensity map (0.5th to 99.5th percentile to [0, 1])
    come from this volume, as upstream has it. A patch with any background voxel is dropped.

    Raises ReconError; see ``Encoder.prepare``.
    """
    check_volume(volume, affine)
    assert affine is not None
    affine = np.asarray(affine, np.float64)
    shape = (int(volume.shape[0]), int(volume.shape[1]), int(volume.shape[2]))
    if lock is not None:
        check_lock(lock, "neurovfm", shape, affine)
        slice_axis = lock.slice_axis
    elif slice_axis is None:
        slice_axis = header_slice_axis(affine).axis
    elif slice_axis not in (0, 1, 2):
        raise ReconError(f"slice axis {slice_axis}: give 0, 1 or 2, an axis of the volume")
    grid = to_encoder_grid(volume, affine, slice_axis, SPACING, PATCH)
    if lock is None:
        foreground = grid.values > np.percentile(grid.values, FOREGROUND_PERCENTILE)
        low, high = (float(value) for value in np.percentile(grid.values, WINDOW_PERCENTILES))
        if high <= low:
            raise ReconError("volume: its 0.5th and 99.5th percentiles are equal; it is nearly empty")
        lock = Lock(
            encoder="neurovfm",
            shape=shape,
            affine=affine,
            slice_axis=slice_axis,
            grid_shape=grid.values.shape,
            grid_affine=grid.affine,
            foreground=foreground,
            intensity=(low, high),
        )
    low, high = lock.intensity
    values = (np.clip(grid.values.astype(np.float64), low, high) - low) / (high - low)
    kept = cut(lock.foreground, PATCH).all(axis=-1)
    mean, deviation = statistics
    patches = (cut(values, PATCH)[kept] - mean) / deviation
    coords = np.argwhere(kept)
    return Prepared(
        inputs=torch.from_numpy(patches.astype(np.float32)),
        coords=torch.from_numpy(coords.astype(np.int64)),
        token_to_world=lattice_affine(lock.grid_affine, PATCH),
        mask=kept,
        lock=lock,
    )


def check_lock(lock: Lock, encoder: str, shape: tuple[int, int, int], affine: NDArray[np.float64]) -> None:
    """Refuse a lock of another encoder or another grid. Raises ReconError."""
    if lock.encoder != encoder:
        raise ReconError(f"the lock was made by encoder '{lock.encoder}', not '{encoder}'; make one with this encoder")
    if not same_grid(lock.shape, lock.affine, shape, affine):
        raise ReconError(
            f"reference of shape {lock.shape} and reconstruction of shape {shape} lie on different grids; "
            "give --resample to bring the reconstruction onto the reference's grid"
        )


def cut(grid: NDArray[np.generic], patch: tuple[int, int, int]) -> NDArray[np.generic]:
    """``[depth, height, width]`` to ``[patch depth, patch height, patch width, value]``, values in C order."""
    counts = [n // p for n, p in zip(grid.shape, patch, strict=True)]
    blocks = grid.reshape(counts[0], patch[0], counts[1], patch[1], counts[2], patch[2])
    return blocks.transpose(0, 2, 4, 1, 3, 5).reshape(*counts, -1)


def lattice_affine(grid_affine: NDArray[np.float64], patch: tuple[int, int, int]) -> NDArray[np.float64]:
    """Patch index -> RAS+ mm of the patch's centre, from the affine of the voxels."""
    to_voxel = np.diag([*map(float, patch), 1.0])
    to_voxel[:3, 3] = (np.array(patch) - 1) / 2
    return grid_affine @ to_voxel
