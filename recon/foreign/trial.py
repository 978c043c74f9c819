"""A first look at an HDF5 file in another process: the HDF5 library itself hangs or crashes on some damaged files."""

import atexit
import contextlib
import importlib.util
import os
import select
import sys
import threading
from pathlib import Path

from recon.foreign.looking import Looking, forked, started

PROCESSOR_SECONDS = 5  # a healthy file is looked through in milliseconds
SECONDS = 120  # of the clock, for a slow disk or a busy machine


class _Examiner:
    """The process that looks: started when it is first needed, kept for the files to come, replaced when it is lost."""

    def __init__(self) -> None:
        self.process: Looking | None = None
        self.lock = threading.Lock()

    def survives(self, path: Path) -> bool:
        """Whether the process answers that it has looked through the file."""
        process = self.process = self.process or started(PROCESSOR_SECONDS)
        try:
            process.questions.write(os.fsencode(os.path.abspath(path)).hex().encode("ascii") + b"\n")
            ready, _, _ = select.select([process.answers], [], [], SECONDS)
            answered = bool(ready) and process.answers.readline() == b"\n"
        except BrokenPipeError:
            answered = False
        except BaseException:  # Ctrl-C while waiting: an answer still to come would be taken for that to the next file
            self.stop()
            raise
        if not answered:
            self.stop()
        return answered

    def stop(self) -> None:
        """End the process, if there is one."""
        process, self.process = self.process, None
        if process is not None:
            process.end()

    def forget(self) -> None:
        """In a fork: the process answers the one that started it, and nobody else."""
        process, self.process, self.lock = self.process, None, threading.Lock()
        if process is not None:
            process.forget()


_examiner = _Examiner()
atexit.register(_examiner.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_examiner.forget)


def start_ahead() -> None:
    """Fork the process off now, while this one is small: it costs a few milliseconds where a start costs 130.

    Nothing happens where that is not possible or not wise (threads, or torch, whose page tables would be copied): the
    process is then started for the first file.
    """
    small = "torch" not in sys.modules and threading.active_count() == 1 and sys.platform == "linux"
    if small and _examiner.process is None:
        with contextlib.suppress(OSError):  # no memory or handles for it: said when a file is opened
            _examiner.process = forked(PROCESSOR_SECONDS)


def survives(path: Path) -> bool:
    """Whether the HDF5 library can look through the file. False when it crashed or hung; that the file is refused is
    for others to say. Where there are no limits on processes (Windows) nothing is tried."""
    if importlib.util.find_spec("resource") is None:
        return True
    with _examiner.lock:
        return _examiner.survives(path)
