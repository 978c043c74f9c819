"""What every opened scan must satisfy, whatever its format: geometry and noise that can be true."""

from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.scan import Scan
from recon.scans.reading import dynamic_range

LARGEST_VOXEL = 1000.0  # mm: more than the bore of a scanner
SPIKIEST = 1e6  # the largest value of a noise scan over the median; of Gaussian noise it is about ten
FARTHEST = 1e5  # mm: of a position from the isocentre
_FLATTEST = 1e-3  # |determinant| of the axes' directions; sheared axes are odd, coplanar ones are no volume


def checked_scan(scan: Scan) -> Scan:
    """The scan itself. Raises ReconError, naming file and field, for a voxel size, an affine, a noise scan or a noise
    covariance that no measurement has."""
    _check_voxel_size(scan)
    _check_affine(scan)
    _check_noise(scan)
    _check_covariance(scan)
    return scan


def affine_fault(affine: NDArray[np.float64]) -> str | None:
    """Why ``affine`` cannot place voxels in mm, in words that follow 'the affine'; None when it can."""
    if affine.shape != (4, 4):
        return f"has the shape {affine.shape}, not (4, 4)"
    if not np.isfinite(affine).all():
        return "has NaN or infinite entries"
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not (lengths > 0).all() or abs(np.linalg.det(affine[:3, :3] / np.where(lengths > 0, lengths, 1))) < _FLATTEST:
        return "is singular: its axes span no volume"
    if lengths.max() >= LARGEST_VOXEL or np.abs(affine[:3, 3]).max() > FARTHEST:
        return "has voxels or positions larger than a scanner"
    if not np.allclose(affine[3], (0, 0, 0, 1)):
        return "does not end in the row 0 0 0 1"
    return None


def _refuse(scan: Scan, field: str, wrong: str, remedy: str) -> NoReturn:
    raise ReconError(f"{scan.path}: {field} {wrong}; {remedy}")


def _check_voxel_size(scan: Scan) -> None:
    if scan.voxel_size is None:
        return
    if not all(np.isfinite(size) and 0 < size < LARGEST_VOXEL for size in scan.voxel_size):
        words = " x ".join(f"{size:g}" for size in scan.voxel_size)
        _refuse(
            scan, "voxel size", f"is {words} mm, not three positive lengths", "export the scan again, or correct it"
        )


def _check_affine(scan: Scan) -> None:
    fault = None if scan.affine is None else affine_fault(scan.affine)
    if fault is not None:
        _refuse(scan, "affine", fault, "export the scan again, or remove it")


def _check_noise(scan: Scan) -> None:
    noise, field = scan.noise, "noise scan"
    if noise is None:
        return
    if noise.ndim != 2 or noise.shape[0] != scan.shape[1] or noise.shape[1] < 2:
        shape = _words(noise)
        _refuse(
            scan,
            field,
            f"is {shape}, not {scan.shape[1]} coils x samples",
            "export the scan again, or remove the noise",
        )
    if not np.isfinite(noise).all():
        _refuse(scan, field, "has NaN or infinite values", "export the scan again, or remove the noise")
    if (ratio := dynamic_range(noise)) > SPIKIEST:
        _refuse(
            scan,
            field,
            f"has a value {ratio:.0e} times the median, which no noise has",
            "export the scan again, or remove the noise",
        )


def _check_covariance(scan: Scan) -> None:
    covariance, field = scan.noise_covariance, "noise covariance"
    remedy = "measure the noise again, or remove it"
    if covariance is None:
        return
    if covariance.shape != (scan.shape[1], scan.shape[1]):
        _refuse(scan, field, f"is {_words(covariance)}, not {scan.shape[1]} x {scan.shape[1]} coils", remedy)
    if not np.isfinite(covariance).all():
        _refuse(scan, field, "has NaN or infinite values", remedy)
    precise = covariance.astype(np.complex128)
    largest = float(np.abs(precise).max())
    if not np.allclose(precise, precise.conj().T, rtol=0, atol=1e-4 * largest):
        _refuse(scan, field, "is not Hermitian", remedy)
    try:
        np.linalg.cholesky(precise / (largest or 1))
    except np.linalg.LinAlgError:
        _refuse(scan, field, "is not positive definite: a coil or a combination of coils has no noise", remedy)


def _words(values: NDArray) -> str:
    return " x ".join(map(str, values.shape)) or "a single number"
