"""Every format that a result is written in: one row a format. Nothing else in the toolkit knows a format by its name.

A new format is one module with a ``write`` function and one row here. The command line, its help text and its error
message read this table, before anything heavy is imported, so rows name their functions by ``later``.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recon.errors import ReconError
from recon.reconstruction.methods import later

if TYPE_CHECKING:
    from recon.images.result import Reconstruction
    from recon.scan import Scan


def beside(ending: str) -> Callable[[Path], Path]:
    """The file or folder next to a result that is called like it, with another ending."""
    return lambda result: Path(f"{result.with_suffix('')}{ending}")


def _anything(scan: "Scan") -> None:
    """Every scan states what the format needs."""


@dataclass(frozen=True)
class ImageFormat:
    """One way to write a result, beside its HDF5 file.

    ``check(scan)`` raises ReconError when the scan does not state what the format needs, before hours are spent on it.
    ``write(result, scan, reference)`` writes and returns the files; ``reference`` is the path of a reference or None.
    ``written(result)`` is the file or folder, beside the result's own path, whose presence says that all is there.
    ``draws_reference``: the reference is used.
    """

    name: str
    help: str
    check: Callable[["Scan"], None]
    write: Callable[["Reconstruction", "Scan", Path | None], list[Path]]
    written: Callable[[Path], Path]
    draws_reference: bool = False


FORMATS: dict[str, ImageFormat] = {
    row.name: row
    for row in (
        ImageFormat(
            "h5", "the result file alone", _anything, lambda result, scan, reference: [], lambda result: result
        ),
        ImageFormat(
            "nifti", "image and standard deviation as NIfTI",
            _anything, later("recon.reconstruction.format_nifti", "write"), beside(".nii.gz"),
        ),
        ImageFormat(
            "dicom", "the same as two DICOM series of one study",
            later("recon.reconstruction.format_dicom", "check"), later("recon.reconstruction.format_dicom", "write"),
            beside("_dicom"),
        ),
        ImageFormat(
            "png", "a panel of one slice",
            _anything, later("recon.reconstruction.format_png", "write"), beside(".png"), draws_reference=True,
        ),
    )
}  # fmt: skip


def chosen_formats(text: str) -> list[ImageFormat]:
    """The formats that a list with commas names. Raises ReconError for an empty list or a name that is in no row."""
    wanted = [entry.strip() for entry in text.split(",") if entry.strip()]
    if not wanted or set(wanted) - set(FORMATS):
        raise ReconError(f"--format {text}: choose from {names()}")
    return [FORMATS[name] for name in wanted]


def names(rows: Callable[[ImageFormat], bool] = lambda row: True) -> str:
    """The names of the formats, or of some, with commas between."""
    return ", ".join(row.name for row in FORMATS.values() if rows(row))


def described() -> str:
    """Every format in a few words, for help texts."""
    return "; ".join(f"{row.name}: {row.help}" for row in FORMATS.values())


def check_exportable(scan: "Scan", formats: Collection[ImageFormat]) -> None:
    """Raise ReconError when a format needs what the scan does not state, before hours are spent on it."""
    for row in formats:
        row.check(scan)
