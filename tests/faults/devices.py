"""Devices that fail, by calls of the C library that end in an error; and folders that are mounted read-only."""

import ctypes
import errno
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

SOURCE = Path(__file__).with_name("failing_device.c")
NEW_MOUNTS = 0x20000  # CLONE_NEWNS of unshare(2)


def build(folder: Path) -> Path | None:
    """The library of ``failing_device.c``, to be named by LD_PRELOAD; None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = folder / "failing_device.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
    return library


def is_preloaded() -> bool:
    """Whether calls of this process can be made to fail."""
    return "failing_device" in os.environ.get("LD_PRELOAD", "")


def failing(call: str, after: int, number: int = errno.EIO) -> Callable[[], None]:
    """``call`` (WRITE, SYNC, RENAME, READ) fails after so many bytes or times."""

    def inject() -> None:
        os.environ[f"FAULTY_{call}"] = f"{number}:{after}"

    return inject


def where(world: Path, out: Path) -> None:
    """Which folders the faults are about."""
    os.environ["FAULTY_INPUT"], os.environ["FAULTY_OUTPUT"] = str(world), str(out)


def can_mount() -> bool:
    """Whether folders can be mounted read-only for a process alone (as root, and where the machine lets one)."""
    if shutil.which("unshare") is None:
        return False
    words = ["unshare", "-m", "sh", "-c", "mount --make-rprivate / && mount --bind /tmp /tmp"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def output_read_only() -> None:
    """Mount the output folder read-only, for this process and its children."""
    out = os.environ["FAULTY_OUTPUT"]
    _own_mounts(f"mount --bind {out} {out} && mount -o remount,ro,bind {out}")


def input_read_only() -> None:
    """Mount everything but the output folder read-only, for this process and its children."""
    world, out = os.environ["FAULTY_INPUT"], os.environ["FAULTY_OUTPUT"]
    _own_mounts(
        f"mount --bind {world} {world} && mount -o remount,ro,bind {world} && mount --bind {out} {out} && "
        f"mount -o remount,rw,bind {out} && ! touch {world}/written 2>/dev/null && touch {out}/.w && rm {out}/.w"
    )


def _own_mounts(words: str) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(NEW_MOUNTS):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["sh", "-c", f"mount --make-rprivate / && {words}"], check=True)
