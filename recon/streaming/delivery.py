"""Kept results on their way to a PACS: exported beside the result, sent by a thread of its own, tried again until all
is confirmed.

What waits is written down as an empty file ``scan-00001-3f9a1c.unsent`` beside the result, so that a server that is
started again on the same folder goes on with it.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recon.errors import ReconError
from recon.images.dicom_push import Destination, send_files
from recon.reconstruction.formats import FORMATS, check_exportable, export, pushed_files
from recon.scan import Scan
from recon.streaming.events import Tell, untold
from recon.streaming.keeping import kept_results

WAITING = ".unsent"
LONGEST_PAUSE = 600.0  # seconds between two attempts


@dataclass(frozen=True)
class Attempt:
    """A result that was sent: confirmed instance by instance, or not, for ``fault``."""

    result: str  # its name
    destination: str
    confirmed: int = 0  # instances
    fault: str | None = None

    def line(self) -> str:
        """One line for people."""
        if self.fault is not None:
            return f"{self.result}: not sent, it is tried again: {self.fault}"
        return f"{self.result}: {counted(self.confirmed)} confirmed by {self.destination}"

    def facts(self) -> dict[str, Any]:
        """The same for machines."""
        return {"event": "delivery", **asdict(self)}


class Delivery:
    """Exports results of ``folder`` and sends them to ``destination``, or, without one, only exports them.

    ``pause``: seconds before what could not be sent is tried again; it doubles, to ten minutes at most. ``tell`` gets
    an ``Attempt`` for each result that was confirmed, and one for the first attempt that failed.
    """

    def __init__(
        self, folder: Path, formats: tuple[str, ...], destination: Destination | None = None, pause: float = 30.0
    ) -> None:
        self._folder, self._formats, self._destination = folder, formats, destination
        self._first_pause = pause
        self._due: dict[Path, tuple[float, float]] = {}  # when it is tried again, after which pause
        self._woken, self._ended = threading.Event(), threading.Event()

    def add(self, result: Path, scan: Scan) -> str:
        """Export a result that was kept, and let it be sent; what was done, in a few words for the log. Raises
        ReconError when it cannot be exported."""
        check_exportable(scan, self._formats)
        files = export(result, scan, self._formats)
        if self._destination is None:
            return f"exported in {len(files)} files"
        result.with_suffix(WAITING).touch()
        self._woken.set()
        return f"{counted(len(pushed_files(result, self._formats)))} for {self._destination}"

    @contextmanager
    def sending(self, tell: Tell = untold) -> Iterator[None]:
        """Within the block a thread sends what waits. At its end an instance that is on its way is given a moment, and
        the rest stays for the next start."""
        if self._destination is None:
            yield
            return
        sender = threading.Thread(target=self._send_all, args=(self._destination, tell), daemon=True)
        sender.start()
        try:
            yield
        finally:
            self._ended.set()
            self._woken.set()
            sender.join(2.0)

    def _send_all(self, destination: Destination, tell: Tell) -> None:
        while not self._ended.is_set():
            self._woken.clear()
            waiting = self._waiting()
            self._due = {result: due for result, due in self._due.items() if result in waiting}
            for result in waiting:
                if self._ended.is_set():
                    return
                if self._due.get(result, (0.0, 0.0))[0] <= time.monotonic():
                    self._send(result, destination, tell)
            known = [due for due, _ in self._due.values()]
            self._woken.wait(max(0.05, min(known) - time.monotonic()) if known else None)

    def _waiting(self) -> list[Path]:
        """Results that were exported and not yet confirmed, in the order in which they came."""
        try:
            return [path for path in kept_results(self._folder) if path.with_suffix(WAITING).exists()]
        except OSError:  # the folder is away: there may be one again
            return []

    def _send(self, result: Path, destination: Destination, tell: Tell) -> None:
        """Send one result; a failure, whatever it is, is said once and sets the time of the next attempt."""
        try:
            files = pushed_files(result, [name for name, row in FORMATS.items() if row.pushed])
            confirmed = send_files(files, destination) if files else 0
            result.with_suffix(WAITING).unlink(missing_ok=True)
        except Exception as error:  # the thread must live as long as the server
            words = str(error) if isinstance(error, ReconError) else f"{type(error).__name__} within recon"
            if result not in self._due:
                tell(Attempt(result.name, str(destination), fault=words))
            pause = min(2 * self._due.get(result, (0.0, self._first_pause / 2))[1], LONGEST_PAUSE)
            self._due[result] = (time.monotonic() + pause, pause)
            return
        self._due.pop(result, None)
        tell(Attempt(result.name, str(destination), confirmed))


def counted(instances: int) -> str:
    """A number of DICOM instances in words."""
    return f"{instances} instance{'s' * (instances != 1)}"
