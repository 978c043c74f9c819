"""What every command prints: one JSON object for machines, or a few lines for people."""

import json
import math
import sys
from collections.abc import Iterable
from typing import Any


def emit(result: dict[str, Any], lines: Iterable[str], as_json: bool) -> None:
    """Print ``result`` as one JSON object, or ``lines`` for people. NaN and infinity become null in JSON."""
    if as_json:
        json.dump(finite(result), sys.stdout, allow_nan=False)
        sys.stdout.write("\n")
    else:
        for line in lines:
            sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def note(message: str) -> None:
    """One line for people on standard error: warnings, progress, what was skipped and why."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


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
