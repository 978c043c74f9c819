"""Preparation of a volume for the small encoder: 1 mm in plane, slices as measured (at least 4 mm apart), 8 mm patches.

Unlike a fixed 4 mm grid, slices that lie further apart are not interpolated: clinical and simulated stacks with gaps
keep what was measured, and the position code knows the millimetres between them.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from recon.encode.geometry import Grid, cut, foreground_share, lattice_affine, to_encoder_grid
from recon.encode.interface import PreparedVolume, ReferencePreprocessing
from recon.encode.placement import place_volume
from recon.errors import ReconError
from recon.images.slice_axis import voxel_spacing

NAME = "recon-small"
IN_PLANE = 1.0  # mm
LEAST_SLICE_STEP = 4.0  # mm: thinner slices are sampled every 4 mm, as NeuroVFM does
FOREGROUND = 0.15  # of the 99th percentile of the smoothed volume
SMOOTHING = 2.0  # mm
LEAST_SHARE = 0.5  # of a patch that must be head
MEDIAN_AT = 0.5  # where the intensity map puts the median of the head
BRIGHTEST = 3.0  # values are clipped there
MEAN, STANDARD_DEVIATION = 0.5, 0.35


def encoder_grid(
    volume: NDArray[np.floating], affine: NDArray[np.float64], slice_axis: int, patch: int, what: str = "volume"
) -> Grid:
    """The volume at 1 mm in plane and max(4 mm, its own step) along the slices, cropped to whole patches.

    A single slice keeps its thickness.

    Raises ReconError when less than one patch is left.
    """
    own = voxel_spacing(affine)[slice_axis]
    step = own if volume.shape[slice_axis] == 1 else max(LEAST_SLICE_STEP, own)
    return to_encoder_grid(volume, affine, slice_axis, (step, IN_PLANE, IN_PLANE), (1, patch, patch), what)


def head_mask(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The head on the encoder's grid ``[depth, height, width]``: smoothed signal above air, holes filled by slice."""
    smooth = ndimage.gaussian_filter(values, (0, SMOOTHING, SMOOTHING))
    above = smooth > FOREGROUND * np.percentile(smooth, 99)
    return np.stack([ndimage.binary_fill_holes(plane) for plane in above])


def intensity_map(values: NDArray[np.float32], head: NDArray[np.bool_]) -> tuple[float, float]:
    """The values that become 0 and 1. Raises ReconError when there is no head to take them from."""
    median = float(np.median(values[head])) if head.any() else 0.0
    if not median > 0:
        raise ReconError("volume: no head found in it, it is nearly empty; is it a magnitude image?")
    return (0.0, median / MEDIAN_AT)


def standardise(values: NDArray[np.floating], intensity: tuple[float, float]) -> NDArray[np.float32]:
    """Grid values as the network takes them, float32."""
    low, high = intensity
    mapped = np.clip((values.astype(np.float64) - low) / (high - low), 0, BRIGHTEST)
    return ((mapped - MEAN) / STANDARD_DEVIATION).astype(np.float32)


def prepare_small(
    volume: NDArray[np.floating],
    affine: NDArray[np.float64] | None,
    preprocessing: ReferencePreprocessing | None = None,
    *,
    slice_axis: int | None = None,
    patch: int = 8,
) -> PreparedVolume:
    """Patches ``[token, patch^2]`` of a volume; see ``Encoder.prepare``. Raises ReconError as described there."""
    place = place_volume(NAME, volume, affine, preprocessing, slice_axis)
    grid = encoder_grid(volume, place.affine, place.slice_axis, patch)
    if preprocessing is None:
        head = head_mask(grid.values)
        preprocessing = place.preprocessing(NAME, grid, head, intensity_map(grid.values, head))
    size = (1, patch, patch)
    kept = foreground_share(preprocessing.foreground, size) >= LEAST_SHARE
    patches = cut(standardise(grid.values, preprocessing.intensity), size)[kept]
    return PreparedVolume(
        inputs=torch.from_numpy(np.ascontiguousarray(patches)),
        coords=torch.from_numpy(np.argwhere(kept).astype(np.int64)),
        token_to_world=lattice_affine(preprocessing.grid_affine, size),
        mask=kept,
        preprocessing=preprocessing,
    )


def token_positions(coords: NDArray[np.int64], token_to_world: NDArray[np.float64]) -> NDArray[np.float32]:
    """Centres of tokens ``[token, 3]`` in RAS mm, from the middle of all kept tokens.

    The middle of the head is where atlases put their origin, within a centimetre; a scanner's isocentre is not.
    """
    world = coords @ token_to_world[:3, :3].T + token_to_world[:3, 3]
    return (world - world.mean(axis=0)).astype(np.float32)
