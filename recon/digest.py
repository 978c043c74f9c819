"""The one hash of files: SHA-256 of their bytes."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from recon.errors import ReconError


def file_sha256(*paths: str | os.PathLike[str]) -> str:
    """Hex SHA-256 of the files' bytes in the given order, read in blocks. Raises ReconError for an unreadable file."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise ReconError(f"{path}: cannot be read ({error.strerror or error})") from error
    return digest.hexdigest()


def listing_sha256(files: Iterable[Path]) -> str:
    """Hex SHA-256 of the names and contents of several files, in the given order. Raises ReconError."""
    listed = "".join(f"{file.name} {file_sha256(file)}\n" for file in files)
    return hashlib.sha256(listed.encode("utf-8", "surrogateescape")).hexdigest()


def series_sha256(path: Path) -> str:
    """Hex SHA-256 of a file, or of the names and contents in a folder (a DICOM series). Raises ReconError."""
    if not path.is_dir():
        return file_sha256(path)
    return listing_sha256(file for file in sorted(path.iterdir()) if file.is_file())
