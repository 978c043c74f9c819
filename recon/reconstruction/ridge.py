"""Kernels of GRAPPA by ridge regression whose penalty generalised cross-validation chooses."""

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError

# Fractions of the largest eigenvalue from which cross-validation chooses. Never less than 1e-6: the calibration lines
# hold the strongest signal, and weights that fit it to the last digit amplify errors in the outer lines.
PENALTIES = np.logspace(-6, 0, 25)


def fitted_kernel(sources: NDArray[np.complex64], targets: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Weights ``[source, coil]`` such that ``sources [equation, source]`` times them are ``targets [equation, coil]``.

    Golub, Heath and Wahba, Technometrics 21:215, 1979: nothing is tuned, and the unit does not matter. Raises
    ReconError when all sources are zero.
    """
    # Double precision: the Gram matrix squares the condition number.
    sources, targets = sources.astype(np.complex128), targets.astype(np.complex128)
    values, vectors = np.linalg.eigh(sources.conj().T @ sources)
    values = np.maximum(values, 0)
    if values[-1] == 0:
        raise ReconError("GRAPPA: the calibration lines are all zero; check the mask and the calibration extent")
    projected = vectors.conj().T @ (sources.conj().T @ targets)
    # Generalised cross-validation: residual(penalty) / (equations - effective unknowns)^2 at its least.
    energy, power = float(np.linalg.norm(targets) ** 2), (np.abs(projected) ** 2).sum(axis=1)
    scores = []
    for penalty in PENALTIES * values[-1]:
        shrunk = values + penalty
        residual = energy - float((power * (values + 2 * penalty) / shrunk**2).sum())
        scores.append(max(residual, 0.0) / (len(sources) - float((values / shrunk).sum())) ** 2)
    penalty = PENALTIES[int(np.argmin(scores))] * values[-1]
    return (vectors @ (projected / (values + penalty)[:, None])).astype(np.complex64)
