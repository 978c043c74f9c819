"""Zip archives of arrays (npz) that come from outside: what their members declare, before anything is unpacked."""

import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.foreign.sizes import check_declared

# What numpy's reader of headers and Python's of archives raise for damaged ones: see their own sources.
DAMAGE = (
    OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, RuntimeError, OverflowError, MemoryError,
    NotImplementedError, SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def check_members(path: Path, archive: zipfile.ZipFile) -> None:
    """Raises ReconError when a member unpacks to more than its packed bytes may stand for."""
    for member in archive.infolist():
        check_declared(path, f"'{member.filename}'", member.file_size, member.compress_size, packed=True)


def declared_array(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type that the header of an array declares. Raises one of ``DAMAGE`` when it is none."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"version {version} of the format is not read")
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"shape {shape}")
    return shape, dtype


@contextmanager
def packed_arrays(path: Path) -> Iterator["PackedArrays"]:
    """An npz archive, open for reading. Raises ReconError when it is damaged, also for what surfaces in the block."""
    try:
        with zipfile.ZipFile(path) as archive:
            check_members(path, archive)
            yield PackedArrays(archive)
    except DAMAGE as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise ReconError(f"{path}: truncated or not an npz archive ({said})") from error


class PackedArrays:
    """The arrays of an archive by name."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    @property
    def names(self) -> Sequence[str]:
        return [name.removesuffix(".npy") for name in self._archive.namelist()]

    def read(self, name: str) -> NDArray[Any]:
        """One array; nothing is ever unpickled. Raises one of ``DAMAGE``, also when there are not as many values."""
        member = self._archive.getinfo(f"{name}.npy")
        with self._archive.open(member) as stream:
            shape, dtype = declared_array(stream)
        if dtype.hasobject or math.prod(shape) * dtype.itemsize > member.file_size:
            raise ValueError(f"'{name}' declares {shape} of {dtype}, which it does not hold")
        with self._archive.open(member) as stream:
            array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        return array
