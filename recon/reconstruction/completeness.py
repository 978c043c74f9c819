"""Whether an export that is there is whole, and of this result: the process that wrote it may have been killed."""

import warnings
from pathlib import Path

import numpy as np

from recon.errors import ReconError
from recon.images.result import Reconstruction
from recon.reconstruction.export import dicom_volumes, enhanced_volumes, nifti_volumes

_PNG_END = b"IEND\xaeB`\x82"


def nifti_complete(result: Reconstruction) -> bool:
    """Whether every NIfTI file can be read to its end and holds the result's own images."""
    from recon.images.nifti import read_nifti

    for path, images in nifti_volumes(result).items():
        try:
            values = read_nifti(path).values
        except ReconError:
            return False
        if not np.array_equal(values, np.moveaxis(images, 0, -1).astype(np.float32)):
            return False
    return True


def dicom_complete(result: Reconstruction) -> bool:
    """Whether every series has one file a slice, each of them readable and with all of its pixels."""
    for folder, images in dicom_volumes(result).items():
        files = sorted(folder.glob("*.dcm"))
        if len(files) != len(images):
            return False
        if not all(_has_pixels(file, images[0].size) for file in files):
            return False
    return True


def enhanced_complete(result: Reconstruction) -> bool:
    """Whether every instance is readable and has the pixels of all slices."""
    return all(path.is_file() and _has_pixels(path, images.size) for path, images in enhanced_volumes(result).items())


def _has_pixels(file: Path, count: int) -> bool:
    """Whether a DICOM file can be read and holds ``count`` sixteen-bit pixels."""
    import pydicom

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pixel element that is cut short: it is seen below
            pixels = pydicom.dcmread(file).get("PixelData") or b""
    except Exception:  # pydicom raises many kinds for a file that is cut short; all of them mean: not whole
        return False
    return len(pixels) >= 2 * count


def png_complete(result: Reconstruction) -> bool:
    """Whether the picture ends as PNG files do."""
    try:
        return result.path.with_suffix(".png").read_bytes().endswith(_PNG_END)
    except OSError:
        return False
