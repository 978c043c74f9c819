"""Ctrl-C, SIGTERM and SIGHUP unwind the program, so that temporary files and worker processes go with it."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

PATIENCE = 10.0  # seconds after which a moment that does not suit must do


@contextmanager
def unwinding() -> Iterator[list[int]]:
    """Within the block the first of these signals raises KeyboardInterrupt; further ones do not disturb the tidying up.

    Gives the list that the first will be put into. A signal that whoever started us ignores (nohup) stays ignored.
    KeyboardInterrupt is not raised where a C library would lose it or crash over it: while h5py is at work, it waits;
    where Python could only ignore it (in a destructor, in a hook of a fork), it comes again. It also waits while a
    context is entered or left, such as that of a temporary file: between making it and being ready to remove it.
    """
    received: list[int] = []
    until = 0.0
    alarm = getattr(signal, "SIGALRM", None)  # not on every system
    block = sys._getframe(2)  # contextlib enters this generator, and the block's frame contextlib

    def again() -> None:
        if alarm is not None:
            # Not always the same time: work that spends nearly all of its own in h5py would be met there each time.
            signal.setitimer(signal.ITIMER_REAL, 5e-4 + time.monotonic_ns() % 5_000_000 / 1e9)

    def unwind(number: int, frame: FrameType | None) -> None:
        nonlocal until
        if not received:
            received.append(number)
            until = time.monotonic() + PATIENCE
        elif number != alarm:
            return
        if alarm is not None and _unsuitable(frame, block) and time.monotonic() < until:
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


def _unsuitable(frame: FrameType | None, block: FrameType) -> bool:
    """Whether, within the ``block`` that signals unwind, h5py is at work, or HDF5 calls one of our files: an exception
    there leaves locks and files in pieces. Or whether a generator's context is being entered or left: what it has made
    would stay, what it tidies up as well. Or whether a text is being executed, as ``dataclass`` does while modules are
    imported: once KeyboardInterrupt has left one, Python ends by SIGINT, whatever exit code we give."""
    ours: frozenset[CodeType] = getattr(sys.modules.get("recon.hdf5"), "CALLED_BY_HDF5", frozenset())
    text = False  # one around the block, such as that of 'python -c', is left by the exit code
    while frame is not None and frame is not block:
        room = str(frame.f_globals.get("__name__")).partition(".")[0]
        if frame.f_code in ours or room == "h5py":
            return True
        text = text or (frame.f_code.co_filename == "<string>" and frame.f_code.co_name == "<module>")
        if room == "contextlib" and frame.f_code.co_name in ("__enter__", "__exit__"):
            return True
        frame = frame.f_back
    return text and frame is block
