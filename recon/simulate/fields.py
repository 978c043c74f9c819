"""Smooth random fields: the one ingredient of deformations, textures, lesion shapes and phase."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

# Lattice points per correlation length. A Gaussian-filtered field holds nothing finer, so linear
# interpolation between such points is accurate to about a hundredth of its standard deviation.
_POINTS_PER_LENGTH = 3.0


def smooth_field(
    shape: tuple[int, ...], spacing: tuple[float, ...], length: float, generator: np.random.Generator
) -> NDArray[np.float32]:
    """A Gaussian random field of zero mean and unit standard deviation on a regular grid.

    ``shape`` and ``spacing`` (mm) describe the grid, ``length`` (mm) is the standard deviation of the Gaussian kernel
    that white noise is filtered with; the correlation is exp(-d^2 / (4 length^2)). The field is drawn on a coarser
    lattice and interpolated, so that the cost does not grow with the correlation length. Returns float32 ``shape``.
    """
    step = [max(length / _POINTS_PER_LENGTH, pitch) for pitch in spacing]
    coarse = [int(np.ceil((count - 1) * pitch / s)) + 2 for count, pitch, s in zip(shape, spacing, step, strict=True)]
    sigma = [length / s for s in step]
    margin = [int(np.ceil(3 * s)) for s in sigma]
    noise = generator.standard_normal([c + 2 * m for c, m in zip(coarse, margin, strict=True)], dtype=np.float32)
    filtered = gaussian_filter(noise, sigma, mode="constant")
    inner = filtered[tuple(slice(m, m + c) for m, c in zip(margin, coarse, strict=True))] / _filter_gain(sigma)
    axes = [np.arange(count) * (pitch / s) for count, pitch, s in zip(shape, spacing, step, strict=True)]
    field = inner
    for axis, positions in enumerate(axes):
        field = _interpolate_axis(field, positions, axis)
    return np.ascontiguousarray(field, dtype=np.float32)


def sample_volume(
    volume: NDArray[np.float32], coordinates: NDArray[np.float32], outside: float = 0.0
) -> NDArray[np.float32]:
    """Linear interpolation of ``volume`` [slice, row, column] at voxel ``coordinates`` [3, ...]; float32 [...]."""
    return map_coordinates(volume, coordinates, output=np.float32, order=1, mode="constant", cval=outside)


def _filter_gain(sigma: list[float]) -> float:
    """Standard deviation of unit white noise after ``gaussian_filter`` with these widths (in points)."""
    gain = 1.0
    for s in sigma:
        offsets = np.arange(-int(4 * s + 0.5), int(4 * s + 0.5) + 1)
        kernel = np.exp(-0.5 * (offsets / max(s, 1e-6)) ** 2)
        gain *= float(np.sqrt(np.sum((kernel / kernel.sum()) ** 2)))
    return gain


def _interpolate_axis(field: NDArray[np.float32], positions: NDArray[np.floating], axis: int) -> NDArray[np.float32]:
    lower = np.minimum(positions.astype(int), field.shape[axis] - 2)
    weight = (positions - lower).astype(np.float32)
    weight = weight.reshape([-1 if a == axis else 1 for a in range(field.ndim)])
    return np.take(field, lower, axis) * (1 - weight) + np.take(field, lower + 1, axis) * weight
