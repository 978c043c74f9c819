"""Opening an HDF5 file that comes from outside: the one place where it is done."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from recon.errors import ReconError
from recon.foreign.contents import datasets_of

# What h5py raises for files that are damaged, whichever part of them is: see its own sources.
DAMAGE = (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError, MemoryError)


@contextmanager
def foreign_hdf5(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading, after a look at everything in it but the data.

    Raises ReconError when it is missing, truncated or damaged, or when part of it lies in other files.
    """
    if not Path(path).is_file():
        raise ReconError(f"{path}: no such file")
    try:
        file = h5py.File(path, "r")
        for _ in datasets_of(path, file):
            pass
    except DAMAGE as error:
        raise damaged(path, error) from error
    with file:
        yield file


def damaged(path: str | os.PathLike[str], error: BaseException) -> ReconError:
    """The error to raise when HDF5 fails to open or to read ``path``."""
    return ReconError(
        f"{path}: truncated or damaged HDF5 file ({' '.join(str(error).split())}); copy or download it again"
    )
