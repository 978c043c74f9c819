"""Ctrl-C, SIGTERM and SIGHUP unwind the program, so that temporary files and worker processes go with it."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SOON = 0.02  # seconds until a moment that did not suit is tried again


@contextmanager
def unwinding() -> Iterator[list[int]]:
    """Within the block the first of these signals raises KeyboardInterrupt; further ones do not disturb the tidying up.

    Gives the list that the first will be put into. A signal that whoever started us ignores (nohup) stays ignored.
    KeyboardInterrupt is not raised where a C library would lose it or crash over it: while HDF5 writes through one of
    our files, it waits; where Python could only ignore it (in a destructor, in a hook of a fork), it comes again.
    """
    received: list[int] = []
    alarm = getattr(signal, "SIGALRM", None)  # not on every system

    def again() -> None:
        if alarm is not None:
            signal.setitimer(signal.ITIMER_REAL, SOON)

    def unwind(number: int, frame: FrameType | None) -> None:
        if not received:
            received.append(number)
        elif number != alarm:
            return
        if alarm is not None and _hdf5_is_writing(frame):
            again()
        else:
            raise KeyboardInterrupt

    def unraisable(found: Any) -> None:
        if received and found.exc_type is not None and issubclass(found.exc_type, KeyboardInterrupt):
            again()
        else:
            hook(found)

    handlers = {} if threading.current_thread() is not threading.main_thread() else _free_signals()
    hook = sys.unraisablehook
    for number in handlers:
        signal.signal(number, unwind)
    if handlers and alarm is not None:
        handlers[alarm] = signal.signal(alarm, unwind)
    sys.unraisablehook = unraisable
    try:
        yield received
    finally:
        if alarm in handlers:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook


def _free_signals() -> dict[int, Any]:
    """The signals that nobody else handles or ignores, with their handlers."""
    default = {"SIGINT": signal.default_int_handler, "SIGTERM": signal.SIG_DFL, "SIGHUP": signal.SIG_DFL}
    known = {getattr(signal, name): usual for name, usual in default.items() if hasattr(signal, name)}
    return {number: usual for number, usual in known.items() if signal.getsignal(number) == usual}


def _hdf5_is_writing(frame: FrameType | None) -> bool:
    """Whether HDF5 is calling one of our files: an exception there leaves the library in pieces."""
    module = sys.modules.get("recon.hdf5")
    while module is not None and frame is not None:
        if frame.f_code in module.CALLED_BY_HDF5:
            return True
        frame = frame.f_back
    return False
