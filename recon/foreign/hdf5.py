"""Opening an HDF5 file that comes from outside: the one place where it is done."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import h5py

from recon.errors import ReconError
from recon.foreign.contents import datasets_of
from recon.foreign.trial import survives

# What h5py raises for files that are damaged, whichever part of them is: see its own sources.
DAMAGE = (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError, MemoryError)


@contextmanager
def foreign_hdf5(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading, after a look at everything in it but the data.

    Raises ReconError when it is missing, truncated or damaged, when part of it lies in other files, and for errors of
    the HDF5 library (or of memory) that surface only while the block reads from it.
    """
    if not Path(path).is_file():
        raise ReconError(f"{path}: no such file")
    about = os.stat(path)
    if not _survives(Path(path), (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)):
        raise ReconError(
            f"{path}: damaged HDF5 file on which the HDF5 library crashes, hangs or takes all memory; copy or download "
            "it again"
        )
    try:
        file = h5py.File(path, "r")
    except DAMAGE as error:
        raise damaged(path, error) from error
    try:
        with file:
            _check_contents(path, file)
            yield file
    except (OSError, KeyError, RuntimeError, MemoryError) as error:
        raise damaged(path, error) from error


def text_attribute(file: h5py.File, name: str) -> str | None:
    """A root attribute that is one text; None when it is absent or anything else."""
    if name not in file.attrs or file.attrs.get_id(name).get_storage_size() > 1024:
        return None
    value = file.attrs[name]
    value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return str(value) if isinstance(value, str) else None


def _check_contents(path: str | os.PathLike[str], file: h5py.File) -> None:
    try:
        for _ in datasets_of(path, file):
            pass
    except DAMAGE as error:
        raise damaged(path, error) from error


@lru_cache(maxsize=4096)
def _survives(path: Path, _version: tuple[int, ...]) -> bool:
    """The trial, once for each version of a file: readers open it again for every slice."""
    return survives(path)


def damaged(path: str | os.PathLike[str], error: BaseException) -> ReconError:
    """The error to raise when HDF5 fails to open or to read ``path``."""
    if isinstance(error, MemoryError):
        return ReconError(f"{path}: does not fit into memory, or is damaged; copy it again or use a larger machine")
    return ReconError(
        f"{path}: truncated or damaged HDF5 file ({' '.join(str(error).split())}); copy or download it again"
    )
