"""What every reader of measured data does: open, hash, refuse values that are not finite, zero what was not sampled."""

import os
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.scans.sampling_check import check_sampling

WIDEST = 1e10  # receivers tell 1e7 apart; single precision, in kspace of exact phantoms, 1e8
SAMPLED = 100_000  # values that the median is taken of


def is_hdf5(path: str | os.PathLike[str]) -> bool:
    """Whether the file starts like an HDF5 file; a truncated one does too."""
    try:
        return bool(h5py.is_hdf5(path))
    except OSError:
        return False


def checked_slice(path: Path, index: int, kspace: NDArray, mask: NDArray[np.bool_]) -> NDArray[np.complex64]:
    """One slice as the Scan contract wants it: ``[coil, readout, phase]`` complex64, zero where ``mask`` is False.

    Raises ReconError when a sampled value is NaN or infinite, or when what is zero contradicts ``mask`` (a mask without
    axes contradicts nothing: what was sampled is not known then).
    """
    kspace = np.asarray(kspace, np.complex64)
    if mask.ndim:
        check_sampling(path, index, kspace, mask)
    kspace = np.where(mask, kspace, np.complex64(0))
    if not np.isfinite(kspace).all():
        count = int((~np.isfinite(kspace)).sum())
        raise ReconError(f"{path}: slice {index}: {count} k-space values are NaN or infinite; export the scan again")
    if (ratio := dynamic_range(kspace)) > WIDEST:
        raise ReconError(
            f"{path}: slice {index}: its largest k-space value is {ratio:.0e} times the median, which no receiver can "
            "measure; the file is damaged, copy or export it again"
        )
    return kspace


def dynamic_range(values: NDArray[np.complex64]) -> float:
    """The largest component of complex values over the median one that is not zero; 1 for zeros alone."""
    components = np.ascontiguousarray(values).view(np.float32).reshape(-1)
    largest = float(max(components.max(initial=0), -components.min(initial=0)))
    some = np.abs(components[:: max(1, components.size // SAMPLED)])
    median = float(np.median(some[some > 0])) if (some > 0).any() else largest
    return largest / median if median else 1.0


def checked_index(path: Path, index: int, slices: int) -> int:
    """The slice index itself. Raises ReconError when the scan has no such slice."""
    if not 0 <= index < slices:
        raise ReconError(f"{path}: no slice {index}; the scan has slices 0 to {slices - 1}")
    return index
