"""Is the centre of k-space in the middle? The energy of a body is; in the corners it means an uncentred transform."""

import numpy as np
from numpy.typing import NDArray

SMALLEST_SHARE = 0.5  # of the energy, in the middle half of readout and phase; noise alone has a quarter there


def is_centred(kspace: NDArray[np.complex64]) -> bool:
    """Whether most of the energy of ``kspace [coil, readout, phase]`` lies in its middle."""
    rows, columns = kspace.shape[-2:]
    magnitude = np.abs(kspace).astype(np.float64)
    energy = ((magnitude / max(float(magnitude.max()), np.finfo(np.float64).tiny)) ** 2).sum(axis=0)
    middle = energy[rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4].sum()
    return bool(middle >= SMALLEST_SHARE * energy.sum())
