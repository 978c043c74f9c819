"""Enhanced MR: a whole volume as one multi-frame instance (PS3.3 A.36), which newer archives and viewers prefer.

What all slices share stands in the shared functional groups, their positions in one group a frame. The image is a
derived one: what only an original image must state (pulse sequence, coils, timing with its safety limits) is left out.
The derivation is described at the root as in classic series, which readers know; the standard would have it in a group
that names source images, and there are none: what was measured is no DICOM.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.atomic import atomic_path
from recon.errors import ReconError
from recon.images.dicom import DicomSeries, LaidOut, decimal, laid_out, put, save

_CONTRASTS = {
    "T1": "T1", "T1POST": "T1", "T2": "T2", "PD": "PROTON_DENSITY", "FLAIR": "FLUID_ATTENUATED", "DWI": "DIFFUSION",
    "DWI-B0": "DIFFUSION", "T2STAR": "T2_STAR",
}  # fmt: skip
# SNOMED CT codes of the regions that a series may name, and whether there are two of them.
_REGIONS = {
    "HEAD": ("69536005", "Head", False),
    "BRAIN": ("12738006", "Brain", False),
    "KNEE": ("72696002", "Knee", True),
}
# Attributes of classic images that stand in functional groups here, or nowhere.
_CLASSIC = frozenset({
    "ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", "RepetitionTime",
    "EchoTime", "EchoTrainLength", "InversionTime", "FlipAngle", "DiffusionBValue", "Manufacturer", "SoftwareVersions",
    "Laterality",
})  # fmt: skip


def write_dicom_enhanced(path: str | Path, images: NDArray, series: DicomSeries, deviation: bool = False) -> Path:
    """Write real images ``[slice, readout, phase]`` as one Enhanced MR Image Storage instance; ``deviation``: they are
    standard deviations, not an image of the patient.

    The file appears complete or not at all. Raises ReconError for a body part that has no code here, and as
    ``write_dicom_series`` does.
    """
    from pydicom.dataset import Dataset
    from pydicom.uid import EnhancedMRImageStorage, generate_uid

    path = Path(path)
    if series.body_part not in _REGIONS:
        raise ReconError(
            f"{path}: no code is known for body part {series.body_part}; choose from {', '.join(_REGIONS)}"
        )
    laid = laid_out(path, images, series)
    kind = _kind(series, deviation)
    dataset = Dataset()
    put(dataset, {keyword: value for keyword, value in laid.common.items() if keyword not in _CLASSIC})
    dataset.SOPInstanceUID = generate_uid(prefix=None)
    dataset.InstanceNumber = 1
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = laid.stored.shape
    put(
        dataset, {name: value for name, value in kind.items() if name != "FrameType"} | {"ImageType": kind["FrameType"]}
    )
    put(dataset, {
        "Manufacturer": "recon (open source)", "ManufacturerModelName": "recon", "DeviceSerialNumber": "none",
        "SoftwareVersions": laid.common["SoftwareVersions"], "PresentationLUTShape": "IDENTITY",
        "AcquisitionContextSequence": [], "ContentQualification": "RESEARCH",
        "ApplicableSafetyStandardAgency": "IEC",  # demanded; IEC 60601-2-33 is what MR scanners are made to
    })  # fmt: skip
    organisation = generate_uid(prefix=None)
    dataset.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=organisation)]
    dataset.DimensionIndexSequence = [
        _item(
            DimensionOrganizationUID=organisation,
            DimensionIndexPointer=pointer,
            FunctionalGroupPointer=0x00209111,
            DimensionDescriptionLabel=label,
        )
        for pointer, label in ((0x00209056, "Stack ID"), (0x00209057, "In-Stack Position Number"))
    ]
    dataset.SharedFunctionalGroupsSequence = [_shared(laid, series, kind)]
    dataset.PerFrameFunctionalGroupsSequence = [_frame(laid, index) for index in range(len(laid.stored))]
    with atomic_path(path) as temporary:
        save(temporary, dataset, EnhancedMRImageStorage, laid.stored)
    return path


def _item(**values: Any) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    put(item, values)
    return item


def _code(value: str, scheme: str, meaning: str) -> Any:
    return _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _kind(series: DicomSeries, deviation: bool) -> dict[str, Any]:
    """What the frames are, of the instance and of every frame (PS3.3 C.8.13.3.1)."""
    return {
        "FrameType": ["DERIVED", "PRIMARY", "VOLUME", "STD_DEVIATION" if deviation else "MEAN"],
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "VolumeBasedCalculationTechnique": "NONE",
        "ComplexImageComponent": "MAGNITUDE",
        "AcquisitionContrast": _CONTRASTS.get(series.contrast.upper(), "UNKNOWN"),
    }


def _shared(laid: LaidOut, series: DicomSeries, kind: dict[str, Any]) -> Any:
    """What holds for every frame."""
    header = series.header
    spacing = np.linalg.norm(laid.matrix[:3], axis=0)[:3]
    directions = laid.matrix[:3, :2] / spacing[:2]
    code, meaning, paired = _REGIONS[series.body_part]
    groups = {
        "PixelMeasuresSequence": _item(
            PixelSpacing=[decimal(float(value)) for value in spacing[:2]],
            SliceThickness=decimal(header.slice_thickness_mm or float(spacing[2])),
            SpacingBetweenSlices=decimal(float(spacing[2])),
        ),
        # DICOM names first the direction in which the column index grows, then that of the row index.
        "PlaneOrientationSequence": _item(
            ImageOrientationPatient=[decimal(float(value)) for value in (*directions[:, 1], *directions[:, 0])]
        ),
        "FrameAnatomySequence": _item(
            FrameLaterality="B" if paired else "U", AnatomicRegionSequence=[_code(code, "SCT", meaning)]
        ),
        "PixelValueTransformationSequence": _item(
            **{name: laid.levels[name] for name in ("RescaleSlope", "RescaleIntercept", "RescaleType")}
        ),
        "FrameVOILUTSequence": _item(**{name: laid.levels[name] for name in ("WindowCenter", "WindowWidth")}),
        "MRImageFrameTypeSequence": _item(**kind),
    }
    if header.echo_time_ms is not None:
        groups["MREchoSequence"] = _item(EffectiveEchoTime=header.echo_time_ms)
    if header.b_value_s_per_mm2 is not None:
        unweighted = header.b_value_s_per_mm2 == 0
        groups["MRDiffusionSequence"] = _item(
            DiffusionBValue=header.b_value_s_per_mm2, DiffusionDirectionality="NONE" if unweighted else "ISOTROPIC"
        )
    return _item(**{name: [item] for name, item in groups.items()})


def _frame(laid: LaidOut, index: int) -> Any:
    position = laid.matrix[:3, 3] + index * laid.matrix[:3, 2]
    return _item(
        FrameContentSequence=[_item(StackID="1", InStackPositionNumber=index + 1, DimensionIndexValues=[1, index + 1])],
        PlanePositionSequence=[_item(ImagePositionPatient=[decimal(float(value)) for value in position])],
    )
