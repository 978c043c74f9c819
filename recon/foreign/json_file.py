"""Reading JSON that comes from outside: bounded in size and depth, and an object at the top."""

import json
from pathlib import Path
from typing import Any

from recon.errors import ReconError

LARGEST = 10_000_000  # bytes; a configuration has some thousand


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises ReconError when the file is missing, too large or not one."""
    if not path.is_file():
        raise ReconError(f"{path}: no such file; the folder needs {path.name} and the weights beside it")
    if path.stat().st_size > LARGEST:
        raise ReconError(f"{path}: larger than 10 MB; not a configuration")
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ReconError(f"{path}: damaged, not readable as JSON ({error}); copy it again") from error
    if not isinstance(loaded, dict):
        raise ReconError(f"{path}: expected a JSON object, found {type(loaded).__name__}")
    return loaded


def json_object_in(text: str) -> dict[str, Any]:
    """The JSON object in a text of a larger file. Raises ValueError when it is none."""
    try:
        loaded = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(loaded, dict):
        raise ValueError(f"a JSON object is needed, not {type(loaded).__name__}")
    return loaded
