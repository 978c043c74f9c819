"""NeuroVFM's preparation of an MR volume: RPI, 1x1x4 mm, 16x16x4 patches, percentile mask and intensity map.

Written from the published description (arXiv 2511.18640). Resampling is scipy's cubic B-spline (mirror boundary) where
upstream calls ITK's; both interpolate the same spline, and the outermost half voxel follows ITK's rule.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from recon.encode.geometry import cut, foreground_share, lattice_affine, to_encoder_grid
from recon.encode.interface import PreparedVolume, ReferencePreprocessing
from recon.encode.pixel_type import is_integer
from recon.encode.placement import place_volume
from recon.errors import ReconError

SPACING = (4.0, 1.0, 1.0)  # mm along depth, height, width
PATCH = (4, 16, 16)  # voxels along depth, height, width: 1024 values
FOREGROUND_PERCENTILE = 10.0
WINDOW_PERCENTILES = (0.5, 99.5)
MEAN, STANDARD_DEVIATION = 0.3141, 0.2623  # of upstream's MR training set after the intensity map


def prepare_neurovfm(
    volume: NDArray[np.floating],
    affine: NDArray[np.float64] | None,
    preprocessing: ReferencePreprocessing | None = None,
    *,
    slice_axis: int | None = None,
    statistics: tuple[float, float] = (MEAN, STANDARD_DEVIATION),
) -> PreparedVolume:
    """Patches ``[token, 1024]`` of a volume, standardised; see ``Encoder.prepare``.

    Without a preprocessing, mask (voxels above the 10th percentile) and intensity map (0.5th to 99.5th percentile to
    [0, 1]) come from this volume, as upstream has it. A patch with any background voxel is dropped. A volume of
    integers is resampled in its own type, as upstream does with such a file: cut off towards zero, clipped.

    Raises ReconError; see ``Encoder.prepare``.
    """
    place = place_volume("neurovfm", volume, affine, preprocessing, slice_axis)
    pixel_type = volume.dtype if is_integer(volume.dtype) else None
    grid = to_encoder_grid(volume, place.affine, place.slice_axis, SPACING, PATCH, pixel_type=pixel_type)
    if preprocessing is None:
        foreground = grid.values > np.percentile(grid.values, FOREGROUND_PERCENTILE)
        low, high = (float(value) for value in np.percentile(grid.values, WINDOW_PERCENTILES))
        if high <= low:
            raise ReconError("volume: its 0.5th and 99.5th percentiles are equal; it is nearly empty")
        preprocessing = place.preprocessing("neurovfm", grid, foreground, (low, high))
    low, high = preprocessing.intensity
    values = (np.clip(grid.values.astype(np.float64), low, high) - low) / (high - low)
    kept = foreground_share(preprocessing.foreground, PATCH) == 1
    mean, deviation = statistics
    patches = (cut(values, PATCH)[kept] - mean) / deviation
    coords = np.argwhere(kept)
    return PreparedVolume(
        inputs=torch.from_numpy(patches.astype(np.float32)),
        coords=torch.from_numpy(coords.astype(np.int64)),
        token_to_world=lattice_affine(preprocessing.grid_affine, PATCH),
        mask=kept,
        preprocessing=preprocessing,
    )
