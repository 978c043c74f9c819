"""The noise level of a series, and more noise of that level: what a noise floor is made of."""

import numpy as np
from numpy.typing import NDArray

from recon.encode.volumes import Series
from recon.errors import ReconError

FOREGROUND = 0.1  # of the 99th percentile: above it a voxel counts as signal


def noise_level(series: Series, slice_axis: int, snr: float | None) -> tuple[float, float, str]:
    """Noise per real component, SNR (mean foreground signal over it), and where it comes from.

    In this order: ``snr`` as given; the level stored in the reference's result file; a wavelet estimate (median
    absolute deviation, Donoho 1994) from the reference image. Raises ReconError when none gives a positive level.
    """
    low = FOREGROUND * float(np.percentile(series.values, 99))
    signal = float(series.values[series.values > low].mean())
    if snr is not None:
        if not snr > 0:
            raise ReconError(f"SNR {snr}: must be positive")
        return signal / snr, snr, "SNR as given"
    if series.noise_std is not None:
        return series.noise_std, signal / series.noise_std, "noise level of the scan, from the result file"
    from skimage.restoration import estimate_sigma

    slices = np.moveaxis(series.values, slice_axis, 0)
    estimates = [float(estimate_sigma(image)) for image in slices if float(image.max()) > low]
    level = float(np.median(estimates)) if estimates else 0.0
    if not level > 0:
        raise ReconError(
            f"{series.path}: its noise level cannot be estimated (no noise in it?); give the scan's SNR with --snr"
        )
    return level, signal / level, "estimated from the reference image"


def add_noise(values: NDArray[np.float32], noise_std: float, generator: np.random.Generator) -> NDArray[np.float32]:
    """Magnitude of ``values`` plus complex white Gaussian noise, ``noise_std`` per real component."""
    real = values + noise_std * generator.standard_normal(values.shape)
    imaginary = noise_std * generator.standard_normal(values.shape)
    return np.hypot(real, imaginary).astype(np.float32)
