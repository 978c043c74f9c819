"""What each acquisition of an ISMRMRD measurement is for: noise, images or calibration."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.scans.acquisition_rows import Rows


def flagged(heads: NDArray, *numbers: int) -> NDArray[np.bool_]:
    """Which ``heads [acquisition]`` have any of the flags with these numbers (as in ``ismrmrd.constants``)."""
    bits = np.uint64(sum(1 << (number - 1) for number in numbers))
    return np.asarray((heads["flags"] & bits) != 0)


def kinds(heads: NDArray) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Which ``heads [acquisition]`` are flagged as noise, as images (calibration or not), as calibration alone; the
    others, navigators and the like, are none of it."""
    import ismrmrd.constants as flags

    noise = flagged(heads, flags.ACQ_IS_NOISE_MEASUREMENT)
    ignored = noise | flagged(
        heads,
        flags.ACQ_IS_NAVIGATION_DATA,
        flags.ACQ_IS_PHASECORR_DATA,
        flags.ACQ_IS_HPFEEDBACK_DATA,
        flags.ACQ_IS_DUMMYSCAN_DATA,
        flags.ACQ_IS_RTFEEDBACK_DATA,
        flags.ACQ_IS_SURFACECOILCORRECTIONSCAN_DATA,
        flags.ACQ_IS_PHASE_STABILIZATION_REFERENCE,
        flags.ACQ_IS_PHASE_STABILIZATION,
    )
    both = flagged(heads, flags.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING)
    calibration = flagged(heads, flags.ACQ_IS_PARALLEL_CALIBRATION) & ~both & ~ignored
    return noise, ~ignored & ~calibration, calibration


def sort_rows(path: Path, heads: NDArray, encodings: int) -> Rows:
    """Raises ReconError when nothing is for imaging, or it names an encoding that the header does not have."""
    noise, imaging, calibration = kinds(heads)
    if not imaging.any():
        raise ReconError(f"{path}: holds no imaging acquisitions, only noise or calibration; export the whole scan")
    space = int(heads["encoding_space_ref"][imaging][0])
    if space >= encodings:
        raise ReconError(f"{path}: acquisitions name encoding {space}, but the header has {encodings}")
    elsewhere = imaging & (heads["encoding_space_ref"] != space)
    return Rows(noise, imaging & ~elsewhere, calibration | elsewhere, space)
