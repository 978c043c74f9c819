"""The one DICOM writer for all arms: MR Image Storage from scratch, from a whitelist and nothing else.

Every attribute is either a constant, a random identifier, or a fact that both arms of a case share (matrix, spacing,
window). Nothing is copied from a source header. Pixels are uncompressed, because a compressed size tracks smoothness.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

# Row and column directions of the display planes in DICOM's patient coordinates (LPS), and the slice step.
_GEOMETRY = {
    "axial": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "coronal": ((1, 0, 0), (0, 0, -1), (0, -1, 0)),
    "sagittal": ((0, 1, 0), (0, 0, -1), (1, 0, 0)),
}
# Body parts on two sides need the attribute Laterality, which we leave empty; the others may not have it.
_PAIRED_PARTS = {
    *("ANKLE", "ARM", "BREAST", "CLAVICLE", "ELBOW", "EXTREMITY", "EYE", "FEMUR", "FINGER", "FOOT", "FOREARM", "HAND"),
    *(
        "HIP",
        "HUMERUS",
        "KNEE",
        "LEG",
        "RADIUS",
        "SCAPULA",
        "SHOULDER",
        "THIGH",
        "THUMB",
        "TIBIA",
        "TOE",
        "ULNA",
        "WRIST",
    ),
}
IMPLEMENTATION = "2.25.193437013465170929148193853310327283471"  # constant, names this writer
TIMESTAMP = 946_684_800  # 2000-01-01, the modification time of everything that is exported


def random_uid(secret: bytes) -> str:
    """A DICOM UID under 2.25 from 16 random bytes, always 44 characters long so that its length tells nothing."""
    span = 2**128 - 10**38
    return f"2.25.{10**38 + int.from_bytes(secret, 'big') % span}"


def series_datasets(
    pixels: NDArray[np.uint16],
    *,
    spacing: tuple[float, float, float],
    plane: str,
    window: tuple[int, int],
    body_part: str,
    patient_id: str,
    study_uid: str,
    series_uid: str,
    frame_uid: str,
    instance_uids: list[str],
) -> Iterator[Dataset]:
    """The datasets of one series, slice by slice; one object is changed in place and given again.

    ``pixels`` is ``[slice, row, column]`` with 12 bits; ``spacing`` in mm along slice, row, column.
    """
    right, down, across = (np.array(axis) for axis in _GEOMETRY.get(plane, _GEOMETRY["axial"]))
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION)
    meta.ImplementationVersionName = "READERSTUDY1"
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    dataset.SOPClassUID = MRImageStorage
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = "20000101"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "000000"
    dataset.AccessionNumber = ""
    dataset.Modality = "MR"
    dataset.Manufacturer = ""
    dataset.ReferringPhysicianName = ""
    dataset.PatientName = f"Blinded^{patient_id}"
    dataset.PatientID = patient_id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = ""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Written anew: pixels and geometry only"
    method = Dataset()
    method.CodeValue = "113100"
    method.CodingSchemeDesignator = "DCM"
    method.CodeMeaning = "Basic Application Confidentiality Profile"
    dataset.DeidentificationMethodCodeSequence = Sequence([method])
    dataset.BodyPartExamined = body_part
    if body_part in _PAIRED_PARTS:
        dataset.Laterality = ""
    dataset.ScanningSequence = "RM"
    dataset.SequenceVariant = "NONE"
    dataset.ScanOptions = ""
    dataset.MRAcquisitionType = "2D"
    dataset.SliceThickness = _decimal(spacing[0])
    dataset.RepetitionTime = None
    dataset.EchoTime = None
    dataset.SpacingBetweenSlices = _decimal(spacing[0])
    dataset.EchoTrainLength = None
    dataset.PatientPosition = "HFS"
    dataset.StudyInstanceUID = study_uid
    dataset.SeriesInstanceUID = series_uid
    dataset.StudyID = "1"
    dataset.SeriesNumber = 1
    dataset.ImageOrientationPatient = [int(value) for value in (*right, *down)]
    dataset.FrameOfReferenceUID = frame_uid
    dataset.PositionReferenceIndicator = ""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape[1:]
    dataset.PixelSpacing = [_decimal(spacing[1]), _decimal(spacing[2])]
    dataset.BitsAllocated = 16
    dataset.BitsStored = 12
    dataset.HighBit = 11
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth = map(str, window)
    for index, image in enumerate(pixels):
        meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID(instance_uids[index])
        dataset.InstanceNumber = index + 1
        position = across * float(_decimal(spacing[0])) * index
        dataset.ImagePositionPatient = [_decimal(value) for value in position]
        dataset.PixelData = image.astype("<u2").tobytes()
        yield dataset


def stamp(path: Path) -> None:
    """Give a file or folder the constant modification and access time."""
    os.utime(path, (TIMESTAMP, TIMESTAMP))


def _decimal(value: float) -> str:
    """A DICOM decimal string; the same value is always the same text. ``0.0`` and ``-0.0`` are ``0``."""
    return f"{value + 0.0:.6g}" if value else "0"
