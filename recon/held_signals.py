"""Signals that ask a program to end, held back until work is whole: a training step and its state, files and their log.

Only in the main thread, where Python handles signals, and only those that nobody ignores (``nohup``). Who handled a
signal before gets it afterwards; a second signal does not wait.
"""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

NUMBERS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]  # Ctrl-C, schedulers, a closed terminal


def ignore_signals() -> None:
    """For a worker process that another one ends: whatever its process group is sent goes past it."""
    for number in NUMBERS:
        signal.signal(number, signal.SIG_IGN)


class HeldSignals:
    """A block within which the first of these signals waits. It is delivered when the block is left; ``received`` tells
    before that it should be. An error gives way to it: worker processes that got it, too, fail before this one."""

    def __init__(self, active: bool = True) -> None:
        """``active``: whether anything is held at all."""
        self.received: int | None = None
        self._active = active and threading.current_thread() is threading.main_thread()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "HeldSignals":
        for number in NUMBERS if self._active else []:
            before = signal.getsignal(number)
            if before not in (None, signal.SIG_IGN):  # None: handled outside of Python
                self._before[number] = before
                signal.signal(number, self._hold)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._release()
        if self.received is not None and (kind is None or issubclass(kind, Exception)):
            signal.raise_signal(self.received)

    def _hold(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = number
            return
        self._release()
        signal.raise_signal(number)

    def _release(self) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()
