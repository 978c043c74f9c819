"""Signals at random moments: then nothing is foreign, half or orphaned, and the same command gives the same files."""

import os
import random
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.fingerprints import contents, fits, hidden
from tests.faults.processes import Ended, run, start, wait
from tests.faults.world import Command

SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
CODES = {"SIGKILL": -9, "SIGTERM": 143, "SIGINT": 130, "SIGHUP": 129}


@dataclass(frozen=True)
class Undisturbed:
    """What a command leaves when nothing happens, and how long it takes."""

    files: dict[str, str]
    seconds: float


@dataclass
class Finding:
    """What one kill brought to light; nothing, if all is well."""

    command: str
    signal: str
    moment: float
    in_time: bool = True
    wrong: list[str] = field(default_factory=list)


def undisturbed(command: Command, world: Path) -> Undisturbed:
    """Run it once. Raises AssertionError when it fails, or leaves hidden files."""
    out = fresh(command, world)
    ended = run(command.words(world, out))
    assert ended.code == 0, f"{command.name}: {ended.err}"
    files = contents(out)
    assert not [name for name in files if hidden(name)], f"{command.name} leaves hidden files"
    return Undisturbed(files, ended.seconds)


def kill_once(command: Command, world: Path, whole: Undisturbed, name: str, moment: float) -> Finding:
    """Send the signal ``name`` after ``moment`` of the command's time; look; run the command again; look again."""
    finding = Finding(command.name, name, moment)
    out = fresh(command, world)
    began = time.monotonic()
    child, pipes = start(command.words(world, out))
    time.sleep(moment * whole.seconds)
    found, _ = os.waitpid(child, os.WNOHANG)
    if found:  # it was faster than the first time
        finding.in_time = False
        pipes.close()
    else:
        os.kill(child, getattr(signal, name))
        _look_at_the_end(finding, wait(child, pipes, began, 90), name)
    _look_at_the_files(finding, command, contents(out), whole, name)
    again = run(command.words(world, out))
    if again.code != 0 and not (command.finished and command.finished in again.err):
        finding.wrong.append(f"the rerun fails ({' '.join(again.err.split())[-300:]})")
    else:
        finding.wrong += look_at_the_rerun(command, world, out, whole)
    return finding


def moments(count: int, seed: int) -> list[tuple[str, float]]:
    """Signals and moments for one command."""
    draw = random.Random(seed)
    return [(SIGNALS[number % len(SIGNALS)], draw.uniform(0.02, 0.98)) for number in range(count)]


def fresh(command: Command, world: Path) -> Path:
    out = world / "run"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    command.before(out)
    return out


def _look_at_the_end(finding: Finding, ended: Ended, name: str) -> None:
    if ended.code == 0:
        finding.in_time = False
    elif ended.code != CODES[name]:
        finding.wrong.append(f"exit code {ended.code} ({' '.join(ended.err.split())[-300:]})")
    elif name != "SIGKILL" and "interrupted" not in ended.err:
        finding.wrong.append("does not say that it was interrupted")
    if ended.orphans:
        finding.wrong.append(f"{ended.orphans} orphans")
    if "Traceback" in ended.err:
        finding.wrong.append(f"traceback ({' '.join(ended.err.split())[-600:]})")


def _look_at_the_files(
    finding: Finding, command: Command, left: dict[str, str], whole: Undisturbed, signal_name: str
) -> None:
    for file, found in left.items():
        if hidden(file):
            if signal_name != "SIGKILL":
                finding.wrong.append(f"left behind: {file}")
        elif fits(file, command.progress):
            continue
        elif file not in whole.files:
            finding.wrong.append(f"foreign: {file}")
        elif command.same and whole.files[file] != found:
            finding.wrong.append(f"half: {file}")


def look_at_the_rerun(command: Command, world: Path, out: Path, whole: Undisturbed) -> list[str]:
    """What is wrong with the files of a run that was completed by running the command again."""
    wrong = []
    after = contents(out)
    if command.same:
        different = sorted(file for file in {*after, *whole.files} if after.get(file) != whole.files.get(file))
        wrong += [f"the rerun differs: {file}" for file in different[:3]]
    else:
        wrong += [f"the rerun leaves {file}" for file in after if hidden(file)]
    if command.afterwards is not None:
        checked = run(command.afterwards(out))
        if checked.code != 0:
            wrong.append(f"afterwards: {' '.join(checked.err.split() or checked.out.split())[-300:]}")
    return wrong
