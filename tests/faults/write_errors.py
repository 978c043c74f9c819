"""Faults of the machine: a full disk, a device that fails, too little memory, nobody who listens.

Whatever happens, a command ends with one line and exit code 2, and leaves nothing half; the same command then gives the
same files as if nothing had been.
"""

import errno
import os
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.devices import can_mount, failing, input_read_only, is_preloaded, output_read_only, where
from tests.faults.fingerprints import contents, fits, hidden
from tests.faults.kills import Undisturbed, fresh, look_at_the_rerun
from tests.faults.processes import run
from tests.faults.world import Command


@dataclass(frozen=True)
class Fault:
    """What is done to the process. ``must_fail``: whether the command cannot succeed."""

    inject: Callable[[], None]
    must_fail: bool = True
    must_succeed: bool = False


def _file_size(limit: int) -> Callable[[], None]:
    """Every write beyond ``limit`` bytes of a file fails, for C libraries, too: as on a device that is worn out."""

    def inject() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return inject


def _memory(megabytes: int) -> Callable[[], None]:
    """So much more address space than the process has already."""

    def inject() -> None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + megabytes * 2**20, resource.RLIM_INFINITY))

    return inject


def _open_files(limit: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


def _deaf() -> None:
    """Standard output is a device that is always full."""
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


def _nobody() -> None:
    """Standard output is a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    os.dup2(writing, 1)


FAULTS = {
    "no file can be written": Fault(_file_size(64)),  # a semaphore, which worker processes need, takes 32 bytes
    "writes fail after 300 bytes": Fault(_file_size(300)),
    "writes fail after 4 kB": Fault(_file_size(4096), must_fail=False),
    "4 MB of memory": Fault(_memory(4), must_fail=False),
    "40 MB of memory": Fault(_memory(40), must_fail=False),
    "12 open files": Fault(_open_files(12), must_fail=False),
    "standard output is full": Fault(_deaf),
    "standard output is closed": Fault(lambda: os.close(1), must_fail=False),
    "nobody reads standard output": Fault(_nobody, must_fail=False),
}

DEVICE_FAULTS = {
    "EIO at the first byte written": Fault(failing("WRITE", 0)),
    "EIO after 3 kB written": Fault(failing("WRITE", 3000), must_fail=False),
    "ENOSPC after 20 kB written": Fault(failing("WRITE", 20_000, errno.ENOSPC), must_fail=False),
    "EIO on flushing to disk": Fault(failing("SYNC", 0), must_fail=False),
    "EIO on flushing a second file": Fault(failing("SYNC", 1), must_fail=False),
    "EIO on renaming": Fault(failing("RENAME", 0), must_fail=False),
    "EIO on renaming a second file": Fault(failing("RENAME", 1), must_fail=False),
    "EIO on the first byte read": Fault(failing("READ", 0), must_fail=False),
    "EIO after 50 kB read": Fault(failing("READ", 50_000), must_fail=False),
    "EIO after 150 kB read": Fault(failing("READ", 150_000), must_fail=False),
}
MOUNTS = {
    "output is read-only": Fault(output_read_only),
    "input is read-only": Fault(input_read_only, must_fail=False, must_succeed=True),
}


def faults(names: list[str] | None = None) -> dict[str, Fault]:
    """Those of ``FAULTS``, and of the others those that this machine can have; or those of ``names`` alone."""
    known = {**FAULTS, **(DEVICE_FAULTS if is_preloaded() else {}), **(MOUNTS if can_mount() else {})}
    return {name: fault for name, fault in known.items() if names is None or name in names}


def suffer(command: Command, world: Path, fault: Fault, whole: Undisturbed) -> tuple[bool, list[str]]:
    """Run the command under a fault, and then again without; says whether it failed, and what is wrong with how."""
    out = fresh(command, world)
    where(world, out)
    before = contents(out)
    ended = run(command.words(world, out), fault.inject)
    words = " ".join(ended.err.split())[-300:]
    wrong = []
    if ended.code == 0 and fault.must_fail:
        wrong.append("succeeds")
    if ended.code != 0 and fault.must_succeed:
        wrong.append(f"fails ({words})")
    if ended.code not in (0, 2):
        wrong.append(f"exit code {ended.code} ({words})")
    if "Traceback" in ended.err or "unexpected" in ended.err or "escaped" in ended.err:
        wrong.append(f"says: {words}")
    if ended.code == 2 and not [line for line in ended.err.splitlines() if line.startswith("recon: ")]:
        wrong.append(f"no line that says why ({words})")
    left = {name: found for name, found in contents(out).items() if name not in before}
    wrong += [f"left behind: {name}" for name in sorted(left) if hidden(name)]
    if command.same:
        whole_or_way = {name for name in left if fits(name, command.progress) or left[name] == whole.files.get(name)}
        wrong += [f"half or foreign: {name}" for name in sorted(set(left) - whole_or_way) if not hidden(name)]
    again = run(command.words(world, out))
    if again.code != 0 and not (command.finished and command.finished in again.err):
        return ended.code != 0, [*wrong, f"the rerun fails ({' '.join(again.err.split())[-300:]})"]
    return ended.code != 0, wrong + look_at_the_rerun(command, world, out, whole)
