"""One byte form for a JSON value, the same in Python and in the viewer's JavaScript: what is hashed and signed."""

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys, no spaces, no escapes beyond the necessary ones.

    Keys must be ASCII and numbers integers or plain decimals (0.0001 to 1e15), where Python's and JavaScript's
    shortest forms agree; a float without a fraction is written as an integer, as JavaScript does. NaN and
    infinity raise ValueError.
    """
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest(value: Any) -> str:
    """SHA-256 of the canonical form, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value
