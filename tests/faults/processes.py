"""Command lines in processes of their own, made by forking: nobody waits for imports, and faults hit the work."""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cli.main import main


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, or minus the signal that killed it; what it said; seconds it took; how
    many of its workers outlived it."""

    code: int
    out: str
    err: str
    seconds: float
    orphans: int


@dataclass(frozen=True)
class Pipes:
    """The reading ends of a process's standard output and error."""

    out: int
    err: int

    def read(self) -> tuple[str, str]:
        """All that is in them; they are closed."""
        texts = []
        for pipe in (self.out, self.err):
            with os.fdopen(pipe, "rb") as file:
                texts.append(file.read().decode("utf-8", "replace"))
        return texts[0], texts[1]

    def close(self) -> None:
        os.close(self.out)
        os.close(self.err)


def start(words: list[str], fault: Callable[[], None] = lambda: None) -> tuple[int, Pipes]:
    """Fork a process, the first of a session of its own, that runs ``recon words``; gives its number and its output,
    which must fit into a pipe. ``fault`` is called in it first."""
    sys.stdout.flush()
    sys.stderr.flush()
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    child = os.fork()
    if child:
        os.close(out_end)
        os.close(err_end)
        return child, Pipes(out, err)
    code = 70
    try:
        os.setsid()
        for number, end in ((1, out_end), (2, err_end)):
            os.dup2(end, number)
        for end in (out, err, out_end, err_end):
            os.close(end)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for other in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(other, signal.SIG_DFL)
        fault()
        main(words)
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException as error:  # what the command line let through is a finding
        os.write(2, f"escaped: {type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def wait(child: int, pipes: Pipes, began: float, limit: float) -> Ended:
    """Its end; a process that is still there after ``limit`` seconds is killed and its code is -9."""
    status: int | None = None
    while status is None and time.monotonic() - began < limit:
        found, ended = os.waitpid(child, os.WNOHANG)
        if found:
            status = ended
        else:
            time.sleep(0.01)
    if status is None:
        os.killpg(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
    seconds = time.monotonic() - began
    orphans = len(left_over(child))  # gone now, or they would hold the pipes open
    return Ended(os.waitstatus_to_exitcode(status), *pipes.read(), seconds, orphans)


def run(words: list[str], fault: Callable[[], None] = lambda: None, limit: float = 120) -> Ended:
    """Start and wait."""
    began = time.monotonic()
    return wait(*start(words, fault), began, limit)


def left_over(session: int, patience: float = 30.0) -> list[int]:
    """Processes of a session that outlive its first by more than ``patience`` seconds. They are killed."""
    until = time.monotonic() + patience
    while (alive := _members(session)) and time.monotonic() < until:
        time.sleep(0.05)
    for number in alive:
        os.kill(number, signal.SIGKILL)
    return alive


def _members(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if entry.name.isdigit() and int(fields[3]) == session and fields[0] != "Z":
            found.append(int(entry.name))
    return found
