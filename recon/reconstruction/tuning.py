"""Weights that an oracle tries for methods which have one, around what each method would take by itself."""

from collections.abc import Sequence

import numpy as np

from recon.reconstruction.preparing import Prepared
from recon.reconstruction.wavelet import default_weight

WAVELET_OCTAVES = range(-4, 6)


def sense_weights(prepared: Prepared) -> Sequence[float]:
    """Eleven weights of CG-SENSE, 1e-5 to 1 of the largest eigenvalue of A^H A."""
    return [float(weight) for weight in np.geomspace(1e-5, 1, 11)]


def wavelet_weights(prepared: Prepared) -> Sequence[float]:
    """Octaves around the default weight of L1-wavelet at the noise of the problem."""
    centre = default_weight(float(prepared.problem.sigma.median()))
    return [centre * 2.0**octave for octave in WAVELET_OCTAVES]


def dps_weights(prepared: Prepared) -> Sequence[float]:
    """Step lengths of DPS over two decades; too long a step diverges and is passed over."""
    return [0.3, 1.0, 3.0, 6.0, 12.0, 25.0]
