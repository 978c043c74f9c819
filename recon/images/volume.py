"""The one image volume, and the one reader of images: results of recon, NIfTI, DICOM."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.foreign.hdf5 import foreign_hdf5, text_attribute
from recon.images.dicom_reading import is_dicom, read_dicom
from recon.images.nifti import is_nifti, read_nifti
from recon.images.result import FORMAT, read_result
from recon.images.slice_axis import slices_first


@dataclass(frozen=True)
class Volume:
    """An image or mask ``[slice, readout, phase]`` and where it lies: index (readout, phase, slice) to RAS+ mm."""

    path: Path
    values: NDArray[Any]
    affine: NDArray[np.float64] | None
    kind: str  # where the values come from, in words
    voxel_size: tuple[float, float, float] | None = None  # mm along readout, phase, slice, where there is no affine


def read_volume(path: str | Path) -> Volume:
    """An image as its file has it: a result's reconstruction, NIfTI or a DICOM series.

    NIfTI is put into slices by ``recon.images.slice_axis``. Raises ReconError when the file is missing, damaged, or
    none of these.
    """
    path = Path(path)
    if is_dicom(path):
        values, affine = read_dicom(path)
        return Volume(path, values, affine, "DICOM series")
    if is_nifti(path):
        image = read_nifti(path)
        return Volume(path, *slices_first(image.values, image.affine, image.slice_axis), "NIfTI image")
    if not path.is_file():
        raise ReconError(f"{path}: no such file")
    if path.suffix.lower() in (".h5", ".hdf5"):
        result = read_result(path, samples=False)
        return Volume(path, result.reconstruction, result.affine, "reconstruction of a result file", result.voxel_size)
    raise ReconError(f"{path}: neither a result (.h5), NIfTI (.nii, .nii.gz) nor a DICOM folder")


def is_result(path: Path) -> bool:
    """Whether the file is a result of ``recon reconstruct``; False for foreign, truncated and missing files."""
    try:
        with foreign_hdf5(path) as file:
            return text_attribute(file, "format") == FORMAT
    except (OSError, ReconError):  # foreign or truncated: the readers of scans say which
        return False
