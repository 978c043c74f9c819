"""What every command prints: one JSON object for machines, or a few lines for people."""

import json
import math
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon.errors import ReconError

if TYPE_CHECKING:
    from recon.encode.probes.statistics import Interval


def emit(result: dict[str, Any], lines: Iterable[str], as_json: bool) -> None:
    """Print ``result`` as one JSON object, or ``lines`` for people. NaN and infinity become null in JSON.

    Raises ReconError when nobody can read it: standard output is closed, its device full, its reader gone.
    """
    words = [json.dumps(finite(result), allow_nan=False)] if as_json else list(lines)
    text = "".join(f"{_printable(line, sys.stdout)}\n" for line in words)
    try:
        if sys.stdout is None:  # closed before Python began
            raise OSError("it is closed")
        sys.stdout.write(text)
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        _silence(1)  # or Python would try again at its end, and complain in its own words
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ReconError(
            f"standard output cannot be written ({reason}); what the command makes is there, its words are lost"
        ) from error


def speaks() -> bool:
    """Whether this process shows progress and result: under ``accelerate launch`` the first one does."""
    return int(os.environ.get("RANK", "0")) == 0


def write_json(path: str | Path, result: dict[str, Any]) -> None:
    """Write ``result`` as one indented JSON object, complete or not at all. NaN and infinity become null."""
    from recon.atomic import atomic_path

    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(finite(result), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def interval(found: "Interval", *, sign: bool = False, digits: int = 3) -> str:
    """A figure with its interval; an en dash for one that there is none of, such as an AUC where all have a lesion."""
    if not math.isfinite(found.value):
        return "–"
    plus = "+" if sign else ""
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        return f"{found.value:{plus}.{digits}f} (–)"
    return f"{found.value:{plus}.{digits}f} ({found.low:{plus}.{digits}f} to {found.high:{plus}.{digits}f})"


def note(message: str) -> None:
    """One line for people on standard error: warnings, progress, what was skipped and why. Lost where nobody can read
    it: that must not stop the work."""
    try:
        if sys.stderr is not None:
            sys.stderr.write(f"{_printable(message, sys.stderr)}\n")
            sys.stderr.flush()
    except (OSError, ValueError):
        _silence(2)


def _printable(text: str, stream: Any) -> str:
    """``text`` with what the stream's encoding does not know written as escapes: a terminal in ASCII, file names that
    are not UTF-8."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _silence(descriptor: int) -> None:
    """Send what is still written to a broken stream nowhere."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
    except OSError:
        pass


def finite(value: Any) -> Any:
    """``value`` as JSON can hold it: NaN and infinity become null, arrays lists, paths and the rest text."""
    if isinstance(value, dict):
        return {str(key): finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(entry) for entry in value]
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return str(value)
