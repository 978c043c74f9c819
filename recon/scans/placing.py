"""Where a converted scan goes: never over another's data without being told, and only when it can be read back."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recon.atomic import temporary_folder
from recon.errors import ReconError
from recon.folders import entries, same_place
from recon.scans.opening import open_scan


def check_replaceable(source: Path, digest: str, output: Path) -> None:
    """Raise ReconError when ``output`` is the source itself, or holds anything but what was made of the source, whose
    SHA-256 is ``digest``: that can be made again, and is replaced."""
    if same_place(source, output):
        raise ReconError(f"{output}: is the input itself; choose another --out")
    for path in _files(output):
        if path.is_file() and not _made_of(path, digest):
            raise ReconError(f"{path}: exists and was not made of {source}; remove it, or choose another --out")


@contextmanager
def placed(source: Path, digest: str, output: Path, force: bool = False) -> Iterator[Path]:
    """Give a path to write ``output`` under; it goes into its place when the block has succeeded and it can be opened.

    ``force`` replaces whatever file is there. Raises ReconError as ``check_replaceable`` does, or when what was written
    is not a scan that can be read; then nothing is left and what was there stays.
    """
    try:
        check_replaceable(source, digest, output)
    except ReconError as error:
        if not force or same_place(source, output):
            raise ReconError(str(error).replace("remove it, or", "add --force to replace it, or")) from error
    with temporary_folder(output) as folder:
        made = folder / output.name
        try:
            yield made
            open_scan(made)
        except ReconError as error:
            said = str(error).replace(str(folder), str(output.parent))
            raise ReconError(said if str(source) in said or str(output) in said else f"{source}: {said}") from error
        for path in entries(folder):
            os.replace(path, output.parent / path.name)


def _files(output: Path) -> list[Path]:
    """The files that ``output`` is made of."""
    if output.suffix in (".cfl", ".hdr"):
        return [output.with_suffix(".cfl"), output.with_suffix(".hdr")]
    return [output]


def _made_of(path: Path, digest: str) -> bool:
    """Whether a file says that it was made of the source; BART's pairs, and files of others, say nothing of that."""
    if path.suffix in (".cfl", ".hdr"):
        return False
    try:
        return open_scan(path).source_digest == digest
    except ReconError:
        return False
