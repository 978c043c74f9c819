"""Listing folders without hidden entries: those are temporary files, of a write at work or killed, and never data."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path


def entries(folder: Path, pattern: str = "*", *, deep: bool = False) -> list[Path]:
    """What lies in ``folder`` (``deep``: and in folders below it) under names that fit ``pattern``, sorted.

    Entries whose name begins with a dot are left out, and so is everything in folders of such names.
    """
    return sorted(_visible(folder, folder.rglob(pattern) if deep else folder.glob(pattern)))


def expanded(words: Iterable[str | Path], inside: Callable[[Path], list[Path]]) -> list[Path]:
    """The files that words name, in order: files as they are, folders by what is ``inside`` of them."""
    paths: list[Path] = []
    for path in map(Path, words):
        paths += inside(path) if path.is_dir() else [path]
    return paths


def why_no_folder(path: Path) -> str | None:
    """Why ``path`` cannot be listed, in words for an error message; None for a folder."""
    if path.is_dir():
        return None
    return "a file, not a folder" if path.exists() else "no such folder"


def same_place(one: Path, other: Path) -> bool:
    """Whether two paths lead to the same place, through links of any kind, whether or not anything is there."""
    return os.path.realpath(one) == os.path.realpath(other)


def _visible(folder: Path, found: Iterator[Path]) -> Iterator[Path]:
    return (path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))
