"""Reading one image series from a result HDF5, a NIfTI file or a folder of DICOM files: pixels and geometry, no text.

Only the pixel array, the spacing and the orientation are taken over. Names, dates, descriptions and every other
header text stay behind.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.images.volume import read_volume as read_image

# Radiological display, per plane of the slices: where slice, row and column indices grow to.
_DISPLAY = {"axial": ("S", "P", "L"), "coronal": ("A", "I", "L"), "sagittal": ("L", "I", "P")}
_PLANES = ("sagittal", "coronal", "axial")


@dataclass(frozen=True)
class DisplayVolume:
    """One series turned for display (radiological convention where its orientation is known)."""

    pixels: NDArray[np.float32]  # [slice, row, column]
    spacing: tuple[float, float, float] | None  # mm along slice, row, column
    plane: str  # axial, coronal, sagittal, or unknown
    affine: NDArray[np.float64] | None = None  # index (slice, row, column) to RAS+ mm, where it is known


def read_volume(path: str | Path, where: str) -> DisplayVolume:
    """Read one series. ``where`` (case and arm) begins every message.

    Raises ReconError when the file is missing, foreign, damaged, not one 3-D series, or has NaN or infinite values.
    """
    path = Path(path)
    if not path.exists():
        raise ReconError(f"{where}: {path} does not exist")
    try:
        volume = read_image(path)
    except ReconError as error:
        raise ReconError(f"{where}: {error}") from error
    if np.iscomplexobj(volume.values):
        raise ReconError(f"{where}: {path} has complex pixels; store their magnitude")
    pixels = np.asarray(volume.values, np.float32)
    if pixels.ndim != 3 or pixels.size == 0:
        raise ReconError(f"{where}: {path} is not one series of slices (shape {pixels.shape})")
    bad = ~np.isfinite(pixels)
    if bad.any():
        first = int(np.argmax(bad.any(axis=(1, 2)))) + 1
        raise ReconError(f"{where}: {path} has {int(bad.sum())} NaN or infinite pixels, first in slice {first}")
    if not pixels.any():
        raise ReconError(f"{where}: {path} is zero everywhere")
    return _for_display(pixels, volume.affine, volume.voxel_size)


def read_mask(path: str | Path, like: DisplayVolume, where: str) -> NDArray[np.bool_]:
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
) -> DisplayVolume:
    """Turn ``pixels`` [slice, readout, phase] with ``affine`` (readout, phase, slice) -> RAS+ for display."""
    if affine is None:
        known = None if spacing is None else (spacing[2], spacing[0], spacing[1])
        return DisplayVolume(np.ascontiguousarray(pixels), known, "unknown")
    from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

    ours = io_orientation(affine)[[2, 0, 1]]  # of slice, readout, phase
    plane = _PLANES[int(ours[0, 0])]
    turn = ornt_transform(ours, axcodes2ornt(_DISPLAY[plane]))
    sizes = np.linalg.norm(affine[:3, :3], axis=0)[[2, 0, 1]]
    ordered = [0.0, 0.0, 0.0]
    for axis, (target, _) in enumerate(turn):
        ordered[int(target)] = float(sizes[axis])
    turned = np.ascontiguousarray(apply_orientation(pixels, turn))
    placed = affine[:, [2, 0, 1, 3]] @ inv_ornt_aff(turn, pixels.shape)
    return DisplayVolume(turned, (ordered[0], ordered[1], ordered[2]), plane, placed)


def grey_step(pixels: NDArray[np.float32]) -> float:
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
