"""Which files of folders are results, references and lesion masks."""

from collections.abc import Iterable
from pathlib import Path

from recon.errors import ReconError
from recon.folders import entries, expanded
from recon.images.nifti import is_nifti
from recon.scans.finding import scans_in

MASKS = ("_lesion", "_lesions", "_mask")  # how names of lesion masks end


def find_results(words: Iterable[str | Path]) -> list[Path]:
    """The results that the words name: files as they are, folders by their result files, else by their NIfTI images
    (not standard deviations, not masks), else as the DICOM series that they are. Raises ReconError when one is named
    twice: each counts once."""
    found = expanded(words, lambda folder: _results_in(folder) or _images_in(folder) or _series(folder))
    if len({path.resolve() for path in found}) < len(found):
        raise ReconError("a result is named twice: once by itself and once by its folder? Each counts once")
    return found


def find_references(words: Iterable[str | Path]) -> list[Path]:
    """What the words name to compare with: files as they are, folders by their scans or results, else by their NIfTI
    images, else as the DICOM series that they are."""
    return expanded(words, lambda folder: _scans_in(folder) or _images_in(folder) or _series(folder))


def find_lesions(words: Iterable[str | Path]) -> list[Path]:
    """The lesion masks that the words name: files as they are, folders by the files whose names end in ``MASKS``."""
    return expanded(words, _lesions_in)


def _results_in(folder: Path) -> list[Path]:
    return [path for path in entries(folder, "*.h5") if not _stem(path).endswith(MASKS)]


def _scans_in(folder: Path) -> list[Path]:
    try:
        return scans_in(folder)
    except ReconError:
        return []


def _series(folder: Path) -> list[Path]:
    if not any(entry.is_file() for entry in entries(folder, deep=True)):
        raise ReconError(f"{folder}: no results, scans, NIfTI or DICOM images in this folder")
    return [folder]


def _images_in(folder: Path) -> list[Path]:
    return [path for path in entries(folder) if is_nifti(path) and not _stem(path).endswith((*MASKS, "_std"))]


def _lesions_in(folder: Path) -> list[Path]:
    files = [path for path in entries(folder) if is_nifti(path) or path.suffix == ".h5"]
    found = [path for path in files if _stem(path).endswith(MASKS)]
    if not found:
        raise ReconError(f"{folder}: no lesion masks in this folder (names that end in {', '.join(MASKS)})")
    return found


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").rpartition(".")[0]
