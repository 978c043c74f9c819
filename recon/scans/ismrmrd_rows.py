"""What each acquisition of an ISMRMRD measurement is for: noise, images, calibration; and what cannot be read."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.scans.ismrmrd_header import Encoding

_SINGLE = {"repetition": "repetitions", "contrast": "echoes", "phase": "cardiac phases", "set": "sets"}


@dataclass(frozen=True)
class Rows:
    """Which acquisitions of a measurement are what, each ``[acquisition]``, and the encoding of the imaging ones."""

    noise: NDArray[np.bool_]
    imaging: NDArray[np.bool_]
    calibration: NDArray[np.bool_]  # lines for calibration alone, and those of another encoding
    space: int


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


def refuse_unsupported(path: Path, encoding: Encoding, heads: NDArray) -> None:
    """Raises ReconError for imaging ``heads`` of a trajectory or an encoding that recon does not read."""
    if encoding.trajectory == "epi":
        raise ReconError(f"{path}: EPI readouts need ghost and ramp correction first, which recon does not do")
    if encoding.trajectory != "cartesian":
        raise ReconError(f"{path}: {encoding.trajectory} trajectory; recon reads Cartesian scans only")
    if encoding.encoded_matrix[2] > 1 or np.unique(heads["idx"]["kspace_encode_step_2"]).size > 1:
        raise ReconError(
            f"{path}: 3-D encoding; recon reads 2-D multi-slice ISMRMRD, "
            "export an array and import it with 'recon convert --axes coil,readout,phase,phase2'"
        )
    for counter, name in _SINGLE.items():
        values = np.unique(heads["idx"][counter])
        if values.size > 1:
            raise ReconError(f"{path}: {values.size} {name}; recon reads static scans with one, export them apart")


def refuse_places(path: Path, heads: NDArray) -> None:
    """Raises ReconError for positions and directions that are NaN or infinite; directions of zero say nothing."""
    for name in ("position", "read_dir", "phase_dir", "slice_dir"):
        broken = ~np.isfinite(heads[name]).all(axis=1)
        if broken.any():
            raise ReconError(
                f"{path}: {name} of {broken.sum()} of {heads.size} imaging acquisitions is NaN or infinite "
                f"(first: number {np.flatnonzero(broken)[0]}); export the scan again"
            )


def refuse_coils(path: Path, heads: NDArray, rows: Rows) -> int:
    """The number of coils. Raises ReconError when it is none or varies."""
    coils = int(heads["active_channels"][rows.imaging][0])
    if coils == 0 or (heads["active_channels"][rows.imaging | rows.calibration | rows.noise] != coils).any():
        raise ReconError(f"{path}: acquisitions have {coils} or a varying number of coils; export the scan again")
    return coils
