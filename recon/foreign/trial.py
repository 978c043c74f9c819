"""A first look at an HDF5 file in another process: the HDF5 library itself hangs or crashes on some damaged files."""

import atexit
import contextlib
import importlib.util
import os
import select
import subprocess
import sys
import threading
from pathlib import Path

PROCESSOR_SECONDS = 5  # a healthy file is looked through in milliseconds
SECONDS = 120  # of the clock, for a slow disk or a busy machine


class _Examiner:
    """The process that looks: started when it is first needed, kept for the files to come, replaced when it is lost.

    A fork of this process would need no start, but copies the page tables of everything that is loaded (torch) for each
    file, and may inherit a lock that another thread holds.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.lock = threading.Lock()

    def survives(self, path: Path) -> bool:
        """Whether the process answers that it has looked through the file."""
        process = self._process or self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(os.fsencode(os.path.abspath(path)).hex().encode("ascii") + b"\n")
            process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], SECONDS)
            answered = bool(ready) and process.stdout.readline() == b"\n"
        except BrokenPipeError:
            answered = False
        except BaseException:  # Ctrl-C while waiting: an answer still to come would be taken for that to the next file
            self.stop()
            raise
        if not answered:
            self.stop()
        return answered

    def _started(self) -> "subprocess.Popen[bytes]":
        program = Path(__file__).with_name("examiner.py")
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, str(program), str(PROCESSOR_SECONDS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
        return self._process

    def stop(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # what could not be sent any more
                    if pipe is not None:
                        pipe.close()

    def forget(self) -> None:
        """In a fork: the process answers the one that started it, and nobody else."""
        process, self._process, self.lock = self._process, None, threading.Lock()
        if process is not None:
            process.returncode = 0  # not this process's child, so nothing to wait for
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    os.close(pipe.fileno())


_examiner = _Examiner()
atexit.register(_examiner.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_examiner.forget)


def survives(path: Path) -> bool:
    """Whether the HDF5 library can look through the file. False when it crashed or hung; that the file is refused is
    for others to say. Where there are no limits on processes (Windows) nothing is tried."""
    if importlib.util.find_spec("resource") is None:
        return True
    with _examiner.lock:
        return _examiner.survives(path)
