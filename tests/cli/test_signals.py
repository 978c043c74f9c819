"""Signals unwind the program when it suits: not while HDF5 calls us, and not lost where Python ignores them."""

import gc
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import h5py
import numpy as np
import pytest

from cli.signals import unwinding
from recon import hdf5


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
