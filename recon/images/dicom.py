"""DICOM: a reconstruction as a derived MR Image Storage series, without any patient identity.

Attributes follow PS3.3 A.4 (MR Image IOD). Coordinates become DICOM's LPS; every slice carries its true position. The
rows and columns are turned to how a radiologist expects the plane (left of the patient on the right, head up).
"""

import math
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError, ReconWarning
from recon.images.dicom_header import DicomSeries, decimal, series_attributes

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_TOP = 32767  # highest stored value: fits viewers that read 16 bits as signed


@dataclass(frozen=True)
class _Stored:
    """Pixels as a file stores them ``[slice, row, column]``; value = slope * pixel + intercept."""

    pixels: NDArray[np.uint16]
    slope: float
    intercept: float
    window: tuple[float, float]  # lowest and highest value shown


def write_dicom_series(
    folder: str | Path,
    images: NDArray,
    series: DicomSeries,
    *,
    voxel_size: tuple[float, float, float] | None = None,
    affine: NDArray | None = None,
) -> list[Path]:
    """Write real images ``[slice, readout, phase]`` as one file a slice, ``IM0001.dcm`` on, into ``folder``.

    affine: (readout, phase, slice) index -> RAS+ mm; without it the slices lie axially around the origin and a
    ReconWarning says so. voxel_size: mm along readout, phase, slice; needed without affine.

    The series appears complete or not at all and replaces an earlier one in ``folder``. Raises ReconError when the
    voxel size is unknown, values are complex or not finite, or writing fails.
    """
    folder = Path(folder)
    if images.ndim != 3 or np.iscomplexobj(images) or 0 in images.shape:
        raise ReconError(
            f"{folder}: DICOM takes real images [slice, readout, phase], not {images.dtype} {images.shape}"
        )
    if not np.isfinite(images).all():
        raise ReconError(f"{folder}: the images have NaN or infinite values; nothing is written")
    matrix = _lps_affine(folder, images.shape, voxel_size, affine)
    scale = display_scale(images) if series.scale is None else series.scale
    values, matrix = _as_displayed(images * np.float64(scale), matrix)
    stored = _stored(values)
    distance = float(np.linalg.norm(matrix[:3, 2]))
    attributes = series_attributes(series, scale) | {
        "RescaleSlope": stored.slope,
        "RescaleIntercept": stored.intercept,
        "RescaleType": "US",
        "WindowCenter": decimal(sum(stored.window) / 2),
        "WindowWidth": decimal(max(stored.window[1] - stored.window[0], 1.0)),
        "SliceThickness": decimal(series.slice_thickness or distance),
        "SpacingBetweenSlices": decimal(distance),
    }
    return _write_all(folder, stored.pixels, matrix, attributes)


def _stored(values: NDArray) -> _Stored:
    """Values in 16 bits."""
    intercept = min(float(values.min()), 0.0)
    slope = decimal((float(values.max()) - intercept) / _TOP or 1.0)
    intercept = decimal(intercept)
    low, high = np.percentile(values, (1, 99.5))
    pixels = np.clip(np.rint((values - intercept) / slope), 0, 65535).astype("<u2")
    return _Stored(pixels, slope, intercept, (float(low), float(high)))


def _write_all(
    folder: Path, pixels: NDArray[np.uint16], matrix: NDArray[np.float64], attributes: Mapping[str, Any]
) -> list[Path]:
    """Write every slice into a folder of its own first, so that an interrupted series leaves nothing."""
    names = [f"IM{index + 1:04d}.dcm" for index in range(len(pixels))]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise ReconError(f"{folder}: cannot write here ({error.strerror or error}); choose another --out") from error
    try:
        for index, name in enumerate(names):
            _write_slice(temporary / name, pixels[index], index, matrix, attributes)
        folder.mkdir(exist_ok=True)
        for old in folder.glob("IM[0-9][0-9][0-9][0-9].dcm"):
            old.unlink()
        for name in names:
            (temporary / name).replace(folder / name)
    except OSError as error:
        raise ReconError(
            f"{folder}: writing failed ({error.strerror or error}); free some space or choose another --out"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return [folder / name for name in names]


def display_scale(images: NDArray) -> float:
    """The power of ten that brings the largest value to between 1000 and 10000.

    k-space units are arbitrary and often tiny; viewers offer windows in whole numbers.
    """
    top = float(np.abs(images).max())
    return 10.0 ** (3 - math.floor(math.log10(top))) if top > 0 else 1.0


def _lps_affine(
    folder: Path, shape: tuple[int, ...], voxel_size: tuple[float, float, float] | None, affine: NDArray | None
) -> NDArray[np.float64]:
    """(readout, phase, slice) index -> LPS mm."""
    if affine is not None:
        return _RAS_TO_LPS @ np.asarray(affine, float)
    if voxel_size is None:
        raise ReconError(f"{folder}: DICOM needs the voxel size, which the scan does not state; give it on 'convert'")
    warnings.warn(
        f"{folder}: the scan's orientation is unknown; the DICOM slices are laid out axially around the origin",
        ReconWarning,
        stacklevel=3,
    )
    matrix = np.zeros((4, 4))
    matrix[1, 0], matrix[0, 1], matrix[2, 2] = voxel_size  # readout down (posterior), phase to the left, slices up
    matrix[3, 3] = 1
    centre = np.array([shape[1] // 2, shape[2] // 2, shape[0] // 2], float)
    matrix[:3, 3] = -matrix[:3, :3] @ centre
    return matrix


def _as_displayed(images: NDArray, matrix: NDArray) -> tuple[NDArray, NDArray[np.float64]]:
    """Images ``[slice, row, column]`` turned for display, and (row, column, slice) index -> LPS mm.

    Columns run to the patient's left, or posterior in sagittal planes; rows run posterior, or down the body.
    """
    matrix = np.array(matrix, float)
    main = [int(np.abs(matrix[:3, axis]).argmax()) for axis in (0, 1)]
    if main[0] < main[1]:  # the axis that comes first in (left, posterior, up) runs along the columns' index
        images = images.transpose(0, 2, 1)
        matrix = matrix[:, [1, 0, 2, 3]]
        main = main[::-1]
    for axis in (0, 1):
        wanted = -1 if main[axis] == 2 else 1
        if matrix[main[axis], axis] * wanted < 0:
            images = np.flip(images, axis + 1)
            matrix[:3, 3] += matrix[:3, axis] * (images.shape[axis + 1] - 1)
            matrix[:3, axis] *= -1
    return images, matrix


def _write_slice(
    path: Path, pixels: NDArray[np.uint16], index: int, matrix: NDArray[np.float64], common: Mapping[str, Any]
) -> None:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    spacing = np.linalg.norm(matrix[:3, :2], axis=0)
    directions = matrix[:3, :2] / spacing
    position = matrix[:3, 3] + index * matrix[:3, 2]
    dataset = Dataset()
    for keyword, value in common.items():
        setattr(dataset, keyword, value)
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = generate_uid(prefix=None)
    dataset.InstanceNumber = index + 1
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelSpacing = [decimal(float(value)) for value in spacing]
    # DICOM names first the direction in which the column index grows, then that of the row index.
    dataset.ImageOrientationPatient = [decimal(float(value)) for value in (*directions[:, 1], *directions[:, 0])]
    dataset.ImagePositionPatient = [decimal(float(value)) for value in position]
    normal = np.cross(directions[:, 1], directions[:, 0])
    dataset.SliceLocation = decimal(float(position @ normal))
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
