"""The process in which HDF5 files are looked through: started as a program, or forked off a process that is small."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True)
class Looking:
    """``recon.foreign.examiner`` at work: its number, its input and output, and how its end is waited for."""

    number: int
    questions: IO[bytes]
    answers: IO[bytes]
    wait: Callable[[], object]

    def end(self) -> None:
        """Kill it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.number, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            self.wait()
        self.forget()

    def forget(self) -> None:
        """In a fork, whose child it is not: close the pipes."""
        self.questions.close()
        self.answers.close()


def started(processor_seconds: int) -> Looking:
    """The program, in a process of its own. Raises OSError when there cannot be one more."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("examiner.py")), str(processor_seconds)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None

    def wait() -> None:
        process.wait()

    return Looking(process.pid, process.stdin, process.stdout, wait)


def forked(processor_seconds: int) -> Looking:
    """A fork of this process, which must have one thread. Raises OSError when there cannot be one more."""
    from recon.foreign import examiner  # h5py, which whoever opens files has to load anyway

    reading, asking = os.pipe()
    try:
        hearing, answering = os.pipe()
    except OSError:
        os.close(reading)
        os.close(asking)
        raise
    try:
        child = os.fork()
    except OSError:
        for end in (reading, asking, hearing, answering):
            os.close(end)
        raise
    if child == 0:
        try:
            os.close(asking)
            os.close(hearing)
            _be_deaf()
            with open(reading, "rb") as questions, open(answering, "wb") as answers:
                examiner.serve(questions, answers, processor_seconds)
        finally:
            os._exit(0)
    os.close(reading)
    os.close(answering)
    return Looking(
        child, open(asking, "wb", buffering=0), open(hearing, "rb", buffering=0), lambda: os.waitpid(child, 0)
    )


def _be_deaf() -> None:
    """No signal handlers and no terminal of the process that this one was forked off."""
    for name in ("SIGTERM", "SIGHUP", "SIGALRM"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
