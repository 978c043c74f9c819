"""Which reference, or lesion mask, belongs to which result."""

from collections.abc import Sequence
from pathlib import Path

from recon.errors import ReconError

ENDINGS = ("_lesions", "_lesion", "_reference", "_truth", "_mask")  # what file names add to the scan's name


def pair(names: Sequence[str], files: Sequence[Path], what: str) -> list[Path]:
    """The one of ``files`` that belongs to each result, whose scans are called ``names``.

    One file serves every result. Otherwise files go by name, when the name of every result is that of exactly one
    file (less a suffix such as ``_lesion``), whatever their order, or begins with that of exactly one (``head_lesion``
    serves ``head_FLAIR`` and ``head_DWI``); else by order, when there are as many files as results. ``what`` names the
    files in errors. Raises ReconError when none of it works, or when names contradict order.
    """
    if not files:
        raise ReconError(f"no {what} given")
    if len(files) == 1:
        return [files[0]] * len(names)
    stems = [scan_name(path) for path in files]
    called: dict[str, list[Path]] = {}
    for file, stem in zip(files, stems, strict=True):
        called.setdefault(stem, []).append(file)
    matches = [called.get(name, []) for name in names]
    if all(len(found) == 1 for found in matches):
        return [found[0] for found in matches]
    heads = [
        [file for file, stem in zip(files, stems, strict=True) if f"{name}_".startswith(f"{stem}_")] for name in names
    ]
    if all(len(found) == 1 for found in heads):
        return [found[0] for found in heads]
    if len(files) != len(names):
        raise ReconError(
            f"{len(names)} results and {len(files)} files as {what}: give one for all, one a result in the same order, "
            "or files named like the scans"
        )
    for name, file, found in zip(names, files, matches, strict=True):
        if found and file not in found:
            raise ReconError(
                f"{what}: by order '{name}' would be compared with {file.name}, by name with {found[0].name}; "
                "put them into the order of the results"
            )
    return list(files)


def scan_name(path: Path) -> str:
    """A file's name without folder, format suffixes and endings such as ``_lesion``."""
    name = path.name
    for suffix in (".gz", ".nii", ".h5", ".hdf5", ".cfl", ".hdr"):
        name = name.removesuffix(suffix)
    for ending in ENDINGS:
        name = name.removesuffix(ending)
    return name
