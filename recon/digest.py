"""The one hash of files: SHA-256 of their bytes."""

import hashlib
import os

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
