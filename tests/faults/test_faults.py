"""A short campaign of faults; the long one is ``python -m tests.faults --kills 200``."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.devices import can_mount
from tests.faults.write_errors import MOUNTS

ROOT = Path(__file__).parents[2]


def campaign(*words: str) -> str:
    """In a process of its own, which forks before any thread is made."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", *words],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


SOME = (
    "no file can be written", "4 MB of memory", "standard output is full", "EIO after 3 kB written",
    "EIO on flushing to disk", "EIO on renaming", "EIO after 50 kB read", *MOUNTS,
)  # fmt: skip


@pytest.mark.skipif(not (shutil.which("cc") or shutil.which("gcc")), reason="there is no C compiler")
def test_a_quick_command_survives_faults() -> None:
    found = campaign("--kills", "2", "--commands", "undersample", "--faults", *SOME)
    assert f"{len(SOME)} of {len(SOME)} (stopped by {len(SOME) - 1})" in found or not can_mount()
    assert re.search(r" (\d+) of \1 \(", found)


@pytest.mark.slow
def test_every_command_survives_faults() -> None:
    assert len(re.findall(r" (\d+) of \1 \(", campaign("--kills", "40"))) == 10
