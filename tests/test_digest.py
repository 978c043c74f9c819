"""The one hash of files."""

import hashlib
from pathlib import Path

import pytest

from recon.digest import file_sha256
from recon.errors import ReconError


def test_files_are_hashed_as_one_stream(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"x" * (2 << 20) + b"y")  # longer than the blocks it is read in
    second.write_bytes(b"z")
    assert file_sha256(first) == hashlib.sha256(first.read_bytes()).hexdigest()
    assert file_sha256(first, second) == hashlib.sha256(first.read_bytes() + b"z").hexdigest()


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReconError, match="missing: cannot be read"):
        file_sha256(tmp_path / "missing")
