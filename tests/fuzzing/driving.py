"""Driving a mutant through the command line's own functions, and what came of it."""

import contextlib
import io
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.main import main
from recon.errors import ReconError


@dataclass(frozen=True)
class Answer:
    """How a command or a function ended: ``code`` 0 or 1 accepted, 2 refused, with its last words."""

    code: int
    words: str
    output: str = ""
    value: Any = None

    @property
    def accepted(self) -> bool:
        return self.code in (0, 1)

    @property
    def json(self) -> Any:
        return json.loads(self.output)


def run(*words: object) -> Answer:
    """``recon ...`` in this process, as the command line runs it."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("always")
        try:
            main([str(word) for word in words])
        except SystemExit as stop:
            code = stop.code or 0
    lines = [line for line in err.getvalue().splitlines() if not line.startswith("warning:")]
    return Answer(int(code), lines[-1] if lines else "", out.getvalue())


def called(function: Callable[[], Any]) -> Answer:
    """A function that a command calls first, where the whole command would take too long for thousands of mutants; its
    errors are worded as ``cli.main`` words them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Answer(0, "", value=function())
    except ReconError as error:
        return Answer(2, f"recon: {' '.join(str(error).split())}")
    except Exception as error:
        return Answer(2, f"recon: unexpected {type(error).__name__}: {' '.join(str(error).split())}")


@dataclass(frozen=True)
class Verdict:
    """One word for the table's column, and what to show of it."""

    column: str
    words: str


REFUSED, ACCEPTED, UNEXPECTED, NAMELESS = "clean refusal", "accepted", "unexpected error", "no file name"
MEMORY, WRONG, LOST = "memory", "silently wrong", "hang/crash"
COLUMNS = (REFUSED, ACCEPTED, UNEXPECTED, NAMELESS, MEMORY, WRONG, LOST)
_OUT_OF_MEMORY = ("MemoryError", "bad_alloc", "not enough memory", "can't allocate memory", "Cannot allocate memory")


def refusal(answer: Answer, names: tuple[str, ...]) -> Verdict:
    """The verdict on a refusal: one line that says which file."""
    words = answer.words
    if any(sign in words for sign in _OUT_OF_MEMORY):
        return Verdict(MEMORY, words)
    if words.startswith("recon: unexpected") or "Traceback" in words or not words.startswith("recon: "):
        return Verdict(UNEXPECTED, words)
    if not any(name in words for name in names):
        return Verdict(NAMELESS, words)
    return Verdict(REFUSED, words)


def wrong(words: str) -> Verdict:
    """The verdict on what was accepted and should not have been, or gave what it should not."""
    return Verdict(WRONG, words)


def accepted(words: str = "") -> Verdict:
    """The verdict on what was accepted rightly."""
    return Verdict(ACCEPTED, words)


Drive = Callable[[Path, Path, str], Verdict]  # mutant, folder of the seeds, what was expected
