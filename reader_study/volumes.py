"""Reading one image series from a result HDF5, a NIfTI file or a folder of DICOM files: pixels and geometry, no text.

Only the pixel array, the spacing and the orientation are taken over. Names, dates, descriptions and every other
header text stay behind.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError

# Radiological display, per plane of the slices: where slice, row and column indices grow to.
_DISPLAY = {"axial": ("S", "P", "L"), "coronal": ("A", "I", "L"), "sagittal": ("L", "I", "P")}
_PLANES = ("sagittal", "coronal", "axial")


@dataclass(frozen=True)
class Volume:
    """One series turned for display (radiological convention where its orientation is known)."""

    pixels: NDArray[np.float32]  # [slice, row, column]
    spacing: tuple[float, float, float] | None  # mm along slice, row, column
    plane: str  # axial, coronal, sagittal, or unknown
    step: float  # spacing of the grey levels of a quantised source; 0 for a continuous one


def read_volume(path: str | Path, where: str) -> Volume:
    """Read one series. ``where`` (case and arm) begins every message.

    Raises ReconError when the file is missing, foreign, damaged, not one 3-D series, or has NaN or infinite values.
    """
    path = Path(path)
    if not path.exists():
        raise ReconError(f"{where}: {path} does not exist")
    read: Callable[[Path], tuple[NDArray[np.float32], NDArray[np.float64] | None, tuple[float, ...] | None]]
    if path.is_dir() or path.suffix.lower() in (".dcm", ".ima"):
        read = _read_dicom
    elif path.name.lower().endswith((".nii", ".nii.gz")):
        read = _read_nifti
    elif path.suffix.lower() in (".h5", ".hdf5"):
        read = _read_result
    else:
        raise ReconError(f"{where}: {path} is neither a result (.h5), NIfTI (.nii, .nii.gz) nor a DICOM folder")
    try:
        pixels, affine, spacing = read(path)
    except ReconError as error:
        raise ReconError(f"{where}: {error}") from error
    if pixels.ndim != 3 or pixels.size == 0:
        raise ReconError(f"{where}: {path} is not one series of slices (shape {pixels.shape})")
    bad = ~np.isfinite(pixels)
    if bad.any():
        first = int(np.argmax(bad.any(axis=(1, 2)))) + 1
        raise ReconError(f"{where}: {path} has {int(bad.sum())} NaN or infinite pixels, first in slice {first}")
    if not pixels.any():
        raise ReconError(f"{where}: {path} is zero everywhere")
    return _for_display(pixels, affine, spacing)


def read_mask(path: str | Path, like: Volume, where: str) -> NDArray[np.bool_]:
    """A defacing mask (non-zero = removed) on the grid of ``like``: NIfTI, or .npy in the layout of the images.

    Raises ReconError when it does not fit.
    """
    path = Path(path)
    if path.suffix == ".npy":
        try:
            mask = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ReconError(f"{where}: defacing mask {path} cannot be read ({error})") from error
    else:
        volume = read_volume(path, f"{where}, defacing mask")
        if volume.plane != like.plane:
            raise ReconError(f"{where}: defacing mask {path} is {volume.plane}, the images are {like.plane}")
        mask = volume.pixels
    if mask.shape != like.pixels.shape:
        raise ReconError(f"{where}: defacing mask {path} has shape {mask.shape}, the images {like.pixels.shape}")
    removed: NDArray[np.bool_] = mask != 0
    return removed


def _for_display(
    pixels: NDArray[np.float32], affine: NDArray[np.float64] | None, spacing: tuple[float, ...] | None
) -> Volume:
    """Turn ``pixels`` [slice, readout, phase] with ``affine`` (readout, phase, slice) -> RAS+ for display."""
    step = _step(pixels)
    if affine is None:
        known = None if spacing is None else (spacing[2], spacing[0], spacing[1])
        return Volume(np.ascontiguousarray(pixels), known, "unknown", step)
    from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

    ours = io_orientation(affine)[[2, 0, 1]]  # of slice, readout, phase
    plane = _PLANES[int(ours[0, 0])]
    turn = ornt_transform(ours, axcodes2ornt(_DISPLAY[plane]))
    sizes = np.linalg.norm(affine[:3, :3], axis=0)[[2, 0, 1]]
    ordered = [0.0, 0.0, 0.0]
    for axis, (target, _) in enumerate(turn):
        ordered[int(target)] = float(sizes[axis])
    turned = np.ascontiguousarray(apply_orientation(pixels, turn))
    return Volume(turned, (ordered[0], ordered[1], ordered[2]), plane, step)


def _step(pixels: NDArray[np.float32]) -> float:
    """The spacing of the grey levels when the source was stored as integers, else 0. Looks at 60,000 pixels."""
    sample = pixels.reshape(-1)[:: max(1, pixels.size // 60_000)]
    sample = sample[sample != 0].astype(np.float64)
    levels = np.unique(sample)
    if levels.size < 3 or levels.size > 0.7 * sample.size:
        return 0.0
    gaps = np.diff(levels)
    step = float(gaps[gaps > 1e-6 * levels[-1]].min(initial=np.inf))
    if not np.isfinite(step):
        return 0.0
    residue = np.abs(gaps / step - np.round(gaps / step))
    return step if float(residue.max()) < 0.02 else 0.0


def _read_result(
    path: Path,
) -> tuple[NDArray[np.float32], NDArray[np.float64] | None, tuple[float, ...] | None]:
    """Only the reconstruction of a result file: samples can be a hundred times as large."""
    import h5py

    from recon.images.result import FORMAT

    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != FORMAT:
                raise ReconError(f"{path} is not a result of 'recon reconstruct'")
            pixels = np.asarray(file["reconstruction"][()], np.float32)
            affine = np.asarray(file.attrs["affine"], float) if "affine" in file.attrs else None
            spacing = tuple(map(float, file.attrs["voxel_size_mm"])) if "voxel_size_mm" in file.attrs else None
    except (OSError, KeyError, ValueError) as error:
        raise ReconError(f"{path} is a truncated or damaged result ({error})") from error
    return pixels, affine, spacing


def _read_nifti(
    path: Path,
) -> tuple[NDArray[np.float32], NDArray[np.float64] | None, tuple[float, ...] | None]:
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        image: Any = nibabel.load(path)
        data = np.asarray(image.get_fdata(dtype=np.float32), np.float32)
        affine = np.asarray(image.affine, np.float64)
    except (ImageFileError, OSError, EOFError, ValueError, zlib.error) as error:
        raise ReconError(f"{path} cannot be read as NIfTI ({error})") from error
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    if data.ndim != 3:
        raise ReconError(f"{path} is not one 3-D series (shape {data.shape})")
    # Slices lie across the thickest direction; an isotropic volume is sliced along its last index.
    sizes = np.round(np.linalg.norm(affine[:3, :3], axis=0), 3)
    across = 2 if sizes[2] == sizes.max() else int(np.argmax(sizes))
    order = [axis for axis in range(3) if axis != across] + [across]
    affine = np.column_stack([affine[:, order], affine[:, 3]])
    return data.transpose(across, order[0], order[1]), affine, None


def _read_dicom(
    path: Path,
) -> tuple[NDArray[np.float32], NDArray[np.float64] | None, tuple[float, ...] | None]:
    import pydicom
    from pydicom.errors import InvalidDicomError

    files = sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else [path]
    slices = []
    for file in files:
        try:
            dataset = pydicom.dcmread(file)
            if "PixelData" not in dataset:
                continue
            image = dataset.pixel_array.astype(np.float32)
            if image.ndim != 2 or dataset.PhotometricInterpretation != "MONOCHROME2":
                raise ReconError(f"{file} is not a single grey-scale slice (enhanced DICOM is not read)")
            image = image * float(dataset.get("RescaleSlope", 1) or 1) + float(dataset.get("RescaleIntercept", 0) or 0)
            axes = np.asarray(dataset.ImageOrientationPatient, float).reshape(2, 3)
            position = np.asarray(dataset.ImagePositionPatient, float)
            row, column = map(float, dataset.PixelSpacing)
            thickness = float(dataset.get("SpacingBetweenSlices") or dataset.get("SliceThickness") or 1)
            slices.append((str(dataset.SeriesInstanceUID), image, axes, position, (row, column, thickness)))
        except InvalidDicomError as error:
            if file.suffix.lower() in (".dcm", ".ima"):
                raise ReconError(f"{file} is not a DICOM file") from error
        except (OSError, EOFError, AttributeError, TypeError, ValueError, RuntimeError, NotImplementedError) as error:
            raise ReconError(f"{file} cannot be read as DICOM ({error})") from error
    if not slices:
        raise ReconError(f"{path} holds no DICOM images")
    if len({entry[0] for entry in slices}) > 1:
        raise ReconError(f"{path} holds more than one series; give one folder a series")
    if len({entry[1].shape for entry in slices}) > 1:
        raise ReconError(f"{path} holds slices of different matrix sizes")
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
    return np.stack([entry[1] for entry in slices]), affine, None
