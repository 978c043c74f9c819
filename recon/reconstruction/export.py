"""A result in the formats of others, beside the HDF5 file; the rows of ``formats`` say how.

scan.h5 -> scan.nii.gz, scan_std.nii.gz          posterior mean and standard deviation
           scan_dicom/mean/, scan_dicom/std/      two series of one study, with one scale
           scan.png                               the panel of one slice
"""

from collections.abc import Collection
from pathlib import Path

from recon.images.result import Reconstruction, read_result
from recon.reconstruction.formats import ImageFormat
from recon.scan import Scan


def export(
    result: str | Path, scan: Scan, formats: Collection[ImageFormat], reference: str | Path | None = None
) -> list[Path]:
    """Write a result file in ``formats`` beside it; files that exist are replaced. Returns what was written.

    ``reference`` (for a format that draws it: whatever ``recon.images.reading.read_volume`` reads) adds the error.
    Raises ReconError when something is missing, on another grid, or cannot be written.
    """
    loaded = read_result(result)
    truth = None if reference is None else Path(reference)
    return [path for row in formats for path in row.write(loaded, scan, truth)]


def exported(result: str | Path, formats: Collection[ImageFormat]) -> bool:
    """Whether everything that ``export`` would write is there."""
    return all(row.written(Path(result)).exists() for row in formats)


def is_sampled(result: Reconstruction) -> bool:
    """Whether the image is the mean of posterior samples: a prior was used, which results of every age state."""
    return str(result.attributes.get("prior_hash", "none")) != "none" or result.std is not None
