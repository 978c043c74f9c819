"""The program that looks through HDF5 files for ``recon.foreign.trial``, in a process of its own that may crash.

It is run as a script, or forked off before anything large is loaded, and imports nothing of recon: so it starts in a
fraction of a second and stays small. A line of its input names a file (its path as hexadecimal digits); one line of its
output says that it was looked through, whatever Python could tell of it, but for a word when memory ran out. On a file
on which the HDF5 library crashes there is no answer.
"""

import contextlib
import faulthandler
import os
import signal
import sys
from typing import IO

import h5py

_SMALL = 1 << 20  # bytes of a dataset that is read whole
_ROWS = 64  # of a table with entries of varying length: as many rows from each end
_MEMORY = (
    1 << 30
)  # more bytes of address space than at the start: a healthy file is looked through with next to nothing


def look_through(path: str) -> None:
    """Every group, attribute, data type and small dataset, and the first and last rows of tables."""
    with h5py.File(path, "r") as file:
        _look_at(file)

        def visit(_: str, entry: object) -> None:
            try:
                _look_at(entry)
            except Exception as error:  # what is damaged may not be what is read first, or at all
                if _is_out_of_memory(error):
                    raise

        file.visititems(visit)


def _look_at(entry: object) -> None:
    if isinstance(entry, (h5py.Group, h5py.Dataset)):
        dict(entry.attrs)
    if not isinstance(entry, h5py.Dataset) or entry.shape is None or entry.is_virtual or entry.external:
        return
    entry.id.get_storage_size()
    if entry.size * entry.dtype.itemsize <= _SMALL:
        entry[()]
    elif entry.dtype.hasobject and entry.ndim == 1:
        entry[:_ROWS], entry[-_ROWS:]


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "memory allocation failed" in str(error)


def serve(questions: IO[bytes], answers: IO[bytes], processor_seconds: int) -> None:
    """Answer until the input ends: when the process that asks has ended, however it did, so does this one."""
    import resource  # where there is none, recon.foreign.trial does not start this

    faulthandler.disable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes of a terminal; the asking one decides
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    memory = _taken() + _MEMORY
    memory = memory if most == resource.RLIM_INFINITY else min(memory, most)
    resource.setrlimit(resource.RLIMIT_AS, (memory, most))
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    for line in questions:
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(used.ru_utime + used.ru_stime) + 1 + processor_seconds
        with contextlib.suppress(ValueError, OSError):  # an administrator's limit is lower: it holds then
            resource.setrlimit(resource.RLIMIT_CPU, (limit, most))  # the kernel ends a library that never returns
        answer = ""
        try:
            look_through(os.fsdecode(bytes.fromhex(line.decode("ascii").strip())))
        except Exception as error:  # what Python can tell of is met and told again by the process that asks
            if _is_out_of_memory(error):
                answer = "memory"
        answers.write(f"{answer}\n".encode("ascii"))
        answers.flush()


def _taken() -> int:
    """Bytes of address space that this process has."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):  # no Linux
        return _MEMORY


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer, int(sys.argv[1]))
