"""The noise level of a series, and more noise of that level: what a noise floor is made of."""

import numpy as np
from numpy.typing import NDArray

from recon.encode.volumes import Series
from recon.errors import ReconError

ESTIMATED = "estimated from the reference image"
FOREGROUND = 0.1  # of the 99th percentile: above it a voxel counts as signal


def noise_level(series: Series, slice_axis: int, snr: float | None) -> tuple[float, float, str]:
    """Noise per real component, SNR (mean foreground signal over it), and where it comes from.

    In this order: ``snr`` as given; the level stored in the result file; that of the scan whose image this is, from
    its k-space (``recon.reconstruction.noise_level``); an estimate from the image (``estimate_noise``). Raises
    ReconError when none gives a positive level.
    """
    low = FOREGROUND * float(np.percentile(series.values, 99))
    signal = float(series.values[series.values > low].mean())
    if snr is not None:
        if not snr > 0:
            raise ReconError(f"SNR {snr}: must be positive")
        return signal / snr, snr, "SNR as given"
    if series.noise_std is not None:
        return series.noise_std, signal / series.noise_std, "noise level of the scan, from the result file"
    if series.measured:
        from recon.reconstruction.noise_level import image_noise
        from recon.scans.opening import open_scan

        level = image_noise(open_scan(series.path))
        return level, signal / level, "noise level of the scan, from its k-space"
    level = estimate_noise(np.moveaxis(series.values, slice_axis, 0), low)
    if not level > 0:
        raise ReconError(
            f"{series.path}: its noise level cannot be estimated (no noise in it?); give the scan's SNR with --snr"
        )
    return level, signal / level, ESTIMATED


def estimate_noise(slices: NDArray[np.float32], low: float) -> float:
    """Noise per real component from the diagonal Haar details of ``[slice, row, column]`` where there is signal.

    Median absolute deviation over 2 x 2 blocks that lie above ``low``, over 0.6745 (Donoho and Johnstone, Biometrika
    81:425, 1994). Above the noise a magnitude image's noise is that of one real component. Fine texture adds to it;
    0 when there is no noise.
    """
    even = slices[:, : slices.shape[1] // 2 * 2, : slices.shape[2] // 2 * 2].astype(np.float64)
    corners = [even[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    detail = (corners[0] - corners[1] - corners[2] + corners[3]) / 2
    inside = np.min(corners, axis=0) > low
    return float(np.median(np.abs(detail[inside])) / 0.6745) if inside.any() else 0.0


def add_noise(values: NDArray[np.float32], noise_std: float, generator: np.random.Generator) -> NDArray[np.float32]:
    """Magnitude of ``values`` plus complex white Gaussian noise, ``noise_std`` per real component."""
    real = values + noise_std * generator.standard_normal(values.shape)
    imaginary = noise_std * generator.standard_normal(values.shape)
    return np.hypot(real, imaginary).astype(np.float32)
