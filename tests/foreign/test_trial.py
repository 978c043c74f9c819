"""Files that crash or hang the HDF5 library, or claim sizes that they do not hold, end in one line."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from recon.errors import ReconError
from recon.foreign import trial
from recon.foreign.hdf5 import foreign_hdf5
from tests.foreign.test_varying_lengths import damaged, table
from tests.small_world import write_small_scan


@pytest.mark.parametrize("name", ["fast_meta_100", "ism_any_28_dup", "ism_any_36_zero"])
def test_hostile_files_are_refused(
    name: str, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_cli: Callable[..., Any]
) -> None:
    source = shared_data / "hostile" / f"{name}.h5"
    if not source.is_file():
        pytest.skip(f"real data absent: {source}")
    monkeypatch.setattr(trial, "SECONDS", 1)
    path = Path(shutil.copy(source, tmp_path / "scan.h5"))
    outcome = run_cli("info", path)
    assert outcome.code == 2
    assert f"{path}: damaged HDF5 file on which the HDF5 library crashes, hangs or takes all memory" in outcome.err


def test_a_file_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_small_scan(tmp_path / "scan.h5")
    with foreign_hdf5(path):
        pass
    monkeypatch.setattr("recon.foreign.hdf5.survives", lambda _: pytest.fail("tried again"))
    start = time.perf_counter()
    for _ in range(10):
        with foreign_hdf5(path):
            pass
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("chunks", [None, (1, 1, 64, 64)])
def test_sizes_that_are_not_stored_are_refused(chunks: tuple[int, ...] | None, tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("kspace", (2**18, 4, 1024, 1024), np.complex64, chunks=chunks)
    words = r"scan\.h5: dataset '/kspace' claims \d+ bytes but 0 are stored"
    with pytest.raises(ReconError, match=words), foreign_hdf5(path):
        pass


def test_a_bomb_of_text_is_refused(tmp_path: Path) -> None:
    path = write_small_scan(tmp_path / "scan.h5")
    with h5py.File(path, "r+") as file:
        del file["ismrmrd_header"]
        file.create_dataset("ismrmrd_header", (), f"S{2**31 - 1}")
    with pytest.raises(ReconError, match=r"scan\.h5: dataset '/ismrmrd_header' claims"), foreign_hdf5(path):
        pass


@pytest.fixture
def examiner() -> Iterator[trial._Examiner]:
    examiner = trial._Examiner()
    yield examiner
    examiner.stop()


def test_one_process_looks_through_many_files(examiner: trial._Examiner, tmp_path: Path) -> None:
    path = write_small_scan(tmp_path / "scan.h5")
    assert examiner.survives(path)
    process = examiner.process
    start = time.perf_counter()
    for _ in range(10):
        assert examiner.survives(path)
    assert time.perf_counter() - start < 0.5  # 50 ms a file
    assert examiner.process is process


def test_the_process_is_replaced_when_it_is_lost(examiner: trial._Examiner, tmp_path: Path) -> None:
    path = write_small_scan(tmp_path / "scan.h5")
    assert examiner.survives(path)
    assert examiner.process is not None
    os.kill(examiner.process.number, signal.SIGKILL)
    examiner.process.wait()
    assert not examiner.survives(path)  # as if the file had killed it
    assert examiner.survives(path)


def test_the_process_ends_with_its_input(examiner: trial._Examiner, tmp_path: Path) -> None:
    assert examiner.survives(write_small_scan(tmp_path / "scan.h5"))
    process = examiner.process
    assert process is not None
    process.questions.close()  # what the kernel does when this process ends, however it does
    process.wait()


def test_a_fork_has_a_process_of_its_own(tmp_path: Path) -> None:
    path = write_small_scan(tmp_path / "scan.h5")
    assert trial.survives(path)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if trial._examiner.process is None and trial.survives(path) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert trial.survives(path)


AHEAD = """
import os, sys, time
from recon.foreign import trial
trial.start_ahead()
process = trial._examiner.process
assert process is not None
start = time.perf_counter()
print(trial.survives(sys.argv[1]), trial.survives(sys.argv[1]), trial._examiner.process is process)
print(trial.survives(sys.argv[2]), trial.survives(sys.argv[1]))  # another one after it was lost
print(time.perf_counter() - start)
first = os.waitpid(-1, os.WNOHANG)[0]  # nobody but the one that was started again
assert first == 0, first
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked ahead on Linux only")
def test_a_small_process_forks_it_ahead(tmp_path: Path) -> None:
    healthy = write_small_scan(tmp_path / "scan.h5")
    hostile = damaged(table(tmp_path / "table.h5", 20, chunks=(20,)), 1 << 28)  # takes all memory
    done = subprocess.run([sys.executable, "-c", AHEAD, healthy, hostile], capture_output=True, text=True, check=True)
    first, second, seconds = done.stdout.splitlines()
    assert (first, second) == ("True True True", "False True")
    assert float(seconds) < 5


def test_a_large_process_does_not_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    assert "torch" in sys.modules, torch
    monkeypatch.setattr(trial, "forked", lambda _: pytest.fail("forked"))
    monkeypatch.setattr(trial._examiner, "process", None)
    trial.start_ahead()
