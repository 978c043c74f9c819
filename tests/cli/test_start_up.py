"""What a user waits for before anything is seen, and what is left behind by Ctrl-C."""

import importlib
import importlib.util
import json
import os
import resource
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from cli import lean_diffusers
from cli.lean_diffusers import NOT_NEEDED
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


AFTERWARDS = """
import sys, json
from cli import progress
from cli.main import main
found, show = [], progress.Progress.show
def first(self, stage, done):
    seen.append([m for m in {modules!r} if m in sys.modules])
    show(self, stage, done)
progress.Progress.show = first
for words in {lines!r}:
    seen = []
    try:
        main(words)
    except SystemExit as stop:
        found.append([stop.code or 0, [m for m in {modules!r} if m in sys.modules], seen[:1]])
sys.stderr.write('\\n' + json.dumps(found))
"""


def imported(lines: list[list[str]], modules: tuple[str, ...]) -> tuple[list[list[str]], list[list[list[str]]]]:
    """Which of ``modules`` command lines of one process have imported: by the end of each of them, and when each shows
    progress first, if it does."""
    program = AFTERWARDS.format(lines=lines, modules=modules)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=240)
    found = json.loads(done.stderr.splitlines()[-1])
    assert [code for code, _, _ in found] == [0] * len(lines), done.stderr
    return [names for _, names, _ in found], [first for _, _, first in found]


def test_help_imports_nothing_heavy_and_is_quick():
    assert imported([["--help"], ["reconstruct", "--help"], ["pretrain", "--help"]], HEAVY)[0] == [[], [], []]
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


def test_commands_import_only_what_they_use_and_show_progress_first(fast, tmp_path):
    """Each of these needs more than the one before, so one process tells what each of them imports."""
    prior = write_small_prior(tmp_path / "prior")
    lines = [
        ["info", str(fast)],
        ["reconstruct", str(fast), "--method", "sense", "--out", str(tmp_path / "sense")],
        [
            "reconstruct",
            str(fast),
            "--prior",
            str(prior),
            "--samples",
            "1",
            "--steps",
            "1",
            "--out",
            str(tmp_path / "o"),
        ],
    ]
    beside = [name for name in NOT_NEEDED if name != "scipy"]  # which SENSE needs
    ended, first = imported(lines, ("diffusers", "sigpy", "matplotlib", "nilearn", "fastmri", *beside))
    assert ended == [[], [], ["diffusers"]]
    assert first[2] == [[]], "progress is shown before the library of the network is imported"


@pytest.mark.parametrize("needs", [False, True])
def test_modules_of_diffusers_go_without_what_they_can_do_without(needs, tmp_path, monkeypatch):
    (tmp_path / "beside.py").write_text("")
    (tmp_path / "part.py").write_text(
        "try:\n    import beside\nexcept ImportError:\n    beside = None\n" if not needs else "import beside\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(lean_diffusers, "NOT_NEEDED", ("beside",))
    spec = lean_diffusers.LeanDiffusers().find_spec("diffusers.part", [str(tmp_path)])
    part = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(part)
    assert (part.beside is not None) is needs
    assert importlib.import_module("beside").__file__, "all else finds it"
    monkeypatch.delitem(sys.modules, "beside")
    assert lean_diffusers.LeanDiffusers().find_spec("beside", None) is None


def test_a_part_within_a_part_gets_what_it_cannot_do_without(tmp_path, monkeypatch):
    """Whatever its importer makes of the error, as diffusers' lazy modules do of every ImportError."""
    (tmp_path / "beside.py").write_text("")
    (tmp_path / "inner.py").write_text("import beside\n")
    (tmp_path / "outer.py").write_text(
        "import load\n"
        "try:\n    inner = load.load('inner')\nexcept ImportError as error:\n    raise RuntimeError from error\n"
        "try:\n    import other\nexcept ImportError:\n    other = None\n"
    )
    (tmp_path / "other.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(lean_diffusers, "NOT_NEEDED", ("beside", "other"))

    def load(name):
        spec = lean_diffusers.LeanDiffusers().find_spec(f"diffusers.{name}", [str(tmp_path)])
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    monkeypatch.setitem(sys.modules, "load", types.SimpleNamespace(load=load))
    outer = load("outer")
    assert outer.other is None, "what it can do without is hidden again"
    assert importlib.import_module("beside") is outer.inner.beside, "and what was imported stays"
    assert importlib.import_module("other").__file__
    for name in ("beside", "other"):
        monkeypatch.delitem(sys.modules, name)


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
