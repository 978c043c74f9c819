"""Opening NIfTI that comes from outside: its header is checked before any value is read."""

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from recon.errors import ReconError
from recon.foreign.sizes import check_declared
from recon.scans.validity import affine_fault

LARGEST_OFFSET = 1 << 20  # bytes before the values: the header and its extensions


def open_nifti(path: Path) -> Any:
    """A nibabel image whose header is sound; its values are read later, by ``values_of``.

    Raises ReconError when the file is missing, truncated, foreign, declares more than it holds or lies nowhere.
    """
    import nibabel

    if not path.is_file():
        raise ReconError(f"{path}: no such file")
    try:
        image: Any = nibabel.load(path)
        shape, dtype = tuple(int(size) for size in image.shape), image.get_data_dtype()
        affine = np.asarray(image.affine, np.float64)
        offset = int(getattr(image.dataobj, "offset", 0))
        image.header.get_dim_info()
    except Exception as error:  # nibabel raises many kinds for a damaged header
        raise unreadable(path, error) from error
    if not shape or min(shape) < 1 or not dtype.itemsize or not 0 <= offset <= LARGEST_OFFSET:
        raise ReconError(f"{path}: its header declares {dtype} {shape} from byte {offset}; export the image again")
    declared = math.prod(shape) * dtype.itemsize
    check_declared(path, "its header", declared, path.stat().st_size, packed=path.name.lower().endswith(".gz"))
    if fault := affine_fault(affine):
        raise ReconError(f"{path}: its affine {fault}; export the image again, or correct its header")
    return image


def values_of(path: Path, image: Any) -> Any:
    """The values of an open image, scaled as its header says. Raises ReconError when they are not there."""
    with _reading(path):
        return np.asanyarray(image.dataobj)


def canonical(path: Path, image: Any) -> Any:
    """An open image with its axes permuted and flipped to RAS+. Raises ReconError when its values are not there."""
    import nibabel

    with _reading(path):
        return nibabel.as_closest_canonical(image)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by who needs it finite
            yield
    except (OSError, EOFError, ValueError, TypeError, KeyError, OverflowError, MemoryError, zlib.error) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: BaseException) -> ReconError:
    """The error to raise when nibabel cannot read ``path``."""
    said = " ".join(str(error).split())[:200] or type(error).__name__
    return ReconError(f"{path}: truncated or not readable as NIfTI ({said})")
