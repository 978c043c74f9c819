"""Many mutants one after the other in a child process with limits; a lost child loses one mutant and is replaced."""

import faulthandler
import json
import os
import resource
import select
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzzing.driving import LOST, Verdict

SECONDS = 60.0  # a mutant may take
MEMORY_BYTES = 4 << 30  # beyond what the process has when it starts
BATCH = 200  # mutants a child
BROKEN = "broken"  # no column: the suite itself failed


@dataclass(frozen=True)
class Judged:
    """A mutant's number in its campaign, and the verdict on it."""

    number: int
    verdict: Verdict


def judge_all(count: int, judge: Callable[[int], Verdict], seconds: float = SECONDS) -> Iterator[Judged]:
    """The verdicts of mutants 0 to ``count - 1``, in order."""
    done = 0
    while done < count:
        last = min(done + BATCH, count)
        for judged in _one_child(range(done, last), judge, seconds):
            yield judged
            done = judged.number + 1


def _one_child(numbers: Sequence[int], judge: Callable[[int], Verdict], seconds: float) -> Iterator[Judged]:
    """Verdicts until the child ends: by itself, or with the mutant that killed it, whose verdict is the last."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _serve(numbers, judge, writing)
    os.close(writing)
    pending, buffer, waiting = list(numbers), b"", time.monotonic()
    try:
        while pending:
            ready, _, _ = select.select([reading], [], [], max(0.0, waiting + seconds - time.monotonic()))
            data = os.read(reading, 1 << 16) if ready else b""
            if not data:
                os.kill(child, signal.SIGKILL)
                _, status = os.waitpid(child, 0)
                child = 0
                words = f"no answer in {seconds:g} s" if not ready else f"the process ended (status {status})"
                yield Judged(pending[0], Verdict(LOST, words))
                return
            buffer += data
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                column, words = json.loads(line)
                waiting = time.monotonic()
                yield Judged(pending.pop(0), Verdict(column, words))
    finally:
        os.close(reading)
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _serve(numbers: Sequence[int], judge: Callable[[int], Verdict], writing: int) -> None:
    try:
        faulthandler.disable()
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        start = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
        limit = start + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for number in numbers:
            try:
                verdict = judge(number)
            except BaseException:
                verdict = Verdict(BROKEN, traceback.format_exc())
            answer = json.dumps([verdict.column, verdict.words[:2000]]).encode() + b"\n"
            while answer:
                answer = answer[os.write(writing, answer) :]
    finally:
        os._exit(0)


def peak() -> int:
    """The most memory that this process ever had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def copied(seed: Path, folder: Path, with_it: Sequence[Path] = ()) -> Path:
    """A copy of a seed, file or folder, and of the files that belong to it."""
    for path in (seed, *with_it):
        if path.is_dir():
            shutil.copytree(path, folder / path.name)
        else:
            shutil.copy(path, folder / path.name)
    return folder / seed.name


def scratch() -> "tempfile.TemporaryDirectory[str]":
    """A folder for one mutant, in memory where there is such a place."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return tempfile.TemporaryDirectory(prefix="fuzz_", dir=place, ignore_cleanup_errors=True)
