"""Which files of a folder are scans."""

from collections.abc import Iterable
from pathlib import Path

from recon.errors import ReconError
from recon.folders import entries, expanded
from recon.scans import readers


def scans_in(folder: Path) -> list[Path]:
    """The scan files of a folder in the order of their names, without lesion masks, and without ``NAME_mask`` where the
    scan ``NAME`` lies beside. Raises ReconError when none is."""
    suffixes = tuple(dict.fromkeys(suffix for reader in readers.READERS for suffix in reader.suffixes))
    files = [path for path in entries(folder) if path.suffix in suffixes]
    masks = {path.with_stem(f"{path.stem}_mask") for path in files}
    found = [path for path in files if path not in masks and not path.stem.endswith("_lesion")]
    if not found:
        raise ReconError(f"{folder}: no {' or '.join(suffixes)} scans in this folder")
    return found


def find_scans(words: Iterable[str | Path]) -> list[Path]:
    """The scan files that the words name: files as they are, folders by what is in them, in order. One that is named
    twice, by itself and by its folder, counts once."""
    return list({path.absolute(): path for path in expanded(words, scans_in)}.values())
