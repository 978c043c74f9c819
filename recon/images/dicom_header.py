"""What every file of a derived MR series states about it (PS3.3 A.4), without any patient identity."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_PAIRED = ("KNEE", "HIP", "SHOULDER", "ELBOW", "WRIST", "HAND", "ANKLE", "FOOT", "BREAST", "EYE", "EAR")


@dataclass(frozen=True)
class DicomSeries:
    """What a series says of itself, and which others it belongs to.

    derivation: what was done to the data, for DerivationDescription. facts: tr_ms, te_ms, ti_ms, flip_angle_deg,
    field_strength_t where known. slice_thickness: mm, when it differs from the distance of the slices. UIDs are random;
    give ``study_uid`` and ``frame_of_reference_uid`` to keep several series of a scan (mean, std) together. scale:
    factor on the values, by default ``display_scale``; one factor keeps series comparable. It is recorded in the
    derivation.
    """

    derivation: str
    description: str
    contrast: str = "unknown"
    facts: Mapping[str, str | float | int] = field(default_factory=dict)
    slice_thickness: float | None = None
    body_part: str = "HEAD"
    number: int = 1
    study_uid: str | None = None
    frame_of_reference_uid: str | None = None
    scale: float | None = None


def series_attributes(series: DicomSeries, scale: float) -> dict[str, Any]:
    """The attributes, by keyword, that all slices of the series share; ``scale`` was applied to the values."""
    from pydicom.uid import generate_uid

    facts = series.facts
    derivation = f"{series.derivation}; values are {scale:g} times the scan's own units"
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
        "SoftwareVersions": f"recon {_version()}",
        "ReferringPhysicianName": "",
        "SeriesDescription": series.description[:64],
        "ProtocolName": series.contrast[:64],
        "DerivationDescription": derivation[:1024],
        "PatientName": "",
        "PatientID": "",
        "PatientBirthDate": "",
        "PatientSex": "",
        "PatientIdentityRemoved": "YES",
        "DeidentificationMethod": "written by recon without patient attributes",
        "BodyPartExamined": series.body_part,
        "ScanningSequence": ["RM", "IR"] if "ti_ms" in facts else "RM",
        "SequenceVariant": "NONE",
        "ScanOptions": "",
        "MRAcquisitionType": "2D",
        "RepetitionTime": _known(facts, "tr_ms"),
        "EchoTime": _known(facts, "te_ms"),
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
    if series.body_part in _PAIRED:
        values["Laterality"] = ""  # which side is not known; the attribute must be there
    for name, keyword in (
        ("ti_ms", "InversionTime"),
        ("flip_angle_deg", "FlipAngle"),
        ("field_strength_t", "MagneticFieldStrength"),
    ):
        if name in facts:
            values[keyword] = decimal(float(facts[name]))
    return values


def _known(facts: Mapping[str, str | float | int], name: str) -> float | str:
    return decimal(float(facts[name])) if name in facts else ""


def decimal(value: float) -> float:
    """The nearest number that fits DICOM's 16-character decimal string."""
    return float(f"{value:.8g}") + 0.0  # no negative zero


def _version() -> str:
    try:
        return version("recon")
    except PackageNotFoundError:
        return "development"
