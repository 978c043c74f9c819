"""Writing HDF5 so that a full disk is an error like any other."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py


class _DiskFile(io.FileIO):
    """A file that remembers its first failed write and from then on only pretends to write.

    HDF5 cannot close a file whose last flush failed: h5py then prints tracebacks whenever the garbage collector comes
    by, and the true reason is lost. So the close is allowed to succeed, and ``failure`` is raised after it. The same
    goes for an interruption that comes while HDF5 is calling.
    """

    failure: BaseException | None = None

    def write(self, data: "memoryview | bytes | bytearray") -> int:  # type: ignore[override]
        view = memoryview(data).cast("B")
        done = 0
        while self.failure is None and done < len(view):
            try:
                done += super().write(view[done:])
            except BaseException as error:
                self.failure = error
        if self.failure is not None:
            self.seek(len(view) - done, os.SEEK_CUR)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except BaseException as error:
            self.failure = self.failure or error
            return size or 0


# Code that HDF5 runs in the middle of its own work. An exception that is raised there leaves the library in pieces: a
# program that turns signals into exceptions must wait until it has returned.
CALLED_BY_HDF5 = frozenset({_DiskFile.write.__code__, _DiskFile.truncate.__code__})


class HDF5Writer(h5py.File):
    """An HDF5 file open for writing whose ``check`` raises the OSError as soon as a write to disk has failed."""

    def __init__(self, disk: _DiskFile) -> None:
        super().__init__(disk, "w")
        self._disk = disk

    def check(self) -> None:
        """Raise the error of the first write that failed, if any; call it after each slice to stop early."""
        if self._disk.failure is not None:
            raise self._disk.failure


@contextmanager
def hdf5_for_writing(path: str | os.PathLike[str]) -> Iterator[HDF5Writer]:
    """Create an HDF5 file. Raises OSError (a full disk included) at the latest when the block ends."""
    with _DiskFile(Path(path), "w+") as disk:
        try:
            with HDF5Writer(disk) as file:
                yield file
                file.flush()
        except Exception:
            if disk.failure is not None:  # what HDF5 said about it is not the reason
                raise disk.failure from None
            raise
        if disk.failure is not None:
            raise disk.failure
