"""Writing files so that a reader never sees half of one."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recon.errors import ReconError


@contextmanager
def atomic_path(target: str | os.PathLike[str], private: bool = False) -> Iterator[Path]:
    """Give a temporary path beside ``target``; rename it to ``target`` when the block succeeds.

    The temporary name keeps the target's suffix, because several writers choose the format by it. On any
    exception (a full disk and Ctrl-C included) the temporary file is removed and ``target`` stays as it was.
    A ``private`` file can be read by its owner only.

    Raises ReconError when the folder cannot be written or the disk is full.
    """
    target = Path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix="".join(target.suffixes), dir=target.parent)
        os.close(handle)
    except OSError as error:
        raise ReconError(f"{target}: cannot write here ({error.strerror or error}); choose another --out") from error
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp creates private files; a result is as readable as any other file of its user.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o600 if private else 0o666 & ~umask)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise ReconError(
            f"{target}: writing failed ({error.strerror or error}); free some space or choose another --out"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
