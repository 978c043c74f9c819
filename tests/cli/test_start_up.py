"""What a user waits for before anything is seen, and what is left behind by Ctrl-C."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from recon.scans.opening import open_scan
from recon.scans.options import UndersamplingOptions
from recon.scans.undersample import undersample
from tests.small_world import write_small_prior, write_small_scan

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "diffusers", "sigpy", "matplotlib", "nibabel", "nilearn", "scipy", "h5py", "numpy", "pydicom")
TRIVIAL = """
import typer
app = typer.Typer(rich_markup_mode=None, add_completion=False)
@app.command()
def one(number: int = 1): "One."
@app.command()
def two(number: int = 1): "Two."
app(["--help"])
"""


@pytest.fixture(scope="module")
def fast(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    full = write_small_scan(folder / "full.h5")
    undersample(open_scan(full), folder / "fast.h5", UndersamplingOptions(acceleration=2, calibration_lines=12))
    return folder / "fast.h5"


def imported(words: list[str], modules: tuple[str, ...]) -> list[str]:
    """Which of ``modules`` a command line has imported by its end."""
    program = (
        "import sys, json\nfrom cli.main import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit as stop:\n    code = stop.code\n"
        f"sys.stderr.write('\\n' + json.dumps([code or 0, [m for m in {modules!r} if m in sys.modules]]))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    code, found = json.loads(done.stderr.splitlines()[-1])
    assert code == 0, done.stderr
    return found


def test_help_imports_nothing_heavy_and_is_quick():
    assert imported(["--help"], HEAVY) == []
    assert imported(["reconstruct", "--help"], HEAVY) == []
    assert imported(["pretrain", "--help"], HEAVY) == []
    # Processor time rather than wall time: other work on the machine must not fail this test.
    quickest = min(processor_seconds("-m", "cli", "--help") for _ in range(5))
    assert quickest < 0.5
    assert quickest < 2 * min(processor_seconds("-c", TRIVIAL) for _ in range(5))


def processor_seconds(*words: str) -> float:
    """Processor time of one Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def test_commands_import_only_what_they_use(fast, tmp_path):
    assert imported(["info", str(fast)], ("diffusers", "sigpy", "matplotlib", "nilearn")) == []
    words = ["reconstruct", str(fast), "--method", "sense", "--out", str(tmp_path)]
    assert imported(words, ("diffusers", "sigpy", "matplotlib", "nilearn", "fastmri")) == []


def test_progress_is_shown_before_the_network_library_is_imported(fast, tmp_path):
    prior = write_small_prior(tmp_path / "prior")
    program = (
        "import sys, json\nfrom cli import progress\n"
        "slow = ('diffusers', 'sigpy', 'matplotlib')\n"
        "seen = []\nshow = progress.Progress.show\n"
        "def first(self, stage, done):\n"
        "    seen.append([m for m in slow if m in sys.modules])\n    show(self, stage, done)\n"
        "progress.Progress.show = first\n"
        "from cli.main import main\n"
        f"try:\n    main(['reconstruct', {str(fast)!r}, '--prior', {str(prior)!r}, '--samples', '1', '--steps', '1', "
        f"'--out', {str(tmp_path / 'out')!r}])\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "print(json.dumps([seen[0], seen[-1]]))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    first, last = json.loads(done.stdout.splitlines()[-1])
    assert first == []
    assert "diffusers" in last


@pytest.mark.slow  # tests/reconstruction/test_reconstruct.py interrupts in this process, tests/faults in others
def test_interrupted_leaves_nothing_half_written_and_continues(fast, tmp_path):
    out = tmp_path / "out"
    words = ["reconstruct", str(fast), "--prior", str(write_small_prior(tmp_path / "prior")), "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", *words, "--samples", "4", "--steps", "5000"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stderr is not None
    for line in process.stderr:  # the scan's own line: sampling is about to start, or has
        if line.startswith("fast"):
            break
    process.send_signal(signal.SIGINT)
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=120) == 130, errors
    assert "interrupted" in errors
    assert not out.exists() or list(out.iterdir()) == []
    again = subprocess.run(
        [sys.executable, "-m", "cli", *words, "--samples", "1", "--steps", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert again.returncode == 0, again.stderr
    assert [path.name for path in out.iterdir()] == ["fast.h5"]
