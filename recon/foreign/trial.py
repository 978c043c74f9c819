"""A first look at an HDF5 file in a child process: the HDF5 library itself hangs or crashes on some damaged files."""

import faulthandler
import os
import signal
from pathlib import Path

import h5py

PROCESSOR_SECONDS = 5  # a healthy file is looked through in milliseconds
SECONDS = 120  # of the clock, for a slow disk or a busy machine
_SMALL = 1 << 20  # bytes of a dataset that is read whole
_ROWS = 64  # of a table with entries of varying length: as many rows from each end


def survives(path: Path) -> bool:
    """Whether the HDF5 library can look through the file: every group, attribute, data type and small dataset, and the
    first and last rows of tables. False when it crashed or hung; that the file is refused is for others to say.

    The child is a fork, which shares what is imported and costs milliseconds; where there is none, nothing is tried.
    """
    if not hasattr(os, "fork"):
        return True
    child = os.fork()
    if child == 0:
        try:
            import resource  # where there is fork there is this

            faulthandler.disable()
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            # The kernel ends a library that never returns: one that computes for ever soon, one that waits late.
            resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))
            signal.alarm(SECONDS)
            _look_through(path)
        finally:
            os._exit(0)  # errors that Python can tell of are met and told again by the parent
    _, status = os.waitpid(child, 0)
    return not os.WIFSIGNALED(status)


def _look_through(path: Path) -> None:
    with h5py.File(path, "r") as file:
        dict(file.attrs)

        def visit(_: str, entry: object) -> None:
            if isinstance(entry, (h5py.Group, h5py.Dataset)):
                dict(entry.attrs)
            if not isinstance(entry, h5py.Dataset) or entry.shape is None or entry.is_virtual or entry.external:
                return
            entry.id.get_storage_size()
            if entry.size * entry.dtype.itemsize <= _SMALL:
                entry[()]
            elif entry.dtype.hasobject and entry.ndim == 1:
                entry[:_ROWS], entry[-_ROWS:]

        file.visititems(visit)
