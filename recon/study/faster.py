"""Slabs as faster scans would show them: an augmentation, so that artefacts of acceleration are nothing new.

On the network's own grid and of magnitudes, so it serves every study, whatever its files are: lines of the slab's
Fourier transform that an equispaced mask leaves out are weakened by a random factor, which mixes a zero-filled image
(ghosts and blur at their full strength, as of one coil) with what a better reconstruction leaves of them.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recon.acquisition.fourier_numpy import to_image, to_kspace
from recon.acquisition.masks import equispaced_mask

ACCELERATIONS = (2, 9)  # whole numbers, the last one excluded
PHASE = (-1,)  # axis of a slab: across the head
CALIBRATION_SHARE = 0.1  # of the lines


def as_if_faster(
    slab: NDArray[np.float32], contrasts: Sequence[str], chance: float, generator: np.random.Generator
) -> NDArray[np.float32]:
    """``[contrast, slab, height, width]`` with each series, by ``chance``, as a faster scan of it might look.

    DWI and ADC come of one examination and are changed together, with one mask."""
    drawn: dict[str, NDArray[np.float32] | None] = {}
    changed = slab.copy()
    for number, contrast in enumerate(contrasts):
        examination = "DWI" if contrast == "ADC" else contrast
        if examination not in drawn:
            drawn[examination] = _weights(slab.shape[-1], generator) if generator.random() < chance else None
        weights = drawn[examination]
        if weights is not None:
            air = slab[number].min()
            lines = to_kspace(slab[number] - air, PHASE) * weights
            changed[number] = np.abs(to_image(lines, PHASE)) + air
    return changed


def _weights(lines: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """What is left of each line ``[width]``: 1 where it is sampled."""
    mask = equispaced_mask(
        lines, int(generator.integers(*ACCELERATIONS)), max(2, round(CALIBRATION_SHARE * lines)), generator
    )
    return np.where(mask, 1.0, generator.random()).astype(np.float32)
