"""Sizes that files declare, held against the bytes that they have: believed, a few bytes could ask for any memory."""

import os

from recon.errors import ReconError

# Bytes that a stored byte may stand for in data of some size: deflate reaches 1032, but only on zeros. Noise is
# incompressible, so kspace reaches its acceleration times its zero padding; a bomb is all zeros.
COMPRESSION = 100
SMALL = 1 << 26  # bytes; up to here anything is believed


def check_declared(path: str | os.PathLike[str], what: str, declared: int, stored: int, *, packed: bool) -> None:
    """Raises ReconError when ``what`` of a file declares more bytes than its ``stored`` ones, ``packed`` or not, can
    hold."""
    if declared > SMALL and declared > stored * (COMPRESSION if packed else 1):
        raise ReconError(
            f"{path}: {what} claims {declared} bytes but {stored} are stored, which cannot hold them; "
            "copy or download the file again"
        )
