"""NIfTI: images with their true position and orientation, for viewers and analysis packages."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.atomic import atomic_path
from recon.errors import ReconError, ReconWarning
from recon.images.nifti_reading import open_nifti, unreadable, values_of


def write_nifti(
    path: str | Path,
    images: NDArray,
    *,
    voxel_size: tuple[float, float, float] | None = None,
    affine: NDArray | None = None,
    description: str = "",
) -> Path:
    """Write real images ``[slice, readout, phase]`` (or ``[slice, sample, readout, phase]``) as float32 NIfTI-1.

    The stored axes are readout, phase, slice (, sample), which the header's ``dim_info`` names. ``affine`` (4x4, that
    index -> RAS+ mm) is stored as the scanner's; without it only ``voxel_size`` (mm along readout, phase, slice) is,
    and the file says that orientation is unknown. Without either the unit is unknown, too, and a ReconWarning says so.
    ``description`` (79 characters at most) goes into the header: the unit of maps.

    Raises ReconError when the name does not end in .nii or .nii.gz, values are complex or not finite, or writing fails.
    """
    import nibabel

    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise ReconError(f"{path}: a NIfTI file is named .nii or .nii.gz")
    if images.ndim not in (3, 4) or np.iscomplexobj(images):
        raise ReconError(f"{path}: NIfTI takes real images [slice, readout, phase], not {images.dtype} {images.shape}")
    if not np.isfinite(images).all():
        raise ReconError(f"{path}: the images have NaN or infinite values; nothing is written")
    order = (1, 2, 0) if images.ndim == 3 else (2, 3, 0, 1)
    data = np.ascontiguousarray(images.transpose(order), np.float32)
    if affine is None:
        if voxel_size is None:
            warnings.warn(
                f"{path}: the scan does not state its voxel size, so neither does this file", ReconWarning, stacklevel=2
            )
        size = np.array(voxel_size or (1.0, 1.0, 1.0), float)
        matrix = np.diag([*size, 1.0])
        matrix[:3, 3] = -size * [data.shape[0] // 2, data.shape[1] // 2, data.shape[2] // 2]
    else:
        matrix = np.asarray(affine, float)
    image = nibabel.Nifti1Image(data, matrix)
    code = 0 if affine is None else 1  # 0: unknown orientation; 1: scanner coordinates
    image.set_sform(matrix, code)
    if affine is None or _orthogonal(matrix):
        image.set_qform(matrix, code)
    else:
        image.set_qform(None, 0)  # a sheared stack has no quaternion form
    image.header.set_dim_info(freq=0, phase=1, slice=2)
    image.header.set_xyzt_units("unknown" if voxel_size is None and affine is None else "mm")
    image.header["descrip"] = description.encode("ascii", "replace")[:79]
    with atomic_path(path) as temporary:
        nibabel.save(image, temporary)
    return path


@dataclass(frozen=True)
class NiftiImage:
    """A three-dimensional NIfTI image as its file has it: ``values`` in the file's axis order, ``affine`` from that
    index to RAS+ mm, ``placed``: the header says where the voxels are (a qform or sform code above 0), ``slice_axis``:
    the axis that the header names as that of the slices, ``zooms`` its voxel size in mm along the axes. Integer values
    are those of a file without a scale factor."""

    values: NDArray[Any]
    affine: NDArray[np.float64]
    placed: bool
    slice_axis: int | None
    zooms: tuple[float, float, float]


def is_nifti(path: Path) -> bool:
    """By the name."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def read_nifti(path: str | Path) -> NiftiImage:
    """Read one image. Raises ReconError when the file is missing, truncated, foreign or not three-dimensional."""
    path = Path(path)
    images = read_nifti_series(path, 3)
    return images[0]


def read_nifti_series(path: Path, most: int = 4) -> list[NiftiImage]:
    """The images of a file of three or, with ``most`` 4, four dimensions. Raises ReconError as ``read_nifti`` does."""
    image = open_nifti(path)
    affine = np.asarray(image.affine, np.float64)
    try:
        placed = int(image.header["qform_code"]) > 0 or int(image.header["sform_code"]) > 0
        across = image.header.get_dim_info()[2]
        edges = [float(edge) for edge in image.header.get_zooms()[:3]]
    except (ValueError, KeyError) as error:  # Analyze, which NIfTI grew out of, says neither
        raise unreadable(path, error) from error
    values = values_of(path, image)
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim == 2:
        values = values[..., None]
    if not 3 <= values.ndim <= most or values.dtype.kind not in "biufc":  # not colours: structures of three numbers
        raise ReconError(f"{path}: expected one 3-D image of numbers, found {values.dtype} {values.shape}")
    first, second, third = [*edges, 1.0][:3]
    volumes = [values] if values.ndim == 3 else np.moveaxis(values, -1, 0)
    return [NiftiImage(volume, affine, placed, across, (first, second, third)) for volume in volumes]


def _orthogonal(matrix: NDArray) -> bool:
    axes = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    return bool(np.allclose(axes.T @ axes, np.eye(3), atol=1e-4))
