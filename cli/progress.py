"""Progress of long work: a bar with the remaining time on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from cli.output import note

INTERVAL = 30.0  # seconds between plain lines of one stage
WORTH_SAYING = 20.0  # seconds: work that takes no longer needs no estimate


class Progress:
    """``with Progress() as progress: progress.show("R = 2, sense", 0.3)``: a stage in words and the fraction done.

    The remaining time is extrapolated from what was done since the first report, so a run that continues at 90 % does
    not promise to be as fast as if it had done these in no time. ``quiet`` holds plain lines back for so many seconds:
    work that is done or refused by then says nothing but its result.
    """

    def __init__(self, quiet: float = 0.0) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._stage = ""
        self._began = self._spoke = time.monotonic()
        self._first: float | None = None  # fraction at the first report, which is not the work of this run

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=1.0,
                dynamic_ncols=True,
                leave=False,
                bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}",
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, stage: str, done: float) -> None:
        """Say what is being done, and which fraction of everything is behind."""
        done = min(max(done, 0.0), 1.0)
        if self._first is None:
            self._first, self._began = done, time.monotonic()
            if self._bar is not None:
                self._bar.n = self._bar.initial = done
        if self._bar is not None:
            self._bar.set_description_str(stage, refresh=stage != self._stage)
            self._bar.update(done - self._bar.n)
        else:
            now = time.monotonic()
            if now - self._began < self._quiet:
                return
            if stage != self._stage or now - self._spoke > INTERVAL:
                made = done - self._first
                left = (now - self._began) * (1 - done) / made if made > 0.02 else None
                note(f"{stage} ({100 * done:.0f} %{'' if left is None else f', about {left:.0f} s left'})")
                self._spoke = now
        self._stage = stage

    def note(self, line: str) -> None:
        """One line for people on standard error, above the bar where there is one."""
        if self._bar is None:
            note(line)
        else:
            self._bar.write(line, file=sys.stderr)


class FirstVolume:
    """Says once how long work on ``volumes`` will take, from how long the first of them took.

    ``report`` takes how many are behind, the first time 0; ``say`` gets the line, where there is one worth saying.
    """

    def __init__(self, volumes: int, say: Callable[[str], None]) -> None:
        self._volumes, self._say = volumes, say
        self._began = time.monotonic()
        self._over = False

    def report(self, behind: float) -> None:
        """So many volumes are behind."""
        if behind < 1 - 1e-9 or self._over:
            return
        self._over = True
        each = (time.monotonic() - self._began) / behind
        if each * self._volumes > WORTH_SAYING:
            self._say(f"about {duration(each * self._volumes)} for {self._volumes} volumes ({each:.1f} s the first)")


def duration(seconds: float) -> str:
    """A rough duration in words."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"
