"""The mean over a region of an image, such as a lesion, with its posterior standard deviation and an interval.

Neighbouring errors are correlated, so the standard deviation of a mean does not follow from the map of standard
deviations alone. The draws of the deviation tell the rest: var(mean) = sum_pq s_p s_q rho(p - q) / n^2, with rho the
autocorrelation of the whole slice (``recon.quality.deviations``). The few draws themselves give an unbiased variance of
a region's mean, too, but with as many degrees of freedom as there are draws; rho is known from all of the slice.

That is the same for every region. A region that was drawn around something, such as a lesion, has errors of one sign
all over it: a little less resolution moves signal over its edge, and a prior makes it more like its surroundings. Both
grow with what was not measured, fall with how much of the region is not its edge, and are of one sign in all slices of
it. ``COMMON_ERROR`` times the acceleration and the root of the edge's share of the region is how large that common
error is in a slice, in units of what the mean over its part of the region would err by if it had been put anywhere.
The contrast seen in the image tells less: what was lost of a lesion is not in it.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, generate_binary_structure
from scipy.stats import t

from recon.errors import ReconError
from recon.quality.deviations import (
    autocorrelation,
    degrees_of_freedom,
    head_of,
    neighbourhood_std,
    smoothed,
    sum_degrees_of_freedom,
    variance_of_sum,
)

COMMON_ERROR = 0.85  # with which the errors of 101 lesions' means were likeliest, see methods.md
PLANE = generate_binary_structure(2, 2)[None]  # neighbours within a slice


@dataclass(frozen=True)
class RegionMean:
    """The mean of a region in the image's units, its posterior standard deviation, and the degrees of freedom with
    which that is known: its own relative standard error is about ``1 / sqrt(2 degrees_of_freedom)``."""

    mean: float
    std: float
    degrees_of_freedom: float

    def interval(self, level: float = 0.9) -> tuple[float, float]:
        """In which the true mean lies with probability ``level`` (Student's t)."""
        reach = self.std * float(t.ppf(0.5 + level / 2, self.degrees_of_freedom))
        return self.mean - reach, self.mean + reach


@dataclass(frozen=True)
class SliceDeviations:
    """What the draws of one slice tell; made once for any number of regions. See ``recon.quality.deviations``."""

    std: NDArray[np.float32]  # [readout, phase]
    correlation: NDArray[np.float64]
    pixels: int  # of the head, over which the correlation was averaged
    draws: int

    def of_sum(self, region: NDArray[np.bool_]) -> tuple[float, float]:
        """``(variance, degrees of freedom)`` of the sum over a region ``[readout, phase]``."""
        rows, columns = _box(region)
        weights = np.where(region, self.std, 0.0)[rows, columns]
        looked_at = smoothed(region.astype(float))
        variance = variance_of_sum(weights, self.correlation)
        # An autocorrelation that is averaged over ever fewer pairs may add up to nothing over a large region; without
        # that correction it cannot, and is somewhat too small.
        shrunk = self.correlation * _overlap(self.correlation.shape)
        variance = max(variance, variance_of_sum(weights, shrunk))
        # What is known of the level here, and of the correlation everywhere: relative variances add up.
        level = degrees_of_freedom(looked_at[_box(looked_at > 0)], self.correlation, self.draws)
        shape = sum_degrees_of_freedom(weights, self.correlation, self.pixels, self.draws)
        return variance, max(1.0, 1 / (1 / level + 1 / shape))


def slice_deviations(deviations: NDArray[np.float32], image: NDArray[np.float32]) -> SliceDeviations:
    """Of ``deviations [draw, readout, phase]`` around ``image [readout, phase]``."""
    head = head_of(image)
    found = autocorrelation(deviations, head)
    return SliceDeviations(neighbourhood_std(deviations), found, int(head.sum()), len(deviations))


def region_mean(
    image: NDArray[np.float32], deviations: NDArray[np.float32] | None, region: NDArray, *, acceleration: float | None
) -> RegionMean:
    """The mean of ``image`` where ``region`` is set, both ``[slice, readout, phase]``.

    ``deviations [slice, draw, readout, phase]`` are those of a result (``Reconstruction.deviations``).
    ``acceleration``: the result's, of a region that was drawn around something, whose edge is its edge; None for one
    that was put anywhere. Slices are reconstructed one by one, so their errors are taken as independent, but for those
    that a region drawn around something has as a whole. Raises ReconError for shapes that differ, an empty region, an
    acceleration below one, and a result without deviations.
    """
    inside = np.asarray(region, bool)
    if deviations is None:
        raise ReconError("the result has no deviations: reconstruct by a sampler with two samples or more")
    if inside.shape != image.shape or deviations.shape[:1] + deviations.shape[2:] != image.shape:
        raise ReconError(
            f"image {image.shape}, region {inside.shape} and deviations {deviations.shape} are on different grids"
        )
    if not inside.any():
        raise ReconError("the region is empty")
    if acceleration is not None and not acceleration >= 1:
        raise ReconError(f"the acceleration must be at least one, not {acceleration}; it stands in the result")
    unit = np.float32(max(float(np.abs(deviations).max()), 1e-30))  # single precision may not hold its square
    variances, freedoms = [], []
    for index in np.flatnonzero(inside.any((1, 2))):
        found = slice_deviations(deviations[index] / unit, image[index])
        variance, freedom = found.of_sum(inside[index])
        variances.append(variance)
        freedoms.append(freedom)
    pixels = int(inside.sum())
    common = 0.0 if acceleration is None else COMMON_ERROR * acceleration * math.sqrt(edge_share(inside))
    total = sum(variances)
    squares = sum(v**2 / f for v, f in zip(variances, freedoms, strict=True))
    freedom = total**2 / squares if squares > 0 else float(len(deviations[0]))
    std = math.hypot(math.sqrt(total), common * sum(map(math.sqrt, variances))) / pixels
    return RegionMean(float(image[inside].mean()), std * float(unit), freedom)


def edge_share(inside: NDArray[np.bool_]) -> float:
    """What part of a region ``[slice, readout, phase]`` are pixels that touch the outside in their slice."""
    return float((inside & ~binary_erosion(inside, PLANE)).sum() / inside.sum())


def _box(region: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The smallest rectangle around a region."""
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _overlap(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """What part of a slice still overlaps with itself after a shift."""
    rows, columns = (np.convolve(np.ones((size + 1) // 2), np.ones((size + 1) // 2)) for size in shape)
    return np.outer(rows / rows.max(), columns / columns.max())
