"""Worker processes that tidy up and end with the process that started them, however it ends."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")

START = "spawn"  # the way of starting a process that inherits no lock from a thread, on every system
PATIENCE = 60.0  # seconds for a worker without a parent to remove its temporary files


@contextmanager
def worker_pool(workers: int, initialise: Callable[[], None]) -> Iterator[ProcessPoolExecutor]:
    """A pool of ``workers`` processes, each made ready by ``initialise``; give ``pool.submit`` the function ``task``.

    When the block is left by an exception, the workers are told to stop what they are at; when this process is killed
    they notice, remove their temporary files and end.
    """
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(
        workers, multiprocessing.get_context(START), initializer=_begin, initargs=(initialise,)
    ) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - others:
                child.terminate()
            raise


def task(function: Callable[Given, Result], *values: Given.args, **named: Given.kwargs) -> Result:
    """``function`` in a worker: the pool keeps a worker whose work was stopped, so one without a parent ends here."""
    try:
        return function(*values, **named)
    except BaseException:
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            os._exit(1)
        raise


def _begin(initialise: Callable[[], None]) -> None:
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_follow_parent, daemon=True).start()
    initialise()
    signal.signal(signal.SIGTERM, _unwind)


def _leave(number: int, frame: object) -> None:
    """Before any work there is nothing to tidy up, and the pool would print what an initialiser raises."""
    os._exit(128 + number)


def _unwind(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _follow_parent() -> None:
    """Wait for the parent's end, then end this process: by unwinding, or, when that takes too long, without."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(PATIENCE)
    os._exit(1)
