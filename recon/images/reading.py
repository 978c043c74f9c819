"""The one reader of image volumes: results, reference images of scans, NIfTI files, DICOM folders, lesion masks."""

from pathlib import Path

import h5py
import numpy as np

from recon.errors import ReconError
from recon.images.dicom_reading import is_dicom, read_dicom
from recon.images.nifti import is_nifti, read_nifti
from recon.images.result import is_result, read_result_image
from recon.images.volume import Volume


def read_volume(path: str | Path, slice_axis: int | None = None) -> Volume:
    """The image in a file.

    - a scan: the reference stored in the file (fastMRI's ``reconstruction_rss``), else the root sum of squares over
      the coils of its fully sampled k-space, cropped to the image shape, which is how fastMRI defines it. It has no
      model of the coils in it, so no method is favoured; but it is biased upwards where the signal is below the noise,
      which shows in the air around the head, and a combination with coil maps differs from it there.
    - a result of ``recon reconstruct``: its ``reconstruction``.
    - NIfTI (``.nii``, ``.nii.gz``): its values, slices as ``recon.images.volume.slice_axis`` finds them, or along the
      stored axis ``slice_axis``.
    - DICOM (a folder with one series, or one file): its values in the file's own units.

    Raises ReconError when the file is missing, damaged, undersampled without a stored reference, or not an image.
    """
    path = Path(path)
    if is_dicom(path):
        return read_dicom(path)
    if is_nifti(path):
        return read_nifti(path, slice_axis)
    if not path.is_file():
        raise ReconError(f"{path}: no such file")
    return read_result_image(path) if is_result(path) else _reference_of_scan(path)


def read_lesions(path: str | Path, slice_axis: int | None = None) -> Volume:
    """A lesion mask: HDF5 with a dataset ``lesion`` ``[slice, readout, phase]`` (and optionally the attribute
    ``affine``), or NIfTI, whose slices are found as those of an image.

    Raises ReconError when the file is missing, damaged or holds no mask.
    """
    path = Path(path)
    if is_nifti(path):
        return read_nifti(path, slice_axis)
    if not path.is_file():
        raise ReconError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            if not isinstance(file.get("lesion"), h5py.Dataset):
                raise ReconError(f"{path}: no dataset 'lesion' [slice, readout, phase] in this file")
            dataset = file["lesion"]
            affine = dataset.attrs.get("affine", file.attrs.get("affine"))
            return Volume(path, dataset[()], None if affine is None else np.asarray(affine, float), "lesion mask")
    except (OSError, RuntimeError) as error:
        raise ReconError(f"{path}: not readable as HDF5 or NIfTI ({' '.join(str(error).split())})") from error


def _reference_of_scan(path: Path) -> Volume:
    from recon.acquisition.rss import reference_image
    from recon.scans.opening import open_scan

    scan = open_scan(path)
    stored = scan.read_reference is not None
    images = np.stack([reference_image(scan, index) for index in range(scan.shape[0])])
    kind = "reference stored in the scan file" if stored else "root sum of squares of the fully sampled scan"
    return Volume(path, images, scan.affine, kind, scan.voxel_size)
