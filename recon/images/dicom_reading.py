"""Reading a DICOM series: pixels, geometry and b-value. Names, dates and every other header text stay behind."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.folders import entries
from recon.foreign.sizes import check_declared
from recon.images.b_values import dicom_b_value
from recon.images.dicom import PRIVATE
from recon.scans.validity import LARGEST_VOXEL, affine_fault

_UNEVEN = 0.1  # of the slices' distance: positions are rounded, and a slice that is missing is a whole distance


@dataclass(frozen=True)
class _Slice:
    """One file of a series; lengths in mm, directions and position in DICOM's LPS."""

    file: Path
    series: str
    image: NDArray[np.float32]  # [row, column]
    axes: NDArray[np.float64]  # [2, 3]: directions along a row, along a column
    position: NDArray[np.float64]
    spacing: tuple[float, float, float]  # between rows, between columns, between slices
    b_value: float | None  # s/mm^2, where stated
    factor: float  # from a scan's own units to the values, where recon wrote them; else 1


def is_dicom(path: Path) -> bool:
    """A folder, or a file named as DICOM."""
    return path.is_dir() or path.suffix.lower() in (".dcm", ".ima")


def read_dicom(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """One series from a folder of files or a file: values ``[slice, row, column]`` and the affine of (row, column,
    slice) to RAS+ mm. What recon wrote comes back in the scan's own units: the factor of its series is another for each
    scan. Raises ReconError for what is not one series of single grey-scale slices, evenly spaced and parallel, or has
    geometry or values that cannot be."""
    slices = _slices(path)
    values = sorted({entry.b_value for entry in slices if entry.b_value is not None})
    if len(values) > 1:
        said = ", ".join(f"{value:g}" for value in values)
        raise ReconError(f"{path}: holds images of several b-values ({said} s/mm^2); give one folder a b-value")
    return _stacked(path, slices)


def read_dicom_b_values(path: Path) -> dict[float, tuple[NDArray[np.float32], NDArray[np.float64]]]:
    """As ``read_dicom``, for a series that may hold one image a b-value (s/mm^2) at each place. Raises ReconError for
    images whose headers state no b-value, too."""
    slices = _slices(path)
    stated = {entry.b_value for entry in slices if entry.b_value is not None}
    if silent := sum(entry.b_value is None for entry in slices):
        said = f"the headers of {silent} of its {len(slices)} images state none" if stated else "its headers state none"
        raise ReconError(f"{path}: no b-value known ({said}); give --b-values and one folder a b-value")
    found = {}
    for value in sorted(stated):
        chosen = [entry for entry in slices if entry.b_value == value]
        if len({tuple(entry.position.round(3)) for entry in chosen}) < len(chosen):
            raise ReconError(
                f"{path}: holds several images of b = {value:g} s/mm^2 at one place, as series of diffusion directions "
                "do; give the trace-weighted images, or one folder a direction"
            )
        images, affine = _stacked(path, chosen)
        found[value] = images, affine
    return found


def _slices(path: Path) -> list[_Slice]:
    """The slices of one series."""
    files = [entry for entry in entries(path, deep=True) if entry.is_file()] if path.is_dir() else [path]
    slices = [found for file in files for found in _read(file)]
    if not slices:
        raise ReconError(f"{path}: holds no DICOM images")
    if len({entry.series for entry in slices}) > 1:
        raise ReconError(f"{path}: holds more than one series; give one folder a series")
    if len({entry.image.shape for entry in slices}) > 1:
        raise ReconError(f"{path}: holds slices of different matrix sizes")
    return slices


def _stacked(path: Path, slices: list[_Slice]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Values ``[slice, row, column]`` in a scan's own units where known, and affine of slices in any order."""
    first = slices[0]
    normal = np.cross(first.axes[0], first.axes[1])
    slices = sorted(slices, key=lambda entry: float(entry.position @ normal))
    first = slices[0]
    for entry in slices:
        if not np.allclose(entry.axes, first.axes, atol=1e-3) or not np.allclose(entry.spacing, first.spacing, 1e-3):
            raise ReconError(f"{entry.file}: has another orientation or spacing than {first.file.name}; one series")
    row, column, _ = first.spacing
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2], affine[:3, 3] = (
        first.axes[1] * row,
        first.axes[0] * column,
        _step(path, slices, normal),
        first.position,
    )
    affine[:2] *= -1  # DICOM's LPS to RAS+
    if fault := affine_fault(affine):
        raise ReconError(f"{path}: the affine of its slices {fault}; export the series again")
    return np.stack([entry.image / np.float32(entry.factor) for entry in slices]), affine


def _step(path: Path, slices: Sequence[_Slice], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """The way from one slice to the next in mm. Raises ReconError when it is not the same between all of them."""
    if len(slices) == 1:
        return normal * slices[0].spacing[2]
    positions = np.stack([entry.position for entry in slices])
    steps = np.diff(positions, axis=0)
    along: NDArray[np.float64] = (positions[-1] - positions[0]) / (len(slices) - 1)
    if not np.linalg.norm(steps, axis=1).min() > 0:
        raise ReconError(f"{path}: two slices have the same position")
    if np.linalg.norm(steps - along, axis=1).max() > _UNEVEN * np.linalg.norm(along):
        raise ReconError(f"{path}: its slices are not evenly spaced, one may be missing; copy the whole series")
    return along


def _read(file: Path) -> list[_Slice]:
    """The slice of a classic image, or those of an enhanced one; none for files that are no DICOM (but named so) and
    those without pixels. Raises ReconError."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    named = file.suffix.lower() in (".dcm", ".ima")
    try:
        _check_deflated(file)
        dataset: Any = pydicom.dcmread(file)
        if "PixelData" not in dataset:
            return []
        pixels = dataset.pixel_array
        grey = dataset.PhotometricInterpretation == "MONOCHROME2"
        series, factor = str(dataset.SeriesInstanceUID), _factor(dataset)
        if "PerFrameFunctionalGroupsSequence" in dataset:
            frames = _frames(dataset)
            pixels = pixels[None] if pixels.ndim == 2 else pixels
        else:
            frames, pixels = [dataset], pixels[None]
        numbers = [{name: _numbers(frame, name) for name in _NUMBERS} for frame in frames]
        stated = [(series, dicom_b_value(frame), factor) for frame in frames]
    except ReconError:
        raise
    except InvalidDicomError as error:
        if named:
            raise ReconError(f"{file}: not a DICOM file") from error
        return []
    except Exception as error:  # pydicom and its decoders raise many kinds for a damaged file
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise ReconError(f"{file}: not readable as DICOM ({said})") from error
    if pixels.ndim != 3 or len(pixels) != len(frames) or not grey:
        raise ReconError(f"{file}: neither a single grey-scale slice nor an enhanced image of such slices")
    return [_placed(file, *one) for one in zip(stated, pixels, numbers, strict=True)]


def _frames(dataset: Any) -> list[Any]:
    """Of an enhanced image, each frame's functional groups as one data set: its own, then those that all share."""
    from pydicom.dataset import Dataset

    found = []
    shared = next(iter(dataset.get("SharedFunctionalGroupsSequence") or ()), Dataset())
    for own in dataset.PerFrameFunctionalGroupsSequence:
        frame = Dataset()
        for groups in (shared, own):
            for name in _GROUPS:
                for item in groups.get(name) or ():
                    frame.update({element.tag: element for element in item})
        found.append(frame)
    return found


# Elements that are read as numbers, with how many they are; those with a default may be absent.
_NUMBERS: dict[str, tuple[int, float | None]] = {
    "RescaleSlope": (1, 1.0), "RescaleIntercept": (1, 0.0), "ImageOrientationPatient": (6, None),
    "ImagePositionPatient": (3, None), "PixelSpacing": (2, None), "SpacingBetweenSlices": (1, 0.0),
    "SliceThickness": (1, 0.0),
}  # fmt: skip


# Functional groups of enhanced images that say where a frame lies, what its numbers are, and its b-value.
_GROUPS = (
    "PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence", "PixelValueTransformationSequence",
    "MRDiffusionSequence",
)  # fmt: skip


def _numbers(dataset: Any, name: str) -> NDArray[np.float64]:
    count, default = _NUMBERS[name]
    value = dataset.get(name)
    if value is None or value == "":
        if default is None:
            raise ValueError(f"{name} is missing")
        return np.array([default])
    numbers = np.atleast_1d(np.asarray(value, np.float64))
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(f"{name} is {str(value)[:80]}, not {count} finite number{'s' * (count > 1)}")
    return numbers


def _placed(
    file: Path, said: tuple[str, float | None, float], pixels: NDArray[Any], numbers: dict[str, NDArray[np.float64]]
) -> _Slice:
    axes = numbers["ImageOrientationPatient"].reshape(2, 3)
    if not np.allclose(axes @ axes.T, np.eye(2), atol=1e-2):
        raise ReconError(
            f"{file}: ImageOrientationPatient is not two perpendicular directions; export the series again"
        )
    row, column = map(float, numbers["PixelSpacing"])
    # Some writers give the distance a sign, which positions tell better.
    thickness = abs(float(numbers["SpacingBetweenSlices"][0])) or float(numbers["SliceThickness"][0]) or 1.0
    if not all(0 < length < LARGEST_VOXEL for length in (row, column, thickness)):
        raise ReconError(f"{file}: voxel size is {row:g} x {column:g} x {thickness:g} mm; export the series again")
    slope = float(numbers["RescaleSlope"][0]) or 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        image = pixels.astype(np.float32) * np.float32(slope) + np.float32(numbers["RescaleIntercept"][0])
    if not np.isfinite(image).all():
        raise ReconError(f"{file}: has values that are NaN, infinite or too large; export the series again")
    series, b_value, factor = said
    return _Slice(file, series, image, axes, numbers["ImagePositionPatient"], (row, column, thickness), b_value, factor)


def _factor(dataset: Any) -> float:
    """By what recon multiplied a scan's own units, in a series that it wrote."""
    group, creator, element = PRIVATE
    try:
        factor = float(dataset.private_block(group, creator)[element].value)
    except (KeyError, TypeError, ValueError):
        return 1.0
    return factor if 0 < factor < np.inf else 1.0


def _check_deflated(file: Path) -> None:
    """Raises ReconError when a data set is packed and unpacks to more than its bytes may stand for."""
    from pydicom.filereader import read_file_meta_info, read_preamble
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    with file.open("rb") as stream:
        if read_preamble(stream, force=True) is None:
            return
    meta = read_file_meta_info(file)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    packed = file.read_bytes()
    start = 132 + 12 + int(meta.FileMetaInformationGroupLength)
    unpacking, size, rest = zlib.decompressobj(-zlib.MAX_WBITS), 0, packed[start:]
    while rest and not unpacking.eof:
        size += len(unpacking.decompress(rest, 1 << 24))
        rest = unpacking.unconsumed_tail
        check_declared(file, "its deflated data set", size, len(packed), packed=True)
