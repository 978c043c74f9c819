"""Image quality against a reference: NRMSE, PSNR, SSIM (as fastMRI defines them) and HFEN.

Images are magnitudes ``[slice, readout, phase]`` (a single ``[readout, phase]`` image is one slice; complex images
are replaced by their magnitude). Nothing is rescaled, normalised or clipped before the comparison: a method that
gets the scale wrong is charged for it. ``scale`` says by how much.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import convolve1d
from skimage.metrics import structural_similarity

from recon.errors import ReconError

Image = NDArray[np.float64]
Mask = NDArray[np.bool_]

SSIM_WINDOW = 7  # pixels; uniform window, K1 = .01, K2 = .03: scikit-image's defaults, which fastMRI uses
HFEN_WINDOW = 15  # pixels
HFEN_SIGMA = 1.5  # pixels


@dataclass(frozen=True)
class Metrics:
    """Figures of merit of one volume or one slice. NaN where undefined (a slice whose reference is empty)."""

    nrmse: float
    psnr: float  # dB; infinite when the images are equal
    ssim: float
    hfen: float
    scale: float  # least-squares factor that would bring the image to the reference; 1 when the scale is right


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a volume and of each of its slices."""

    volume: Metrics
    slices: tuple[Metrics, ...]


def evaluate(image: ArrayLike, reference: ArrayLike, mask: ArrayLike | None = None) -> Evaluation:
    """Every metric of ``image`` against ``reference``, per volume and per slice.

    ``mask`` (bool, same shape; optional) restricts every mean and norm to the head; the data range stays the maximum
    of the whole reference volume, also for single slices. Raises ReconError for shapes that differ, NaN or infinite
    values, an empty reference or an empty mask.
    """
    image, reference, region = _checked(image, reference, mask)
    data_range = float(reference.max())
    slices = []
    for index in range(len(reference)):
        one = slice(index, index + 1)
        inside = None if region is None else region[one]
        norm = _norm(reference[one], inside)
        empty = norm == 0 or (inside is not None and not inside.any())
        slices.append(
            Metrics(math.nan, math.nan, math.nan, math.nan, math.nan)
            if empty
            else _metrics(image[one], reference[one], inside, data_range)
        )
    return Evaluation(_metrics(image, reference, region, data_range), tuple(slices))


def nrmse(image: ArrayLike, reference: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Normalised root mean square error ``||x - r|| / ||r||`` over the volume: the square root of fastMRI's NMSE.

    Raises ReconError; see ``evaluate``.
    """
    image, reference, region = _checked(image, reference, mask)
    return _norm(image - reference, region) / _norm(reference, region)


def psnr(
    image: ArrayLike, reference: ArrayLike, mask: ArrayLike | None = None, data_range: float | None = None
) -> float:
    """Peak signal-to-noise ratio in dB over the volume: ``20 log10(max(r) / RMSE)``.

    ``data_range`` defaults to the maximum of the reference volume (fastMRI). Infinite for equal images. Raises
    ReconError; see ``evaluate``.
    """
    image, reference, region = _checked(image, reference, mask)
    return _psnr(image, reference, region, _range(reference, data_range))


def ssim(
    image: ArrayLike, reference: ArrayLike, mask: ArrayLike | None = None, data_range: float | None = None
) -> float:
    """Structural similarity (Wang et al., IEEE TIP 13:600, 2004), the mean over slices of two-dimensional SSIM.

    As fastMRI has it: uniform 7 x 7 window, K1 = .01, K2 = .03, sample covariances, the volume's maximum as data
    range, a border of 3 pixels left out. With ``mask`` the local index is averaged inside the mask, over those slices
    that the mask touches. Raises ReconError; see ``evaluate``.
    """
    image, reference, region = _checked(image, reference, mask)
    return _ssim(image, reference, region, _range(reference, data_range))


def hfen(image: ArrayLike, reference: ArrayLike, mask: ArrayLike | None = None) -> float:
    """High-frequency error norm ``||LoG(x) - LoG(r)|| / ||LoG(r)||`` over the volume, slice by slice in two dimensions.

    LoG is a rotationally symmetric Laplacian of Gaussian of 15 x 15 pixels with a standard deviation of 1.5 pixels and
    zero sum (Ravishankar and Bresler, IEEE TMI 30:1028, 2011; here relative to the reference). Raises ReconError; see
    ``evaluate``.
    """
    image, reference, region = _checked(image, reference, mask)
    return _hfen(image, reference, region)


def scale(image: ArrayLike, reference: ArrayLike, mask: ArrayLike | None = None) -> float:
    """The factor ``<x, r> / <x, x>`` that fits the image to the reference best: a diagnostic, applied nowhere.

    Raises ReconError; see ``evaluate``.
    """
    image, reference, region = _checked(image, reference, mask)
    return _scale(image, reference, region)


def laplacian_of_gaussian(image: Image) -> Image:
    """``image`` ``[..., readout, phase]`` filtered by the operator of ``hfen``, zeros outside the image."""
    offset = np.arange(HFEN_WINDOW) - HFEN_WINDOW // 2
    gauss = np.exp(-(offset**2) / (2 * HFEN_SIGMA**2))
    gauss /= gauss.sum()
    curvature = gauss * (offset**2 - HFEN_SIGMA**2) / HFEN_SIGMA**4
    # The kernel is a sum of two separable ones, less its mean (so that a constant gives exactly zero).
    mean = 2 * curvature.sum() / HFEN_WINDOW**2

    def separable(along_readout: NDArray[np.float64], along_phase: NDArray[np.float64]) -> Image:
        filtered = convolve1d(image, along_readout, axis=-2, mode="constant")
        return convolve1d(filtered, along_phase, axis=-1, mode="constant")

    box = np.ones(HFEN_WINDOW)
    return separable(curvature, gauss) + separable(gauss, curvature) - mean * separable(box, box)


def _metrics(image: Image, reference: Image, region: Mask | None, data_range: float) -> Metrics:
    return Metrics(
        nrmse=_norm(image - reference, region) / _norm(reference, region),
        psnr=_psnr(image, reference, region, data_range),
        ssim=_ssim(image, reference, region, data_range),
        hfen=_hfen(image, reference, region),
        scale=_scale(image, reference, region),
    )


def _psnr(image: Image, reference: Image, region: Mask | None, data_range: float) -> float:
    difference = image - reference if region is None else (image - reference)[region]
    error = float(np.mean(difference**2))
    return math.inf if error == 0 else 10 * math.log10(data_range**2 / error)


def _ssim(image: Image, reference: Image, region: Mask | None, data_range: float) -> float:
    if min(reference.shape[1:]) < SSIM_WINDOW:
        raise ReconError(
            f"SSIM needs images of at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels, these have "
            f"{reference.shape[1]} x {reference.shape[2]}"
        )
    border = SSIM_WINDOW // 2
    inner = (slice(border, -border), slice(border, -border))
    values = []
    for index in range(len(reference)):
        inside = None if region is None else region[index][inner]
        if inside is not None and not inside.any():
            continue
        _, local = structural_similarity(reference[index], image[index], data_range=data_range, full=True)
        local = local[inner]
        values.append(float(local.mean() if inside is None else local[inside].mean()))
    return float(np.mean(values)) if values else math.nan


def _hfen(image: Image, reference: Image, region: Mask | None) -> float:
    # The filter is linear: the difference of the filtered images is the filtered difference.
    norm = _norm(laplacian_of_gaussian(reference), region)
    return math.nan if norm == 0 else _norm(laplacian_of_gaussian(image - reference), region) / norm


def _scale(image: Image, reference: Image, region: Mask | None) -> float:
    if region is not None:
        image, reference = image[region], reference[region]
    energy = float(np.vdot(image, image))
    return math.nan if energy == 0 else float(np.vdot(image, reference)) / energy


def _norm(image: Image, region: Mask | None) -> float:
    return float(np.linalg.norm(image if region is None else image[region]))


def _range(reference: Image, data_range: float | None) -> float:
    value = float(reference.max()) if data_range is None else float(data_range)
    if not (math.isfinite(value) and value > 0):
        raise ReconError(f"the data range must be positive and finite, not {value}")
    return value


def _checked(image: ArrayLike, reference: ArrayLike, mask: ArrayLike | None) -> tuple[Image, Image, Mask | None]:
    """Magnitudes ``[slice, readout, phase]`` in float64 and the mask, or ReconError."""
    volumes = []
    for name, values in (("image", image), ("reference", reference)):
        array = np.asarray(values)
        if array.dtype.kind not in "fciu":
            raise ReconError(f"{name}: expected numbers, found {array.dtype}")
        if array.ndim == 2:
            array = array[None]
        if array.ndim != 3 or array.size == 0:
            raise ReconError(f"{name}: expected [slice, readout, phase], found shape {array.shape}")
        if not np.isfinite(array).all():
            raise ReconError(f"{name}: NaN or infinite values; quality cannot be measured")
        volumes.append(np.asarray(np.abs(array) if array.dtype.kind == "c" else array, np.float64))
    if volumes[0].shape != volumes[1].shape:
        raise ReconError(
            f"image {volumes[0].shape} and reference {volumes[1].shape} are on different grids "
            "[slice, readout, phase]; compare images of the same matrix"
        )
    region = None
    if mask is not None:
        region = np.asarray(mask)
        if region.dtype != np.bool_:
            raise ReconError(f"mask: expected booleans, found {region.dtype}")
        region = region[None] if region.ndim == 2 else region
        if region.shape != volumes[1].shape:
            raise ReconError(f"mask {region.shape} and images {volumes[1].shape} differ in shape")
        if not region.any():
            raise ReconError("the mask is empty; nothing can be measured in it")
    if _norm(volumes[1], region) == 0 or volumes[1].max() <= 0:
        raise ReconError("the reference is empty (all zeros); nothing can be compared with it")
    return volumes[0], volumes[1], region
