"""Reading a DICOM series: pixels and geometry, no text. Names, dates and every other header text stay behind."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.folders import entries


def is_dicom(path: Path) -> bool:
    """A folder, or a file named as DICOM."""
    return path.is_dir() or path.suffix.lower() in (".dcm", ".ima")


def read_dicom(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """One series from a folder of files or a file: values ``[slice, row, column]`` and the affine of (row, column,
    slice) to RAS+ mm. Raises ReconError for what is not one series of single grey-scale slices."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    files = [entry for entry in entries(path, deep=True) if entry.is_file()] if path.is_dir() else [path]
    slices = []
    for file in files:
        try:
            dataset = pydicom.dcmread(file)
            if "PixelData" not in dataset:
                continue
            image = dataset.pixel_array.astype(np.float32)
            if image.ndim != 2 or dataset.PhotometricInterpretation != "MONOCHROME2":
                raise ReconError(f"{file}: not a single grey-scale slice (enhanced DICOM is not read)")
            image = image * float(dataset.get("RescaleSlope", 1) or 1) + float(dataset.get("RescaleIntercept", 0) or 0)
            axes = np.asarray(dataset.ImageOrientationPatient, float).reshape(2, 3)
            position = np.asarray(dataset.ImagePositionPatient, float)
            row, column = map(float, dataset.PixelSpacing)
            thickness = float(dataset.get("SpacingBetweenSlices") or dataset.get("SliceThickness") or 1)
            slices.append((str(dataset.SeriesInstanceUID), image, axes, position, (row, column, thickness)))
        except InvalidDicomError as error:
            if file.suffix.lower() in (".dcm", ".ima"):
                raise ReconError(f"{file}: not a DICOM file") from error
        except (OSError, EOFError, AttributeError, TypeError, ValueError, RuntimeError, NotImplementedError) as error:
            raise ReconError(f"{file}: not readable as DICOM ({error})") from error
    if not slices:
        raise ReconError(f"{path}: holds no DICOM images")
    if len({entry[0] for entry in slices}) > 1:
        raise ReconError(f"{path}: holds more than one series; give one folder a series")
    if len({entry[1].shape for entry in slices}) > 1:
        raise ReconError(f"{path}: holds slices of different matrix sizes")
    normal = np.cross(slices[0][2][0], slices[0][2][1])
    slices.sort(key=lambda entry: float(entry[3] @ normal))
    first, last = slices[0], slices[-1]
    row, column, thickness = first[4]
    along = (last[3] - first[3]) / (len(slices) - 1) if len(slices) > 1 else normal * thickness
    if not np.linalg.norm(along) > 0:
        raise ReconError(f"{path}: two slices have the same position")
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2], affine[:3, 3] = (
        first[2][1] * row,
        first[2][0] * column,
        along,
        first[3],
    )
    affine[:2] *= -1  # DICOM's LPS to RAS+
    return np.stack([entry[1] for entry in slices]), affine
