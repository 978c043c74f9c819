"""Signals unwind the program when it suits: not while HDF5 calls us, and not lost where Python ignores them."""

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import h5py
import numpy as np
import pytest

from cli.signals import unwinding
from recon import hdf5
from recon.atomic import atomic_path, temporary_folder


class Reluctant:
    """Python can only ignore what is raised in its destructor."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)


def test_a_signal_that_python_ignores_comes_again() -> None:
    with unwinding() as received:
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012
            reluctant = Reluctant()
            del reluctant
            gc.collect()
            time.sleep(5)
        assert received == [signal.SIGTERM]


def test_a_signal_while_hdf5_writes_waits(tmp_path: Path) -> None:
    sent: list[str] = []

    def trace(frame: FrameType, event: str, argument: Any) -> None:
        if frame.f_code is hdf5._DiskFile.write.__code__ and not sent:
            sent.append(event)
            os.kill(os.getpid(), signal.SIGTERM)

    finished = False
    with unwinding() as received:
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            with pytest.raises(KeyboardInterrupt):  # noqa: PT012
                with hdf5.hdf5_for_writing(tmp_path / "a.h5") as file:
                    file["x"] = np.arange(100_000)
                    file.flush()
                finished = True
                time.sleep(5)
        finally:
            sys.settrace(before)
        assert received == [signal.SIGTERM]
    assert sent
    assert finished, "the file was closed before the interruption came"
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["x"][-1] == 99_999


@pytest.fixture
def quick_collection() -> Iterator[None]:
    """What other tests have left would be gone through at every moment: a minute in a long run."""
    gc.freeze()
    yield
    gc.unfreeze()
    gc.collect()
    gc.freeze()  # as tests/conftest.py does


# A signal that comes late may interrupt what this test itself writes, which is then closed by the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("place", [atomic_path, temporary_folder])
def test_no_moment_of_a_write_leaves_a_temporary_file(
    tmp_path: Path, place: Callable[[Path], Any], quick_collection: None
) -> None:
    """A signal at every line of ``recon.atomic`` and of ``contextlib`` that a write goes through, one after another."""
    moment, last = 0, False
    while not last:
        passed, sent = 0, False

        def trace(frame: FrameType, event: str, argument: Any, moment: int = moment) -> Any:
            nonlocal passed, sent
            if frame.f_globals.get("__name__") not in ("recon.atomic", "contextlib"):
                return None
            passed += 1
            if passed > moment and not sent:
                sent = True
                os.kill(os.getpid(), signal.SIGTERM)
            return trace

        with unwinding() as received:
            before = sys.gettrace()
            try:
                with pytest.raises(KeyboardInterrupt):  # noqa: PT012
                    sys.settrace(trace)
                    with place(tmp_path / "result") as temporary:
                        (temporary / "part" if temporary.is_dir() else temporary).write_bytes(b"complete")
                    sys.settrace(before)
                    last = not sent
                    if last:
                        raise KeyboardInterrupt
                    time.sleep(5)
            finally:
                sys.settrace(before)
            assert last or received == [signal.SIGTERM]
        gc.collect()
        assert {path.name for path in tmp_path.iterdir()} <= {"result"}, f"moment {moment}"
        moment += 1
    assert moment > 30


EXECUTING = """
import os, signal, sys, time
from cli.signals import unwinding
began = time.monotonic()
with unwinding() as received:
    try:
        exec("os.kill(os.getpid(), signal.SIGTERM)\\nfor _ in range(1000): pass")
        time.sleep(5)
    except KeyboardInterrupt:
        sys.exit(128 + received[0] if time.monotonic() - began < 4 else 1)
"""


@pytest.mark.parametrize("start", [("-m", "executing"), ("-c", "exec(open('executing.py').read())")])
def test_the_exit_code_is_that_of_the_signal_also_while_modules_are_imported(
    tmp_path: Path, start: tuple[str, str]
) -> None:
    """Every dataclass executes a text as its module is imported: what a command does in its first seconds. A text
    around the whole program, as other programs start it, delays nothing."""
    (tmp_path / "executing.py").write_text(EXECUTING)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, *start], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 143


def test_further_signals_do_not_disturb_the_tidying_up() -> None:
    tidied = False
    with unwinding() as received, pytest.raises(KeyboardInterrupt):  # noqa: PT012
        try:
            os.kill(os.getpid(), signal.SIGTERM)  # SIGHUP may be ignored: nohup
            time.sleep(5)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            tidied = True
    assert tidied
    assert received == [signal.SIGTERM]


def test_handlers_are_given_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
    with unwinding():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)] == before
