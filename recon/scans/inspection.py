"""What is in a scan, whether it can be reconstructed, and what to watch out for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.acquisition.coverage import covered_shares
from recon.acquisition.field_of_view import too_small
from recon.acquisition.masks import SMALLEST_CALIBRATION, describe_mask
from recon.acquisition.noise_misfit import excess_warning, noise_excess, noise_misfit
from recon.errors import ReconError
from recon.progress import Report, silent
from recon.scan import Scan
from recon.scans.centring import is_centred

UNCENTRED = (
    "most energy lies outside the middle of k-space: its centre seems to be stored first, or there is noise only; "
    "import it as an array by 'recon convert --corner'"
)
_SMALL_CALIBRATION = 12  # lines; below this coil maps can be estimated, but few kernels average out the noise


@dataclass(frozen=True)
class Inspection:
    """The findings on one scan.

    problems: why it cannot be reconstructed (empty when it can). cautions: what a user should know before trusting
    a result. dead_coils: coils that are zero in every slice. partial_fourier: see ``covered_shares``.
    """

    mask: str
    partial_fourier: tuple[float, float] | None
    calibration: tuple[int, int]
    slices_read: int
    dead_coils: tuple[int, ...]
    empty_slices: tuple[int, ...]
    problems: tuple[str, ...]
    cautions: tuple[str, ...]

    @property
    def can_reconstruct(self) -> bool:
        return not self.problems


def inspect(scan: Scan, report: Report = silent) -> Inspection:
    """Read every slice once (never two at a time) and say what is wrong; damaged slices are reported, not raised."""
    problems: list[str] = []
    alive = np.zeros(scan.shape[1], bool)
    empty: list[int] = []
    read, strongest, centred, excess = 0, 0.0, True, 0.0
    for index in range(scan.shape[0]):
        report("checking slices", index / scan.shape[0])
        try:
            kspace = scan.read_kspace(index)
        except ReconError as error:
            problems.append(str(error).removeprefix(f"{scan.path}: "))
            continue
        energy = np.abs(kspace).max(axis=(1, 2))
        if index == scan.shape[0] // 2 and energy.any():
            centred = is_centred(kspace)
            excess = _stated_excess(scan, kspace)
        read += 1
        alive |= energy > 0
        strongest = max(strongest, float(energy.max()))
        if not energy.any():
            empty.append(index)
    dead = tuple(int(coil) for coil in np.flatnonzero(~alive)) if read else ()
    if read and len(dead) == scan.shape[1]:
        problems.append("every coil is zero")
    calibration = scan.calibration
    if min(calibration) == 0:
        problems.append(
            "no calibration lines: k-space's centre is not sampled, so coil maps and the scale cannot be estimated"
        )
    elif min(calibration) < SMALLEST_CALIBRATION:
        problems.append(
            f"calibration of only {calibration[0]} x {calibration[1]}: coil maps need at least "
            f"{SMALLEST_CALIBRATION} fully sampled central lines"
        )
    if dead and len(dead) < scan.shape[1] and scan.noise is None and scan.noise_covariance is None:
        problems.append(
            f"coils without any signal or noise ({', '.join(map(str, dead))}) and no noise scan: their noise "
            "cannot be estimated; leave them out by 'recon convert --without-coils', or export the noise scan, too"
        )
    if strongest and (misfit := noise_misfit(scan, strongest)):
        problems.append(misfit)
    if empty and len(empty) < read:
        problems.append(f"empty slices (all zero): {', '.join(map(str, empty))}; export the scan without them")
    if (small := too_small(scan)) is not None:
        problems.append(small)
    return Inspection(
        mask=describe_mask(scan.mask, scan.phase_limits),
        partial_fourier=covered_shares(scan.mask),
        calibration=calibration,
        slices_read=read,
        dead_coils=dead,
        empty_slices=tuple(empty),
        problems=tuple(problems),
        cautions=(
            *_cautions(scan, dead),
            *([] if (said := excess_warning(excess, "as stored")) is None else [said]),
            *([] if centred else [UNCENTRED]),
        ),
    )


def _stated_excess(scan: Scan, kspace: NDArray[np.complex64]) -> float:
    """``noise_excess`` of the noise that the file holds; 0 without."""
    if scan.noise is not None:
        return noise_excess(kspace, np.mean(np.abs(scan.noise.astype(np.complex128)) ** 2, axis=1))
    if scan.noise_covariance is not None:
        return noise_excess(kspace, scan.noise_covariance.diagonal().real)
    return 0.0


def _cautions(scan: Scan, dead: tuple[int, ...]) -> list[str]:
    cautions = []
    if SMALLEST_CALIBRATION <= min(scan.calibration) < _SMALL_CALIBRATION:
        cautions.append(
            f"calibration of only {scan.calibration[0]} x {scan.calibration[1]}: coil maps will be rough "
            f"(at least {_SMALL_CALIBRATION} lines are advisable)"
        )
    if scan.noise is None and scan.noise_covariance is None:
        cautions.append("no noise scan: the noise level will be estimated from the images' corners")
    if scan.contrast == "unknown":
        cautions.append("contrast unknown: name it with --contrast")
    if scan.voxel_size is None:
        cautions.append("voxel size unknown: NIfTI and DICOM need it")
    elif scan.affine is None:
        cautions.append("orientation unknown: NIfTI and DICOM will lie in the scanner's default axes")
    if scan.shape[1] == 1:
        cautions.append("one coil only: acceleration relies on the prior alone")
    if dead:
        said = ",".join(map(str, dead))
        cautions.append(f"dead coils (all zero): {said}; 'recon convert --without-coils {said}' leaves them out")
    return cautions
