"""Reading one DICOM series: pixels and geometry, no text.

Only the pixels, the spacing and the orientation are taken over. Names, dates, descriptions and every other header text
stay behind.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.images.volume import Volume

ENDINGS = (".dcm", ".ima")
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class _Slice:
    series: str
    image: NDArray[np.float32]  # [row, column]
    axes: NDArray[np.float64]  # directions along which the column and the row index grow, LPS
    position: NDArray[np.float64]  # of the first pixel, LPS mm
    spacing: tuple[float, float, float]  # mm between rows, between columns, between slices as stated


def is_dicom(path: Path) -> bool:
    """Whether a path is read as DICOM: a folder, or a file that is named so."""
    return path.is_dir() or path.suffix.lower() in ENDINGS


def read_dicom(path: str | Path) -> Volume:
    """Read a folder with one series (or one file) as ``[slice, row, column]``, sorted by position.

    Raises ReconError when there is no image, more than one series, or a slice that cannot be read or placed.
    """
    path = Path(path)
    files = sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else [path]
    slices = [found for file in files if (found := _read_slice(file)) is not None]
    if not slices:
        raise ReconError(f"{path} holds no DICOM images")
    if len({entry.series for entry in slices}) > 1:
        raise ReconError(f"{path} holds more than one series; give one folder a series")
    if len({entry.image.shape for entry in slices}) > 1:
        raise ReconError(f"{path} holds slices of different matrix sizes")
    normal = np.cross(*slices[0].axes)
    slices.sort(key=lambda entry: float(entry.position @ normal))
    first, last = slices[0], slices[-1]
    row, column, thickness = first.spacing
    along = (last.position - first.position) / (len(slices) - 1) if len(slices) > 1 else normal * thickness
    if not np.linalg.norm(along) > 0:
        raise ReconError(f"{path}: two slices have the same position")
    affine = np.eye(4)
    affine[:3] = np.column_stack([first.axes[1] * row, first.axes[0] * column, along, first.position])
    return Volume(path, np.stack([entry.image for entry in slices]), _LPS_TO_RAS @ affine, "DICOM series")


def _read_slice(file: Path) -> _Slice | None:
    """One file, or None when it holds no image."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        dataset = pydicom.dcmread(file)
        if "PixelData" not in dataset:
            return None
        image = dataset.pixel_array.astype(np.float32)
        if image.ndim != 2 or dataset.PhotometricInterpretation != "MONOCHROME2":
            raise ReconError(f"{file} is not a single grey-scale slice (enhanced DICOM is not read)")
        slope = float(dataset.get("RescaleSlope", 1) or 1)
        row, column = map(float, dataset.PixelSpacing)
        thickness = float(dataset.get("SpacingBetweenSlices") or dataset.get("SliceThickness") or 1)
        return _Slice(
            str(dataset.SeriesInstanceUID),
            image * slope + float(dataset.get("RescaleIntercept", 0) or 0),
            np.asarray(dataset.ImageOrientationPatient, float).reshape(2, 3),
            np.asarray(dataset.ImagePositionPatient, float),
            (row, column, thickness),
        )
    except InvalidDicomError as error:
        if file.suffix.lower() in ENDINGS:
            raise ReconError(f"{file} is not a DICOM file") from error
        return None
    except (OSError, EOFError, AttributeError, TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise ReconError(f"{file} cannot be read as DICOM ({error})") from error
