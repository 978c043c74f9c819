"""Every form a result is written in: one row a format. Command line, help texts and error messages read this table.

scan.h5 -> scan.nii.gz, scan_std.nii.gz          image and standard deviation
           scan_dicom/mean/, scan_dicom/std/      two series of one study, with one scale
           scan_enhanced/mean.dcm, std.dcm        the same, one multi-frame instance a series
           scan.png                               the panel of one slice

A new format is one module with a ``write`` function and one row here.
"""

import glob
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recon.errors import ReconError
from recon.reconstruction.methods import later

if TYPE_CHECKING:
    from recon.images.result import Reconstruction
    from recon.scan import Scan


def _nothing_missing(scan: "Scan") -> None:
    """Formats that need nothing of a scan but its images."""


@dataclass(frozen=True)
class ImageFormat:
    """One format. ``write(result, scan, reference)`` writes it beside the result and returns the files; ``place(stem)``
    is where it then is; ``check(scan)`` raises ReconError when the scan does not state what the format needs;
    ``complete(result)``: whether all that ``write`` would write is there and whole (None: ``place`` exists);
    ``draws_reference``: a reference is of use to it; ``reads_kspace``: it needs more of a scan than its header;
    ``pushed``: which of its files go to a DICOM server, behind the
    result's name and an underscore."""

    name: str
    help: str
    write: Callable[["Reconstruction", "Scan", Path | None], list[Path]]
    place: Callable[[Path], Path]
    check: Callable[["Scan"], None] = _nothing_missing
    complete: Callable[["Reconstruction"], bool] | None = None
    draws_reference: bool = False
    reads_kspace: bool = False
    pushed: str = ""


def _always(result: "Reconstruction", scan: "Scan", reference: Path | None) -> list[Path]:
    """The result file is there already."""
    return []


_EXPORT = "recon.reconstruction.export"
_COMPLETE = "recon.reconstruction.completeness"

FORMATS: dict[str, ImageFormat] = {
    row.name: row
    for row in (
        ImageFormat("h5", "the result file, which is always written", _always, lambda stem: Path(f"{stem}.h5")),
        ImageFormat(
            "nifti", "image and standard deviation in the scanner's space",
            later(_EXPORT, "write_nifti_files"), lambda stem: Path(f"{stem}.nii.gz"),
            complete=later(_COMPLETE, "nifti_complete"),
        ),
        ImageFormat(
            "dicom", "a derived MR series of each, without patient identity",
            later(_EXPORT, "write_dicom_files"), lambda stem: Path(f"{stem}_dicom"), later(_EXPORT, "check_dicom"),
            later(_COMPLETE, "dicom_complete"), pushed="dicom/*/*.dcm",
        ),
        ImageFormat(
            "dicom-enhanced", "the same as one Enhanced MR (multi-frame) instance each",
            later(_EXPORT, "write_enhanced_files"), lambda stem: Path(f"{stem}_enhanced"),
            later(_EXPORT, "check_dicom"), later(_COMPLETE, "enhanced_complete"), pushed="enhanced/*.dcm",
        ),
        ImageFormat(
            "png", "a picture of one slice", later(_EXPORT, "write_png_file"), lambda stem: Path(f"{stem}.png"),
            complete=later(_COMPLETE, "png_complete"),
            draws_reference=True, reads_kspace=True,
        ),
    )
}  # fmt: skip


def described() -> str:
    """Every format in a few words, for help texts."""
    return "; ".join(f"{row.name}: {row.help}" for row in FORMATS.values())


def with_pushed(formats: tuple[str, ...]) -> tuple[str, ...]:
    """``formats`` and, where none of them is DICOM, the classic series: what ``pushed_files`` can find."""
    return formats if any(FORMATS[name].pushed for name in formats) else (*formats, "dicom")


def pushed_files(result: Path, formats: Collection[str]) -> list[Path]:
    """The DICOM files of a result that were exported in ``formats``, in order."""
    stem = glob.escape(result.stem)
    kinds = [FORMATS[name].pushed for name in formats if FORMATS[name].pushed]
    return [file for kind in kinds for file in sorted(result.parent.glob(f"{stem}_{kind}"))]


def check_references(formats: Collection[str], references: Iterable[Path]) -> None:
    """Raise ReconError, before hours are spent, when no format draws a reference, or one is missing."""
    for path in references:
        if not path.exists():
            raise ReconError(f"{path}: no such file or folder; it was named as --reference")
    if not any(FORMATS[name].draws_reference for name in formats):
        pictures = ", ".join(row.name for row in FORMATS.values() if row.draws_reference)
        raise ReconError(f"--reference draws the error in a picture: add --format {pictures}, or use 'recon evaluate'")


def read_formats(text: str) -> tuple[str, ...]:
    """The formats that a comma-separated list names. Raises ReconError for one that is in no row."""
    wanted = tuple(entry.strip() for entry in text.split(",") if entry.strip())
    if not wanted or set(wanted) - set(FORMATS):
        raise ReconError(f"--format {text}: choose from {', '.join(FORMATS)}")
    return wanted


def check_exportable(scan: "Scan", formats: Collection[str]) -> None:
    """Raise ReconError when a format needs what the scan does not state, before hours are spent on it."""
    for name in formats:
        FORMATS[name].check(scan)


def export(result: str | Path, scan: "Scan", formats: Collection[str], reference: Path | None = None) -> list[Path]:
    """Write a result file in ``formats`` beside it; files that exist are replaced. Returns what was written.

    ``reference`` (for pictures: whatever ``recon.images.references.read_reference`` reads) adds the error. Raises
    ReconError when something is missing, on another grid, or cannot be written.
    """
    from recon.images.result import read_result

    loaded = read_result(result)
    return [file for name in formats for file in FORMATS[name].write(loaded, scan, reference)]


def exported(result: str | Path, formats: Collection[str]) -> bool:
    """Whether everything that ``export`` would write is there and whole: an export may have been killed half-way.

    Raises ReconError when the result cannot be read.
    """
    from recon.images.result import read_result

    rows = [FORMATS[name] for name in formats]
    if not all(row.place(Path(result).with_suffix("")).exists() for row in rows):
        return False
    checks = [row.complete for row in rows if row.complete is not None]
    if not checks:
        return True
    loaded = read_result(result, samples=False)
    return all(complete(loaded) for complete in checks)
