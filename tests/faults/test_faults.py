"""A short campaign of faults; the long one is ``python -m tests.faults --kills 200``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_a_quick_command_survives_faults() -> None:
    assert campaign("--kills", "4", "--commands", "undersample").count("9 of 9") == 1


@pytest.mark.slow
def test_every_command_survives_faults() -> None:
    assert campaign("--kills", "40").count("9 of 9") == 10
