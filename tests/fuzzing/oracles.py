"""Reading a mutant without recon, and judging by that what recon made of it."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

# What an image of ``recon reconstruct`` may depend on. Nothing else in a file may change it.
SCAN_PARTS = ("kspace", "mask", "ismrmrd_header", "recon/mask", "recon/noise", "recon/noise_covariance",
              "recon/calibration_kspace")  # fmt: skip
SCAN_ATTRIBUTES = ("phase_limits", "image_shape", "voxel_size_mm", "version")


def _bytes(value: Any) -> bytes:
    if isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
        native = np.asarray(value, value.dtype.newbyteorder("="))
        return f"{value.shape} {value.dtype.kind}".encode() + native.tobytes()
    return repr(value).encode()


def scan_facts(path: Path) -> bytes | None:
    """What may change the image of a fastMRI scan; None where HDF5 cannot read it."""
    try:
        with h5py.File(path) as file:
            parts = [_bytes(file[name][()]) if name in file else b"-" for name in SCAN_PARTS]
            own = file["recon"].attrs if "recon" in file else {}
            parts += [_bytes(own[name]) if name in own else b"-" for name in SCAN_ATTRIBUTES]
            parts.append(b"stored reference" if "reconstruction_rss" in file else b"none")
            parts.append(_bytes(np.asarray(file["reconstruction_rss"].shape)) if "reconstruction_rss" in file else b"-")
        return b"|".join(parts)
    except Exception:
        return None


def ismrmrd_facts(path: Path) -> bytes | None:
    """All acquisitions and the header of an ISMRMRD file; None where HDF5 cannot read them."""
    try:
        with h5py.File(path) as file:
            group = file["dataset"]
            heads, data = group["data"].fields("head")[:], group["data"].fields("data")[:]
            return b"|".join([heads.tobytes(), *(row.tobytes() for row in data), repr(group["xml"][()]).encode()])
    except Exception:
        return None


def impossible_geometry(voxel_size: Any, affine: Any = None) -> str | None:
    """Why a voxel size or an affine cannot be, in words; None when they can."""
    if voxel_size is not None and not all(np.isfinite(size) and 0 < size < 1000 for size in voxel_size):
        return f"voxel size {voxel_size}"
    if affine is not None:
        matrix = np.asarray(affine, float)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not abs(np.linalg.det(matrix[:3, :3])) > 0:
            return "affine that spans no volume"
    return None


def image_of(result: Path) -> np.ndarray:
    """The image of a result file."""
    with h5py.File(result) as file:
        return np.asarray(file["reconstruction"])


def same_image(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Equal but for rounding of another memory layout."""
    return found.shape == wanted.shape and bool(np.allclose(found, wanted, rtol=1e-4, atol=1e-5 * float(wanted.max())))


def numbers_of(value: Any) -> list[float]:
    """Every number of a JSON value."""
    if isinstance(value, dict):
        return [number for entry in value.values() for number in numbers_of(entry)]
    if isinstance(value, list):
        return [number for entry in value for number in numbers_of(entry)]
    return [float(value)] if isinstance(value, (int, float)) and not isinstance(value, bool) else []
