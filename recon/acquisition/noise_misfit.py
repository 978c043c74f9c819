"""Whether the noise that a file holds can be that of its k-space."""

import math

import numpy as np
from numpy.typing import NDArray

from recon.scan import Scan

WEAKEST, STRONGEST = 1e-12, 1e4  # noise over the largest value of kspace; in practice 1e-6 to 1e-2


TRUSTED_EXCESS = 2.0  # noise over the most that kspace can hold; filters and zero padding of raw data stay well below


def noise_excess(kspace: NDArray[np.complex64], power: NDArray[np.floating]) -> float:
    """By how many times noise of ``power [coil]`` (``E[|n|^2]``) is too strong for ``kspace [coil, readout, phase]``:
    the median over the coils of its standard deviation over the most that half of the measured samples leaves room for,
    signal or not. About one or less for a scan's own noise; 0 where nothing was measured."""
    ratios = []
    for samples, stated in zip(np.abs(kspace).astype(np.float64), power, strict=True):
        measured = samples[samples > 0]
        if measured.size:
            ratios.append(math.sqrt(float(stated) * math.log(2)) / float(np.median(measured)))  # of |n|^2, exponential
    return float(np.median(ratios)) if ratios else 0.0


def excess_warning(excess: float, source: str) -> str | None:
    """What is to be said of ``noise_excess``, where that is too much; ``source`` says where the noise is from."""
    if excess <= TRUSTED_EXCESS:
        return None
    return (
        f"the noise ({source}) is {excess:.3g} times what k-space can hold: it is of another scan, gain or unit, and "
        "images made with it are too smooth or too dark; leave it out, or give its level"
    )


def noise_misfit(scan: Scan, strongest: float) -> str | None:
    """Why the noise that a scan's file holds cannot be that of kspace whose largest value is ``strongest``, in words;
    None when it can, or when the file holds none."""
    if scan.noise is not None:
        power = float(np.mean(np.abs(scan.noise.astype(np.complex128)) ** 2))
    elif scan.noise_covariance is not None:
        power = float(np.mean(scan.noise_covariance.diagonal().real.astype(np.float64)))
    else:
        return None
    level = math.sqrt(power)
    if WEAKEST * strongest < level < STRONGEST * strongest:
        return None
    return (
        f"noise of {level:.0e} is not that of k-space with values up to {strongest:.0e}; export the scan again with "
        "its own noise scan, or without"
    )
