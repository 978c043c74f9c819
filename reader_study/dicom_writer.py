"""The one DICOM writer for all arms: MR Image Storage from scratch, from a whitelist and nothing else.

Every attribute is either a constant, a random identifier, or a fact that both arms of a case share (matrix, spacing,
window). Nothing is copied from a source header. Pixels are uncompressed, because a compressed size tracks smoothness.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from reader_study.geometry import Position
from recon.images.laterality import PAIRED_BODY_PARTS

# Row and column directions of the display planes in DICOM's patient coordinates (LPS), and the slice step.
_GEOMETRY = {
    "axial": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "coronal": ((1, 0, 0), (0, 0, -1), (0, -1, 0)),
    "sagittal": ((0, 1, 0), (0, 0, -1), (1, 0, 0)),
}
_TO_LPS = np.array([-1.0, -1.0, 1.0])  # of a direction or a place in RAS
IMPLEMENTATION = "2.25.193437013465170929148193853310327283471"  # constant, names this writer
TIMESTAMP = 946_684_800  # 2000-01-01, the modification time of everything that is exported


def random_uid(secret: bytes) -> str:
    """A DICOM UID under 2.25 from 16 random bytes, always 44 characters long so that its length tells nothing."""
    span = 2**128 - 10**38
    return f"2.25.{10**38 + int.from_bytes(secret, 'big') % span}"


@dataclass(frozen=True)
class SeriesIdentity:
    """The random identifiers of one series."""

    patient_id: str
    study_uid: str
    series_uid: str
    frame_uid: str
    instance_uids: tuple[str, ...]  # one a slice
    number: int = 1  # Series Number: the sequence's place in the protocol
    description: str = ""  # Series Description: the sequence's name, the same in all arms


@dataclass(frozen=True)
class SeriesGeometry:
    """What both arms of a case share."""

    spacing: tuple[float, float, float]  # mm along slice, row, column
    plane: str
    window: tuple[int, int]  # centre, width
    body_part: str = "HEAD"
    position: Position | None = None  # of several sequences in one study, which lie in one frame of reference


def series_datasets(
    pixels: NDArray[np.uint16], geometry: SeriesGeometry, identity: SeriesIdentity
) -> Iterator[Dataset]:
    """The datasets of one series, slice by slice; one object is changed in place and given again.

    ``pixels`` is ``[slice, row, column]`` with 12 bits.
    """
    dataset = Dataset()
    dataset.file_meta = _meta()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    dataset.SOPClassUID = MRImageStorage
    _identify(dataset, identity)
    _say_nothing(dataset)
    _place(dataset, geometry)
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape[1:]
    dataset.BitsAllocated = 16
    dataset.BitsStored = 12
    dataset.HighBit = 11
    dataset.PixelRepresentation = 0
    _, _, across = _directions(geometry)
    origin = np.zeros(3) if geometry.position is None else _TO_LPS * geometry.position.origin
    step = float(_decimal(geometry.spacing[0]))
    for index, image in enumerate(pixels):
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID(identity.instance_uids[index])
        dataset.InstanceNumber = index + 1
        dataset.ImagePositionPatient = [_decimal(value) for value in origin + across * step * index]
        dataset.PixelData = image.astype("<u2").tobytes()
        yield dataset


def _meta() -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION)
    meta.ImplementationVersionName = "READERSTUDY1"
    return meta


def _identify(dataset: Dataset, identity: SeriesIdentity) -> None:
    """Random identifiers, and that the patient's are gone."""
    dataset.PatientName = f"Blinded^{identity.patient_id}"
    dataset.PatientID = identity.patient_id
    dataset.StudyInstanceUID = identity.study_uid
    dataset.SeriesInstanceUID = identity.series_uid
    dataset.FrameOfReferenceUID = identity.frame_uid
    dataset.SeriesNumber = identity.number
    if identity.description:
        dataset.SeriesDescription = identity.description
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Written anew: pixels and geometry only"
    method = Dataset()
    method.CodeValue = "113100"
    method.CodingSchemeDesignator = "DCM"
    method.CodeMeaning = "Basic Application Confidentiality Profile"
    dataset.DeidentificationMethodCodeSequence = Sequence([method])


def _say_nothing(dataset: Dataset) -> None:
    """Attributes that the standard demands, constant or empty."""
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = "20000101"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "000000"
    for keyword in ("AccessionNumber", "Manufacturer", "ReferringPhysicianName", "PatientBirthDate", "PatientSex"):
        setattr(dataset, keyword, "")
    dataset.Modality = "MR"
    dataset.ScanningSequence = "RM"
    dataset.SequenceVariant = "NONE"
    dataset.ScanOptions = ""
    dataset.MRAcquisitionType = "2D"
    dataset.RepetitionTime = dataset.EchoTime = dataset.EchoTrainLength = None
    dataset.PatientPosition = "HFS"
    dataset.StudyID = "1"
    dataset.PositionReferenceIndicator = ""


def _place(dataset: Dataset, geometry: SeriesGeometry) -> None:
    """Body part, grid and window."""
    dataset.BodyPartExamined = geometry.body_part
    if geometry.body_part in PAIRED_BODY_PARTS:
        dataset.Laterality = ""  # which side stays unknown
    dataset.SliceThickness = dataset.SpacingBetweenSlices = _decimal(geometry.spacing[0])
    dataset.PixelSpacing = [_decimal(value) for value in geometry.spacing[1:]]
    right, down, _ = _directions(geometry)
    dataset.ImageOrientationPatient = [_decimal(value) for value in (*right, *down)]
    dataset.WindowCenter, dataset.WindowWidth = map(str, geometry.window)


def _directions(geometry: SeriesGeometry) -> tuple[NDArray[np.float64], ...]:
    """Of rows, of columns, and from slice to slice, in LPS."""
    if geometry.position is None:
        return tuple(np.array(axis, np.float64) for axis in _GEOMETRY.get(geometry.plane, _GEOMETRY["axial"]))
    across, down, right = (_TO_LPS * axis for axis in geometry.position.axes)
    return right, down, across


def stamp(path: Path) -> None:
    """Give a file or folder the constant modification and access time."""
    os.utime(path, (TIMESTAMP, TIMESTAMP))


def _decimal(value: float) -> str:
    """A DICOM decimal string; the same value is always the same text. ``0.0`` and ``-0.0`` are ``0``."""
    return f"{value + 0.0:.6g}" if value else "0"
