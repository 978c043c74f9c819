"""What surrounds a command: encodings, names, folders, who listens. One line, and never a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from tests.small_world import write_small_scan

ROOT = Path(__file__).parents[2]


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_small_scan(tmp_path / "a.h5")


def recon(*words: object, cwd: Path = ROOT, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "cli", *map(str, words)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=120,
        check=False,
    )


def test_output_in_ascii(scan: Path, tmp_path: Path) -> None:
    named = scan.rename(tmp_path / "köpfe.h5")
    for words in (("undersample", named, "--acceleration", 2, "--out", tmp_path / "ö.h5"), ("convert", named)):
        done = recon(*words, *(["--out", tmp_path / "ü.h5"] if "convert" in words else []), PYTHONIOENCODING="ascii")
        assert done.returncode == 0, done.stderr
        assert "\\x" in done.stdout


def test_names_that_are_not_utf_8(scan: Path, tmp_path: Path, run_cli) -> None:
    named = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff\xfe.h5"))
    scan.rename(named)
    out = tmp_path / "out"
    made = run_cli("reconstruct", named, "--method", "sense", "--out", out, "--format", "h5,nifti,dicom,png")
    assert made.code == 0, made.err
    (result,) = out.glob("*.h5")
    with h5py.File(os.fsencode(result)) as file:
        assert file.attrs["scan_name"] == r"b\xff\xfe"
    judged = run_cli("evaluate", result, "--reference", named, "--table", tmp_path / "t.csv", "--json")
    assert judged.code == 0, judged.err
    assert judged.json["nrmse"] < 0.2


@pytest.mark.parametrize("length", [251, 300])
def test_names_that_are_too_long(length: int, scan: Path, tmp_path: Path, run_cli) -> None:
    outcome = run_cli("undersample", scan, "--acceleration", 2, "--out", tmp_path / ("x" * length + ".h5"))
    assert outcome.code == 2
    assert "File name too long" in outcome.err
    assert "unexpected" not in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_a_working_folder_that_is_gone(scan: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    program = f"import os; os.rmdir({str(gone)!r}); from cli.main import main; main(['info', {str(scan)!r}])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=gone, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "recon: the working folder does not exist any more; change to another one\n"


@pytest.mark.parametrize("command", ["reconstruct", "pretrain", "benchmark", "encode drift"])
def test_a_device_that_there_is_not(command: str, scan: Path, tmp_path: Path, run_cli) -> None:
    more = {
        "reconstruct": ("--out", tmp_path / "out"), "pretrain": ("--data", tmp_path, "--out", tmp_path / "p"),
        "benchmark": (), "encode drift": ("--reference", scan),
    }[command]  # fmt: skip
    files = () if command == "pretrain" else (scan,)
    outcome = run_cli(*command.split(), *files, *more, "--device", "tpu")
    assert outcome.code == 2
    assert "tpu" in outcome.err
    assert "choose" in outcome.err
    assert "unexpected" not in outcome.err


def test_a_folder_with_nothing_in_it(scan: Path, tmp_path: Path, run_cli) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for words in (("evaluate", empty, "--reference", scan), ("evaluate", scan, "--reference", empty)):
        outcome = run_cli(*words)
        assert outcome.code == 2
        assert f"{empty}: no results, scans, NIfTI or DICOM images" in outcome.err


@pytest.mark.parametrize("command", ["reconstruct", "prepare", "benchmark", "uncertainty", "evaluate", "speed", "demo"])
def test_a_place_that_cannot_be_written_is_said_before_the_work(command: str, scan: Path, tmp_path: Path, run_cli):
    inside = tmp_path / "file" / "inside"
    inside.parent.touch()
    words = {
        "evaluate": (scan, "--reference", scan, "--table", inside), "speed": ("--report", inside),
        "demo": ("--quick", "--out", inside),
    }.get(command, (scan, "--out", inside))  # fmt: skip
    outcome = run_cli(command, *words)
    assert (outcome.code, outcome.out) == (2, "")
    said = f"recon: {inside}: cannot write here ({inside.parent} is a file); choose another place"
    assert outcome.err.splitlines()[-1] == said
    assert "%" not in outcome.err, "before any progress is shown"


@pytest.mark.parametrize("command", ["reconstruct", "prepare"])
def test_the_folder_of_the_scans_as_output(command: str, scan: Path, run_cli):
    """A result would have the scan's own name: nobody is told to remove the scan."""
    before = scan.read_bytes()
    outcome = run_cli(command, scan, "--out", scan.parent)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[-1] == f"recon: {scan}: is the scan itself; choose another --out"
    assert scan.read_bytes() == before


@pytest.mark.parametrize("command", ["reconstruct", "prepare", "undersample", "convert", "simulate"])
def test_a_link_that_leads_round_in_a_circle(command: str, scan: Path, tmp_path: Path, run_cli):
    round_about, back = tmp_path / "a", tmp_path / "b"
    round_about.symlink_to(back)
    back.symlink_to(round_about)
    words = {"simulate": ("--size", 64), "undersample": (scan, "--acceleration", 2)}.get(command, (scan,))
    outcome = run_cli(command, *words, "--out", round_about / "new")
    assert (outcome.code, outcome.out) == (2, "")
    assert str(round_about) in outcome.err.splitlines()[-1]
    assert "unexpected" not in outcome.err
