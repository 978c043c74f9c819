"""Reading what a result is compared with: reference images and lesion masks."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from recon.acquisition.rss import reference_image
from recon.errors import ReconError
from recon.foreign.hdf5 import foreign_hdf5
from recon.foreign.schema import NUMBER, Part, check_schema
from recon.images.dicom_reading import is_dicom
from recon.images.nifti import is_nifti
from recon.images.volume import Volume, is_result, read_volume
from recon.scans.opening import open_scan
from recon.scans.validity import affine_fault

LESION_PARTS = (Part("lesion", NUMBER, (3,), needed=True),)


def _affine_fault(stored: Any) -> str | None:
    try:
        return affine_fault(np.asarray(stored, float))
    except (TypeError, ValueError):
        return "is not made of numbers"


def read_reference(path: str | Path) -> Volume:
    """The reference image in a file.

    - a scan: the reference stored in the file (fastMRI's ``reconstruction_rss``), else the root sum of squares over
      the coils of its fully sampled k-space, cropped to the image shape, which is how fastMRI defines it. It has no
      model of the coils in it, so no method is favoured; but it is biased upwards where the signal is below the noise,
      which shows in the air around the head, and a combination with coil maps differs from it there.
    - a result of ``recon reconstruct``: its ``reconstruction``.
    - NIfTI (``.nii``, ``.nii.gz``) or a folder of DICOM: see ``recon.images.volume.read_volume``.

    Raises ReconError when the file is missing, damaged, undersampled without a stored reference, or not an image.
    """
    path = Path(path)
    if is_nifti(path) or is_dicom(path) or is_result(path):
        return read_volume(path)
    if not path.is_file():
        raise ReconError(f"{path}: no such file")
    scan = open_scan(path)
    stored = scan.read_reference is not None
    images = np.stack([reference_image(scan, index) for index in range(scan.shape[0])])
    kind = "reference stored in the scan file" if stored else "root sum of squares of the fully sampled scan"
    return Volume(path, images, scan.affine, kind)


def read_lesions(path: str | Path) -> Volume:
    """A lesion mask: HDF5 with a dataset ``lesion`` ``[slice, readout, phase]`` (and optionally the attribute
    ``affine``), or NIfTI.

    Raises ReconError when the file is missing, damaged or holds no mask.
    """
    path = Path(path)
    if is_nifti(path):
        return read_volume(path)
    if not path.is_file():
        raise ReconError(f"{path}: no such file")
    if not h5py.is_hdf5(path):
        raise ReconError(f"{path}: not readable as HDF5 or NIfTI; a lesion mask is one of them")
    try:
        with foreign_hdf5(path) as file:
            if not isinstance(file.get("lesion"), h5py.Dataset):
                raise ReconError(f"{path}: no dataset 'lesion' [slice, readout, phase] in this file")
            check_schema(path, file, LESION_PARTS, "write the mask again")
            dataset = file["lesion"]
            affine = dataset.attrs.get("affine", file.attrs.get("affine"))
            if affine is not None and (fault := _affine_fault(affine)):
                raise ReconError(f"{path}: its affine {fault}; write the mask again, or remove it")
            return Volume(path, dataset[()], None if affine is None else np.asarray(affine, float), "lesion mask")
    except (OSError, RuntimeError) as error:
        raise ReconError(f"{path}: not readable as HDF5 or NIfTI ({' '.join(str(error).split())})") from error
