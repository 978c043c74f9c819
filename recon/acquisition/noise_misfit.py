"""Whether the noise that a file holds can be that of its k-space."""

import math

import numpy as np

from recon.scan import Scan

WEAKEST, STRONGEST = 1e-12, 1e4  # noise over the largest value of kspace; in practice 1e-6 to 1e-2


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
