"""Apparent diffusion coefficients: S(b) = S0 exp(-b ADC), fitted with the noise of magnitude images in mind.

Magnitudes are Rician: where the signal is weak their mean lies above it (Gudbjartsson and Patz, Magn Reson Med 34:910
(1995)), and a fit that does not know so finds too small an ADC. Weighted log-linear least squares gives the start,
Gauss-Newton on the Rician mean, weighted by the Rician variance, the end.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import i0e, i1e

from recon.errors import ReconError

LARGEST = 0.01  # mm^2/s: three times that of free water in the body
FAINTEST = 3.0  # least signal at the lowest b, in noise standard deviations, that is fitted
_ITERATIONS = 25
_ROUNDING = 1e-6  # of the largest value: what a file's intercept leaves below 0
_RAYLEIGH_MEDIAN = np.sqrt(2 * np.log(2))
_Array = NDArray[np.floating]


@dataclass(frozen=True)
class AdcMap:
    """``adc`` and its standard deviation ``std`` in mm^2/s, 0 outside of ``mask``; all of the images' shape. ``noise``:
    standard deviation of a real component, in the images' units."""

    adc: NDArray[np.float32]
    std: NDArray[np.float32]
    mask: NDArray[np.bool_]
    noise: float


def fit_adc(images: NDArray, b_values: Sequence[float], noise: float | None = None) -> AdcMap:
    """Fit magnitude ``images [b, ...]`` of ``b_values`` in s/mm^2. Without ``noise`` (standard deviation of a real
    component) it is estimated from the background. Left out of the mask are voxels below three times the noise at the
    lowest b, those whose fit ends at 0 or at 0.01 mm^2/s, and planes (the last two axes) that one of the images holds
    nothing of: what is not there is no decay.

    Raises ReconError for fewer than two different b-values, negative ones, values that are not finite or negative, an
    image without any signal, and a background that is empty.
    """
    b = np.asarray(b_values, np.float64)
    if len(b) != len(images) or np.unique(b).size < 2 or not np.isfinite(b).all() or b.min() < 0:
        raise ReconError(f"{len(images)} images with the b-values {list(b_values)}: an ADC needs two different ones")
    planes = images.reshape(len(b), -1, math.prod(images.shape[1:][-2:]))
    measured = (planes != 0).any(axis=2)  # [b, plane]
    values = _magnitudes(planes.reshape(len(b), -1), b)
    sigma = background_noise(values[np.argmax(b)]) if noise is None else float(noise)
    if not (np.isfinite(sigma) and sigma > 0):
        raise ReconError(f"the noise is {sigma:g}, not a positive standard deviation; name it with --noise")
    bright = (values[np.argmin(b)] > FAINTEST * sigma) & np.repeat(measured.all(axis=0), planes.shape[2])
    adc, std = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    adc[bright], std[bright] = _fit(values[:, bright] / sigma, b)
    good = bright & (adc > 0) & (adc < LARGEST) & np.isfinite(std)
    shape = images.shape[1:]
    maps = [np.where(good, entry, 0).astype(np.float32).reshape(shape) for entry in (adc, std)]
    return AdcMap(maps[0], maps[1], good.reshape(shape), sigma)


def _magnitudes(values: NDArray, b: _Array) -> _Array:
    """``values [b, voxel]`` as they are, but for what rounding made negative. Raises ReconError for what cannot be."""
    for value, image in zip(b, values, strict=True):
        usable = np.isfinite(image)
        usable &= image >= -_ROUNDING * np.max(image, where=usable, initial=0)
        wrong = int((~usable).sum())
        if wrong:
            raise ReconError(
                f"the image of b = {value:g} s/mm^2 has {wrong} values that are NaN, infinite or negative; an ADC is "
                "fitted to magnitudes: export it again as such"
            )
        if not image.any():
            raise ReconError(f"the image of b = {value:g} s/mm^2 is zero everywhere; leave it out, or export it again")
    return np.maximum(values.astype(np.float64), 0)


def background_noise(values: NDArray) -> float:
    """Standard deviation of a real component from the darkest quarter of a magnitude image, where it is Rayleigh
    distributed: its upper end is the quartile of a quarter of all voxels, or all of the background where that is more.

    Raises ReconError when the background holds zeros: it was masked, and says nothing."""
    ordered: _Array = np.sort(np.asarray(values, np.float64).ravel())
    if ordered.size < 64 or ordered[ordered.size // 20] <= 0:
        raise ReconError("the background is zero (masked), so the noise cannot be estimated; name it with --noise")
    ordered = _without_steps(ordered)
    sigma = np.median(ordered[: ordered.size // 4]) / _RAYLEIGH_MEDIAN
    for _ in range(50):  # to where the median of what lies below 3 sigma is that of a Rayleigh distribution
        below = ordered[ordered < 3 * sigma]
        fresh = np.median(below) / _RAYLEIGH_MEDIAN
        if abs(fresh - sigma) < 1e-4 * sigma:
            break
        sigma = fresh
    return float(sigma)


def _without_steps(ordered: _Array) -> _Array:
    """Sorted magnitudes of a file of integers, those of one number spread over its step, 0 over half a step: the
    median of few numbers is no measure of what was rounded to them. Others as they are."""
    numbers, counts = np.unique(ordered, return_counts=True)
    if numbers.size < 2 or numbers.size > ordered.size / 4:
        return ordered
    step = np.diff(numbers).min()
    within = (np.arange(ordered.size) - np.repeat(np.cumsum(counts) - counts, counts) + 0.5) / np.repeat(counts, counts)
    spread: _Array = ordered + step * np.where(ordered > 0, within - 0.5, within / 2)
    return spread


def rician_mean(signal: _Array) -> tuple[_Array, _Array]:
    """Mean of the magnitude of ``signal`` in units of the noise, and its derivative by the signal."""
    half = signal**2 / 4
    low, high = i0e(half), i1e(half)
    return np.sqrt(np.pi / 2) * ((1 + 2 * half) * low + 2 * half * high), np.sqrt(np.pi / 2) * signal / 2 * (low + high)


def _fit(values: _Array, b: _Array) -> tuple[_Array, _Array]:
    """ADC and its standard deviation of ``values [b, voxel]`` in units of the noise."""
    scaled = b / b.max()  # the unknowns of order one
    signal = np.sqrt(np.maximum(values**2 - 2, 0.05))
    logarithm, rate = _weighted_line(np.log(signal), scaled, signal**2)
    limit = LARGEST * b.max()
    rate = np.clip(rate, 0, limit)
    for _ in range(_ITERATIONS):
        signal = np.exp(np.clip(logarithm - scaled[:, None] * rate, -20, 20))
        mean, slope = rician_mean(signal)
        weight = 1 / np.maximum(signal**2 + 2 - mean**2, 0.1)
        information, gradient = _normal(slope * signal, scaled, weight, values - mean)
        step = np.linalg.solve(information, gradient[..., None])[..., 0]
        step /= np.maximum(1, np.abs(step).max(axis=1, keepdims=True))  # at most a factor e at once
        logarithm, rate = logarithm + step[:, 0], np.clip(rate + step[:, 1], 0, limit)
    covariance = np.linalg.inv(information)
    return rate / b.max(), np.sqrt(np.maximum(covariance[:, 1, 1], 0)) / b.max()


def _normal(slope: _Array, scaled: _Array, weight: _Array, residual: _Array) -> tuple[_Array, _Array]:
    """Information matrices ``[voxel, 2, 2]`` and gradients ``[voxel, 2]`` for (log S0, rate)."""
    jacobian = np.stack([slope, -scaled[:, None] * slope], axis=-1)  # [b, voxel, unknown]
    information = np.einsum("bv,bvi,bvj->vij", weight, jacobian, jacobian) + 1e-6 * np.eye(2)
    return information, np.einsum("bv,bvi,bv->vi", weight, jacobian, residual)


def _weighted_line(values: _Array, scaled: _Array, weight: _Array) -> tuple[_Array, _Array]:
    """Weighted least squares of ``values [b, voxel]`` = intercept - rate * scaled."""
    jacobian = np.ones_like(values)
    information, gradient = _normal(jacobian, scaled, weight, values)
    solution = np.linalg.solve(information, gradient[..., None])[..., 0]
    return solution[:, 0], solution[:, 1]
