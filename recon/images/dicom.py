"""DICOM: a reconstruction as a derived MR Image Storage series, without any patient identity.

Attributes follow PS3.3 A.4 (MR Image IOD). Coordinates become DICOM's LPS; every slice carries its true position. The
rows and columns are turned to how a radiologist expects the plane (left of the patient on the right, head up).
"""

import datetime
import io
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.atomic import temporary_folder
from recon.errors import ReconError, ReconWarning
from recon.header import UNSTATED, Header
from recon.images.laterality import PAIRED_BODY_PARTS

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
PRIVATE = (0x0077, "RECON", 0x01)  # group, creator, element: the factor from the scan's own units to the values
OWN_UNITS = "factor from the scan's own units"
_TOP = 32767  # highest stored value: fits viewers that read 16 bits as signed


@dataclass(frozen=True)
class DicomSeries:
    """What a series says of itself.

    derivation: what was done to the data, for DerivationDescription. comment: for ImageComments, for whoever reads
    any of the images. affine: (readout, phase, slice) index -> RAS+ mm;
    without it the slices lie axially around the origin and a ReconWarning says so. voxel_size: mm along readout, phase,
    slice; needed without affine. header: thickness (when it differs from the distance of the slices), times, flip angle
    and field strength where known. UIDs are random; pass ``study_uid`` and ``frame_of_reference_uid`` to keep several
    series of a scan (mean, std) together. scale: factor on the values, by default ``display_scale``; one factor keeps
    series comparable. It is recorded in the derivation.
    """

    derivation: str
    description: str
    comment: str = ""
    contrast: str = "unknown"
    voxel_size: tuple[float, float, float] | None = None
    affine: NDArray | None = None
    header: Header = UNSTATED
    body_part: str = "HEAD"
    number: int = 1
    study_uid: str | None = None
    frame_of_reference_uid: str | None = None
    scale: float | None = None


def write_dicom_series(folder: str | Path, images: NDArray, series: DicomSeries) -> list[Path]:
    """Write real images ``[slice, readout, phase]`` as one file a slice, ``IM0001.dcm`` on, into ``folder``.

    The series appears complete or not at all and replaces an earlier one in ``folder``. Raises ReconError when the
    voxel size is unknown, values are complex or not finite, or writing fails.
    """
    folder = Path(folder)
    laid = laid_out(folder, images, series)
    spacing = float(np.linalg.norm(laid.matrix[:3, 2]))
    common = laid.common | {
        **laid.levels,
        "SliceThickness": decimal(series.header.slice_thickness_mm or spacing),
        "SpacingBetweenSlices": decimal(spacing),
    }
    return _place(folder, laid.stored, laid.matrix, common)


@dataclass(frozen=True)
class LaidOut:
    """Images as they are stored: ``stored [slice, row, column]``, ``matrix`` (row, column, slice) index -> LPS mm, how
    the values are rescaled and shown, and the attributes of the whole series."""

    stored: NDArray[np.uint16]
    matrix: NDArray[np.float64]
    levels: dict[str, Any]
    common: dict[str, Any]


def laid_out(folder: Path, images: NDArray, series: DicomSeries) -> LaidOut:
    """Real images ``[slice, readout, phase]`` turned for display, as sixteen-bit values. Raises ReconError as
    ``write_dicom_series`` does."""
    if images.ndim != 3 or np.iscomplexobj(images) or 0 in images.shape:
        raise ReconError(
            f"{folder}: DICOM takes real images [slice, readout, phase], not {images.dtype} {images.shape}"
        )
    if not np.isfinite(images).all():
        raise ReconError(f"{folder}: the images have NaN or infinite values; nothing is written")
    matrix = _lps_affine(folder, images.shape, series.voxel_size, series.affine)
    factor = display_scale(images) if series.scale is None else series.scale
    pixels, matrix = _as_displayed(images * np.float64(factor), matrix)
    stored, levels = _stored(pixels)
    common = _common(
        replace(series, derivation=f"{series.derivation}; values are {factor:g} times the scan's own units")
    )
    return LaidOut(stored, matrix, levels, common | {OWN_UNITS: factor})


def _stored(pixels: NDArray) -> tuple[NDArray[np.uint16], dict[str, Any]]:
    """Sixteen-bit values, and how they are rescaled and shown."""
    intercept = min(float(pixels.min()), 0.0)
    slope = decimal((float(pixels.max()) - intercept) / _TOP or 1.0)
    intercept = decimal(intercept)
    low, high = np.percentile(pixels, (1, 99.5))
    return np.clip(np.rint((pixels - intercept) / slope), 0, 65535).astype("<u2"), {
        "RescaleSlope": slope,
        "RescaleIntercept": intercept,
        "RescaleType": "US",
        "WindowCenter": decimal((low + high) / 2),
        "WindowWidth": decimal(max(high - low, 1.0)),
    }


def _place(
    folder: Path, stored: NDArray[np.uint16], matrix: NDArray[np.float64], common: Mapping[str, Any]
) -> list[Path]:
    """Write every slice beside ``folder``, then put them there at once."""
    names = [f"IM{index + 1:04d}.dcm" for index in range(len(stored))]
    with temporary_folder(folder) as temporary:
        for index, name in enumerate(names):
            _write_slice(temporary / name, stored[index], index, matrix, common)
        folder.mkdir(exist_ok=True)
        for old in folder.glob("IM[0-9][0-9][0-9][0-9].dcm"):
            old.unlink()
        for name in names:
            (temporary / name).replace(folder / name)
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


def _common(series: DicomSeries) -> dict[str, Any]:
    """The attributes that all slices of the series share."""
    from pydicom.uid import generate_uid

    header = series.header
    now = datetime.datetime.now()
    values: dict[str, Any] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "ImageType": ["DERIVED", "SECONDARY", "OTHER"],
        "InstanceCreationDate": now.strftime("%Y%m%d"),
        "InstanceCreationTime": now.strftime("%H%M%S"),
        "StudyDate": "",
        "StudyTime": "",
        "ContentDate": now.strftime("%Y%m%d"),
        "ContentTime": now.strftime("%H%M%S"),
        "AccessionNumber": "",
        "Modality": "MR",
        "Manufacturer": "",
        "SoftwareVersions": f"recon {recon_version()}",
        "ReferringPhysicianName": "",
        "SeriesDescription": series.description[:64],
        "ProtocolName": series.contrast[:64],
        "DerivationDescription": series.derivation[:1024],
        "ContributingEquipmentSequence": [_equipment()],
        "PatientName": "",
        "PatientID": "",
        "PatientBirthDate": "",
        "PatientSex": "",
        "PatientIdentityRemoved": "YES",
        "DeidentificationMethod": "written by recon without patient attributes",
        "BodyPartExamined": series.body_part,
        "ScanningSequence": ["RM", "IR"] if header.inversion_time_ms is not None else "RM",
        "SequenceVariant": "NONE",
        "ScanOptions": "",
        "MRAcquisitionType": "2D",
        "RepetitionTime": _known(header.repetition_time_ms),
        "EchoTime": _known(header.echo_time_ms),
        "EchoTrainLength": "",
        "PatientPosition": "HFS",
        "StudyInstanceUID": series.study_uid or generate_uid(prefix=None),
        "SeriesInstanceUID": generate_uid(prefix=None),
        "StudyID": "",
        "SeriesNumber": series.number,
        "FrameOfReferenceUID": series.frame_of_reference_uid or generate_uid(prefix=None),
        "PositionReferenceIndicator": "",
        "BurnedInAnnotation": "NO",
        "LossyImageCompression": "00",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
    }
    if series.comment:
        values["ImageComments"] = series.comment[:10240]
    if series.body_part in PAIRED_BODY_PARTS:
        values["Laterality"] = ""  # which side is not known; the attribute must be there
    for keyword, value in (
        ("InversionTime", header.inversion_time_ms),
        ("FlipAngle", header.flip_angle_deg),
        ("MagneticFieldStrength", header.field_strength_t),
    ):
        if value is not None:
            values[keyword] = decimal(value)
    if header.b_value_s_per_mm2 is not None:
        values["DiffusionBValue"] = header.b_value_s_per_mm2
    return values


def _equipment() -> Any:
    """This toolkit as contributing equipment: what changed the data after the scanner (PS3.3 C.12.1.1.5)."""
    from pydicom.dataset import Dataset

    purpose, equipment = Dataset(), Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "109102", "DCM"
    purpose.CodeMeaning = "Processing Equipment"
    equipment.PurposeOfReferenceCodeSequence = [purpose]
    equipment.Manufacturer = "recon (open source)"
    equipment.ManufacturerModelName = "recon"
    equipment.SoftwareVersions = recon_version()
    equipment.ContributionDescription = "image reconstruction from raw data"
    return equipment


def _write_slice(
    path: Path, pixels: NDArray[np.uint16], index: int, matrix: NDArray[np.float64], common: Mapping[str, Any]
) -> None:
    from pydicom.dataset import Dataset
    from pydicom.uid import MRImageStorage, generate_uid

    spacing = np.linalg.norm(matrix[:3, :2], axis=0)
    directions = matrix[:3, :2] / spacing
    position = matrix[:3, 3] + index * matrix[:3, 2]
    dataset = Dataset()
    put(dataset, common)
    dataset.SOPInstanceUID = generate_uid(prefix=None)
    dataset.InstanceNumber = index + 1
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelSpacing = [decimal(float(value)) for value in spacing]
    # DICOM names first the direction in which the column index grows, then that of the row index.
    dataset.ImageOrientationPatient = [decimal(float(value)) for value in (*directions[:, 1], *directions[:, 0])]
    dataset.ImagePositionPatient = [decimal(float(value)) for value in position]
    normal = np.cross(directions[:, 1], directions[:, 0])
    dataset.SliceLocation = decimal(float(position @ normal))
    save(path, dataset, MRImageStorage, pixels)


def save(path: Path, dataset: Any, sop_class: str, pixels: NDArray[np.uint16]) -> None:
    """Write a data set with its pixels as an instance of ``sop_class``. Raises OSError when that fails."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    dataset.SOPClassUID = sop_class
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    written = io.BytesIO()  # pydicom would put its traceback into the error of a full disk
    dataset.save_as(written, enforce_file_format=True)
    path.write_bytes(written.getvalue())


def put(dataset: Any, values: Mapping[str, Any]) -> None:
    """Set attributes by their keywords, and recon's own private one."""
    for keyword, value in values.items():
        if keyword == OWN_UNITS:
            dataset.private_block(*PRIVATE[:2], create=True).add_new(PRIVATE[2], "FD", value)
        else:
            setattr(dataset, keyword, value)


def _known(value: float | None) -> float | str:
    return "" if value is None else decimal(value)


def decimal(value: float) -> float:
    """The nearest number that fits DICOM's 16-character decimal string."""
    return float(f"{value:.8g}") + 0.0  # no negative zero


def recon_version() -> str:
    try:
        return version("recon")
    except PackageNotFoundError:
        return "development"
