"""Coil compression: fewer virtual coils that hold nearly all of the signal.

The right singular vectors of the calibration data (Buehrer et al., Magn Reson Med 57:1131 (2007)); unitary, so
whitened noise stays white.
"""

import torch
from torch import Tensor


def compression_matrix(calibration: Tensor, coils: int) -> Tensor:
    """Unitary rows ``[virtual coil, coil]`` from whitened calibration kspace ``[..., coil, readout, phase]``.

    ``coils`` is how many virtual coils to keep; all coils are kept when it is at least their number.
    """
    samples = calibration.movedim(-3, 0).flatten(1).to(torch.complex128)
    _, vectors = torch.linalg.eigh(samples @ samples.mH)
    return vectors.flip(-1)[:, :coils].mH.to(calibration.dtype)


def apply_coil_matrix(matrix: Tensor, kspace: Tensor) -> Tensor:
    """Mix coils: ``matrix [coil out, coil in]`` on ``kspace [..., coil in, readout, phase]``."""
    return torch.einsum("ij,...jrp->...irp", matrix, kspace)
