"""What independent draws of a posterior's deviation from its mean tell: its standard deviation, and how well.

``deviations [draw, readout, phase]`` have mean zero and, each by itself, the posterior's covariance: half the
difference of two antithetic samples, or the contrasts of independent ones (``contrasts``). One draw knows the variance
of a pixel to no better than itself, so squares are averaged over a neighbourhood. By how much that helps depends on how
far the deviations are correlated, which a slice's own draws show: their autocorrelation, taken to be the same
everywhere in the head, as that of noise amplified by coils and of a denoiser's errors about is.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.signal import convolve

NEIGHBOURHOOD = 1.5  # pixels: standard deviation of the Gaussian over which squares are averaged, about 28 of them
TRUNCATION = 3.0  # standard deviations after which it ends
AIR_FRACTION = 0.1  # of the image's 99th percentile: the head is what is brighter


def contrasts(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """``sample - 1`` independent deviations of ``samples [sample, ...]`` by Helmert's contrasts: the mean of their
    squares is the samples' variance."""
    rows = [
        (samples[:count].sum(0) - count * samples[count]) / np.sqrt(count * (count + 1))
        for count in range(1, len(samples))
    ]
    return np.stack(rows).astype(np.float32)


def smoothed(values: NDArray) -> NDArray:
    """``values [..., readout, phase]`` averaged over the neighbourhood; edges repeat."""
    width = (*[0.0] * (values.ndim - 2), NEIGHBOURHOOD, NEIGHBOURHOOD)
    return gaussian_filter(values, width, mode="nearest", truncate=TRUNCATION)


def neighbourhood_std(deviations: NDArray[np.float32]) -> NDArray[np.float32]:
    """Standard deviation ``[readout, phase]``: squares averaged over draws and over the neighbourhood."""
    return np.sqrt(smoothed((deviations**2).mean(0)))


def head_of(image: NDArray) -> NDArray[np.bool_]:
    """Where ``image [readout, phase]`` shows more than air."""
    return np.asarray(image > AIR_FRACTION * np.quantile(image, 0.99), bool)


def autocorrelation(deviations: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Correlation of the deviations at two pixels by the distance between them, ``[2 readout - 1, 2 phase - 1]``, the
    distance zero in the middle: the sum of products over that of the standard deviations' products, over the pixels
    ``inside``. (Not of deviations that were divided by their standard deviations: these are estimated from the same
    draws, so that they take some of the correlation away; here that cancels when they multiply it again.) Zero where no
    two pixels are at that distance, and everywhere but in the middle where nothing deviates."""
    expected = np.where(inside, neighbourhood_std(deviations), 0.0)
    products = sum(correlated(one, one) for one in np.where(inside, deviations, 0.0))
    pairs = len(deviations) * correlated(expected, expected)
    rounding = 1e-9 * pairs.max()
    found = np.where(pairs > rounding, products / np.maximum(pairs, max(rounding, 1e-300)), 0.0).clip(-1, 1)
    found[found.shape[0] // 2, found.shape[1] // 2] = 1.0
    return found


def correlated(left: NDArray, right: NDArray) -> NDArray[np.float64]:
    """``sum_p left(p) right(p + h)`` for every distance h, zero in the middle."""
    return convolve(right.astype(float), left[::-1, ::-1].astype(float), method="fft")


def degrees_of_freedom(weights: NDArray, correlation: NDArray[np.float64], draws: int) -> float:
    """Of a weighted mean of squares of Gaussian deviations, as of a chi-squared: ``(sum w)^2 / sum w w' rho^2`` times
    the number of draws (Satterthwaite)."""
    products = correlated(weights, weights)
    return float(draws * weights.sum() ** 2 / (products * _cut(correlation, products.shape) ** 2).sum())


def pixel_degrees_of_freedom(correlation: NDArray[np.float64], draws: int) -> float:
    """Those of the variance that ``neighbourhood_std`` gives for one pixel."""
    reach = int(np.ceil(TRUNCATION * NEIGHBOURHOOD))
    point = np.zeros((2 * reach + 1, 2 * reach + 1))
    point[reach, reach] = 1.0
    return degrees_of_freedom(smoothed(point), correlation, draws)


def variance_of_sum(weights: NDArray, correlation: NDArray[np.float64]) -> float:
    """Variance of the sum over pixels of deviations whose standard deviations are ``weights [readout, phase]``."""
    products = correlated(weights, weights)
    return float((products * _cut(correlation, products.shape)).sum())


def sum_degrees_of_freedom(weights: NDArray, correlation: NDArray[np.float64], pixels: int, draws: int) -> float:
    """Of ``variance_of_sum`` where ``correlation`` was averaged over ``pixels``: it is about the mean square of that
    sum at every place of the slice, and neighbouring places see about the same."""
    products = correlated(weights, weights)
    everywhere = convolve(products, _cut(correlation, products.shape), method="fft")
    middle = everywhere[everywhere.shape[0] // 2, everywhere.shape[1] // 2]
    return float(draws * pixels / np.square(everywhere / middle).sum()) if middle > 0 else float(draws)


def _cut(correlation: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The middle of ``correlation``, zeros where it does not reach."""
    result = np.zeros(shape)
    inner, outer = [], []
    for size, have in zip(shape, correlation.shape, strict=True):
        reach = min(size, have) // 2
        inner.append(slice(size // 2 - reach, size // 2 + reach + 1))
        outer.append(slice(have // 2 - reach, have // 2 + reach + 1))
    result[tuple(inner)] = correlation[tuple(outer)]
    return result
