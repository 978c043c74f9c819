"""Reading what a result is compared with: reference images and lesion masks, brought onto the result's grid."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.images.result import FORMAT, read_result

GRID_TOLERANCE = 0.1  # of a voxel: beyond it two grids are different ones


@dataclass(frozen=True)
class Volume:
    """An image or mask ``[slice, readout, phase]`` and where it lies: index (readout, phase, slice) to RAS+ mm."""

    path: Path
    values: NDArray[Any]
    affine: NDArray[np.float64] | None
    kind: str  # where the values come from, in words


def read_reference(path: str | Path) -> Volume:
    """The reference image in a file.

    - a scan: the reference stored in the file (fastMRI's ``reconstruction_rss``), else the root sum of squares over
      the coils of its fully sampled k-space, cropped to the image shape, which is how fastMRI defines it. It has no
      model of the coils in it, so no method is favoured; but it is biased upwards where the signal is below the noise,
      which shows in the air around the head, and a combination with coil maps differs from it there.
    - a result of ``recon reconstruct``: its ``reconstruction``.
    - NIfTI (``.nii``, ``.nii.gz``): its values, axes (readout, phase, slice).

    Raises ReconError when the file is missing, damaged, undersampled without a stored reference, or not an image.
    """
    path = Path(path)
    if _is_nifti(path):
        return _read_nifti(path)
    if not path.is_file():
        raise ReconError(f"{path}: no such file")
    if is_result(path):
        result = read_result(path)
        return Volume(path, result.reconstruction, result.affine, "reconstruction of a result file")
    from recon.acquisition.rss import reference_image
    from recon.scans.opening import open_scan

    scan = open_scan(path)
    stored = scan.read_reference is not None
    images = np.stack([reference_image(scan, index) for index in range(scan.shape[0])])
    kind = "reference stored in the scan file" if stored else "root sum of squares of the fully sampled scan"
    return Volume(path, images, scan.affine, kind)


def read_lesions(path: str | Path) -> Volume:
    """A lesion mask: HDF5 with a dataset ``lesion`` ``[slice, readout, phase]`` (and optionally the attribute
    ``affine``), or NIfTI with axes (readout, phase, slice).

    Raises ReconError when the file is missing, damaged or holds no mask.
    """
    path = Path(path)
    if _is_nifti(path):
        return _read_nifti(path)
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


def on_grid(volume: Volume, shape: tuple[int, ...], affine: NDArray[np.float64] | None, what: str) -> NDArray[Any]:
    """The volume's values on the grid of a result: ``shape`` ``[slice, readout, phase]`` and its affine.

    Axes are permuted and flipped when both affines say so (a NIfTI file that another program turned around); nothing
    is interpolated. ``what`` names the volume in the error. Raises ReconError when the grids differ.
    """
    values = volume.values
    if affine is not None and volume.affine is not None:
        turned = _turn(np.moveaxis(values, 0, -1), volume.affine, affine)
        if turned is None:
            raise ReconError(
                f"{volume.path}: the {what} lies elsewhere in space than the result (their affines differ by more than "
                "a permutation or flip of axes); resample it onto the result's grid"
            )
        values = np.moveaxis(turned, -1, 0)
    if values.shape != tuple(shape):
        raise ReconError(
            f"{volume.path}: the {what} has {_words(values.shape)}, the result {_words(shape)}; "
            "both must be on the same grid"
        )
    return values


def _turn(values: NDArray[Any], affine: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[Any] | None:
    """``values`` (readout, phase, slice) permuted and flipped onto the axes of ``target``; None when that is not
    enough to make both grids coincide to ``GRID_TOLERANCE`` of a voxel at every corner."""
    mapping = np.linalg.inv(target) @ affine  # index in values -> index in target
    axes = np.abs(mapping[:3, :3]).argmax(axis=1)  # the axis of values that runs along each axis of target
    if sorted(axes) != [0, 1, 2]:
        return None
    signs = np.sign(mapping[np.arange(3), axes])
    turned = np.transpose(values, axes)
    turned = turned[tuple(slice(None, None, int(sign)) for sign in signs)]
    # Where each corner of ``values`` should now be found, against where the affines put it.
    for corner in np.ndindex(2, 2, 2):
        index = np.array(corner) * (np.array(values.shape) - 1)
        expected = np.where(signs > 0, index[axes], np.array(turned.shape) - 1 - index[axes])
        found = mapping[:3, :3] @ index + mapping[:3, 3]
        if np.abs(found - expected).max() > GRID_TOLERANCE:
            return None
    return turned


def _read_nifti(path: Path) -> Volume:
    import nibabel

    if not path.is_file():
        raise ReconError(f"{path}: no such file")
    try:
        image: Any = nibabel.load(path)
        values = np.asanyarray(image.dataobj)
        affine = np.asarray(image.affine, np.float64)
    except (OSError, EOFError, ValueError, nibabel.filebasedimages.ImageFileError) as error:
        raise ReconError(f"{path}: not readable as NIfTI ({' '.join(str(error).split())})") from error
    values = values[..., 0] if values.ndim == 4 and values.shape[-1] == 1 else values
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3:
        raise ReconError(f"{path}: expected one three-dimensional image, found shape {values.shape}")
    return Volume(path, np.moveaxis(values, -1, 0), affine, "NIfTI image")


def _is_nifti(path: Path) -> bool:
    return path.name.endswith((".nii", ".nii.gz"))


def is_result(path: Path) -> bool:
    """Whether the file is a result of ``recon reconstruct``; False for foreign, truncated and missing files."""
    try:
        with h5py.File(path, "r") as file:
            return file.attrs.get("format") == FORMAT
    except OSError:  # foreign or truncated: the readers of scans say which
        return False


def _words(shape: tuple[int, ...]) -> str:
    if len(shape) != 3:
        return f"shape {tuple(shape)}"
    return f"{shape[0]} slices of {shape[1]} x {shape[2]}"
