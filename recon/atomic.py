"""Writing files so that a reader never sees half of one, and nothing of a killed write stays."""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from recon.errors import FullDiskError, ReconError, system_error, system_reason
from recon.folders import same_place

try:
    import fcntl
except ImportError:  # Windows: what killed writes leave stays hidden there, and is not removed
    fcntl = None  # type: ignore[assignment]

FULL = (errno.ENOSPC, errno.EDQUOT)  # what a full disk and a quota that is used up say


@contextmanager
def atomic_path(target: str | os.PathLike[str], private: bool = False) -> Iterator[Path]:
    """Give a temporary path beside ``target``; rename it to ``target`` when the block succeeds.

    The temporary name is hidden and keeps the target's suffix, because several writers choose the format by it. On any
    exception (a full disk and Ctrl-C included) the temporary file is removed and ``target`` stays as it was; what a
    killed process left of an earlier write of ``target`` is removed first. A ``private`` file can be read by its owner
    only.

    Raises FullDiskError when the disk is full, ReconError when the folder cannot be written, or ``target`` is a device,
    pipe or socket, which renaming would replace.
    """
    target = Path(target)
    suffix = "".join(target.suffixes)
    with _place_for(target):
        temporary, lock = _claimed(target, suffix)
    try:
        yield temporary
        # mkstemp creates private files; a result is as readable as any other file of its user.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o600 if private else 0o666 & ~umask)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        _lock(lock, shared=True)  # HDF5 takes a shared lock for reading: the new file can be read at once
        os.replace(temporary, target)
    except OSError as error:
        raise _failed(target, error) from error
    finally:
        os.close(lock)
        temporary.unlink(missing_ok=True)


def check_place(
    target: str | os.PathLike[str] | None, *, folder: bool = False, inputs: Iterable[str | os.PathLike[str]] = ()
) -> None:
    """Look, before hours of work, whether the file ``target`` could be written, or files in the ``folder`` of that
    name; None is no place. Nothing is made. A disk may still turn out to be full.

    Raises ReconError when one of the two is there in place of the other, nothing can be written where it would lie, or
    it is one of the ``inputs``, which writing would replace.
    """
    if target is None:
        return
    path = Path(target)
    try:
        if any(same_place(path, Path(source)) for source in inputs):
            raise ReconError(f"{path}: is the input itself; choose another place")
        if _special(path):
            raise ReconError(f"{path}: is a device, pipe or socket, not a file; choose another place")
        if path.exists() and path.is_dir() != folder:
            raise ReconError(f"{path}: is a {'file, not a folder' if folder else 'folder, not a file'}; choose another")
        above = path.absolute()
        while (above == path.absolute() and not folder) or not above.exists():
            if above.is_symlink() and not above.exists():
                raise ReconError(f"{path}: cannot write here ({above} is a link to nothing); choose another place")
            above = above.parent
        if not above.is_dir():
            raise ReconError(f"{path}: cannot write here ({above} is a file); choose another place")
        if not os.access(above, os.W_OK | os.X_OK):
            raise ReconError(f"{path}: cannot write here ({above} allows no writing); choose another place")
    except OSError as error:
        raise ReconError(f"{path}: cannot write here ({system_reason(error)}); choose another place") from error


@contextmanager
def temporary_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Give an empty hidden folder beside the folder ``target``, to write files that are then moved into it.

    It is removed at the end, with what is still in it; so is what a killed process left of an earlier one. Raises
    ReconError when it cannot be made or the disk is full.
    """
    target = Path(target)
    with _place_for(target):
        temporary, lock = _claimed(target, "", folder=True)
    try:
        yield temporary
    except OSError as error:
        raise _failed(target, error) from error
    finally:
        os.close(lock)
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _place_for(target: Path) -> Iterator[None]:
    """Make the folder that will hold ``target``. Raises ReconError when nothing can or should be written there."""
    try:
        if _special(target):
            raise ReconError(f"{target}: is a device, pipe or socket, not a file; choose another --out")
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if system_error(error).errno in FULL:
            raise _failed(target, error) from error
        raise ReconError(f"{target}: cannot write here ({system_reason(error)}); choose another --out") from error


def _special(target: Path) -> bool:
    """Whether there is something at ``target`` that is neither file nor folder, or a link of /dev to one."""
    there = target.exists() and not target.is_file() and not target.is_dir()
    return there or (target.is_symlink() and target.parent.resolve() == Path("/dev"))


def _failed(target: Path, error: OSError) -> ReconError:
    kind = FullDiskError if system_error(error).errno in FULL else ReconError
    return kind(f"{target}: writing failed ({system_reason(error)}); free some space or choose another --out")


def _claimed(target: Path, suffix: str, folder: bool = False) -> tuple[Path, int]:
    """A new temporary file or folder that this process holds a lock on, and the handle of the lock."""
    _remove_left_overs(target, suffix)
    while True:
        if folder:
            name = tempfile.mkdtemp(prefix=f".{target.name}.", suffix=suffix, dir=target.parent)
            lock = os.open(name, os.O_RDONLY)
        else:
            lock, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=suffix, dir=target.parent)
        _lock(lock)
        if Path(name).exists():  # another process may have taken it for a left-over before it was locked
            return Path(name), lock
        os.close(lock)


def _remove_left_overs(target: Path, suffix: str) -> None:
    """Remove temporary files and folders of ``target`` that no process holds: their writer was killed."""
    pattern = re.compile(re.escape(f".{target.name}.") + "[a-z0-9_]{8}" + re.escape(suffix))
    for path in [path for path in target.parent.iterdir() if pattern.fullmatch(path.name)] if fcntl else []:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:  # gone, or another user's
            continue
        try:
            if _lock(handle):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        except OSError:
            pass  # not ours to remove; it is hidden, so nobody takes it for data
        finally:
            os.close(handle)


def _lock(handle: int, shared: bool = False) -> bool:
    """Lock an open file for as long as its handle is open; False when another holds it or there are no locks here."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
