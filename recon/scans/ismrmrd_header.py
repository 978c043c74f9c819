"""The ISMRMRD XML header, which fastMRI and ISMRMRD files share: matrix, field of view, encoding limits, and the
scanner and sequence.

Only what reconstruction needs is read; subject, study and measurement identity are never touched.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from xml.etree import ElementTree

from recon.contrast_names import contrast_of_protocol
from recon.errors import ReconError
from recon.header import LARGEST_B_VALUE, UNSTATED, Header, header_from

LARGEST_MATRIX = 65535  # the scanners' counters have sixteen bits
LARGEST_FIELD_OF_VIEW = 10_000.0  # mm
_NAMESPACE = "http://www.ismrm.org/ISMRMRD"
# Where the fields of our header stand in the XML; their units are the same there.
PLACES = {
    "acquisitionSystemInformation/systemFieldStrength_T": "field_strength_t",
    "sequenceParameters/TR": "repetition_time_ms",
    "sequenceParameters/TE": "echo_time_ms",
    "sequenceParameters/TI": "inversion_time_ms",
    "sequenceParameters/flipAngle_deg": "flip_angle_deg",
    "sequenceParameters/echo_spacing": "echo_spacing_ms",
    "acquisitionSystemInformation/relativeReceiverNoiseBandwidth": "relative_noise_bandwidth",
    "acquisitionSystemInformation/systemVendor": "vendor",
    "acquisitionSystemInformation/systemModel": "model",
    "sequenceParameters/sequence_type": "sequence",
    "measurementInformation/patientPosition": "patient_position",
}


@dataclass(frozen=True)
class EncodingLimit:
    """First, last and central encoded line of one k-space axis, as the scanner numbers them."""

    minimum: int
    maximum: int
    center: int


@dataclass(frozen=True)
class Encoding:
    """One encoding of an ISMRMRD header. Sizes are (readout, phase, partition); fields of view in mm."""

    encoded_matrix: tuple[int, int, int]
    encoded_fov: tuple[float, float, float]
    recon_matrix: tuple[int, int, int]
    recon_fov: tuple[float, float, float]
    limits: Mapping[str, EncodingLimit] = field(default_factory=dict)  # kspace_encoding_step_1, slice, average ...
    trajectory: str = "cartesian"
    calibration_mode: str = ""  # embedded, interleaved, separate, external ... ; empty when the header is silent
    contrast: str = "unknown"  # as far as the protocol's name tells
    scan: Header = UNSTATED  # with the slice thickness of this encoding


def parse_encodings(xml: bytes | str, path: str | PathLike[str]) -> list[Encoding]:
    """The encodings of an ISMRMRD header. Raises ReconError when it is not one, naming ``path``."""
    text = xml.decode("utf-8", "replace") if isinstance(xml, bytes) else xml
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ReconError(f"{path}: the ISMRMRD header declares entities, which no scanner writes; refusing to parse it")
    try:
        root = ElementTree.fromstring(text)
        for element in root.iter():  # the namespace differs between converters and says nothing
            element.tag = element.tag.rpartition("}")[2]
        scan = _scan_header(root)
        contrast = contrast_of_protocol(root.findtext("measurementInformation/protocolName") or "")
        encodings = [_encoding(element, scan, contrast) for element in root.findall("encoding")]
    except (ElementTree.ParseError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        said = " ".join(str(error).split())[:200]
        raise ReconError(f"{path}: the ISMRMRD header is not readable ({said}); export the scan again") from error
    if not encodings:
        raise ReconError(f"{path}: the ISMRMRD header names no encoding; export the scan again")
    return encodings


def build_xml(encoded: Encoding) -> str:
    """The XML text of one encoding: the inverse of ``parse_encodings`` for what it reads."""
    root = ElementTree.Element("ismrmrdHeader", xmlns=_NAMESPACE)
    sections: dict[str, ElementTree.Element] = {}
    for section in ("measurementInformation", "acquisitionSystemInformation", "experimentalConditions", "encoding"):
        sections[section] = ElementTree.SubElement(root, section)
    field_strength = encoded.scan.field_strength_t or 3.0  # the XML demands a frequency
    _text(sections["experimentalConditions"], "H1resonanceFrequency_Hz", round(42577478.92 * field_strength))
    encoding = sections["encoding"]
    for space, matrix, fov in (
        ("encodedSpace", encoded.encoded_matrix, encoded.encoded_fov),
        ("reconSpace", encoded.recon_matrix, encoded.recon_fov),
    ):
        element = ElementTree.SubElement(encoding, space)
        for name, values in (("matrixSize", matrix), ("fieldOfView_mm", fov)):
            triple = ElementTree.SubElement(element, name)
            for axis, value in zip("xyz", values, strict=True):
                _text(triple, axis, value)
    limits = ElementTree.SubElement(encoding, "encodingLimits")
    for name, limit in encoded.limits.items():
        element = ElementTree.SubElement(limits, name)
        for key in ("minimum", "maximum", "center"):
            _text(element, key, getattr(limit, key))
    _text(encoding, "trajectory", encoded.trajectory)
    sections["sequenceParameters"] = ElementTree.SubElement(root, "sequenceParameters")
    known = encoded.scan.known()
    for place, name in PLACES.items():
        if name in known:
            section, _, tag = place.partition("/")
            _text(sections[section], tag, known[name])
    for element in list(sections.values()):
        if not len(element):
            root.remove(element)
    return ElementTree.tostring(root, encoding="unicode")


def _text(parent: ElementTree.Element, name: str, value: object) -> None:
    ElementTree.SubElement(parent, name).text = str(value)


def _scan_header(root: ElementTree.Element) -> Header:
    texts = {name: (root.findtext(place) or "").strip() for place, name in PLACES.items()}
    header = header_from({name: text for name, text in texts.items() if text})
    if b_values := {float(found.text or "") for found in root.findall("sequenceParameters/diffusion/bvalue")}:
        if not all(0 <= value <= LARGEST_B_VALUE for value in b_values):
            raise ValueError(f"bvalue is not from 0 to {LARGEST_B_VALUE:g} s/mm^2")
        # Several are those of a series; which of them one image has is not in the header.
        header = replace(header, b_value_s_per_mm2=b_values.pop() if len(b_values) == 1 else None)
    if header.relative_noise_bandwidth is not None and not 0 < header.relative_noise_bandwidth <= 1:
        raise ValueError(f"relativeReceiverNoiseBandwidth is {header.relative_noise_bandwidth:g}, not from 0 to 1")
    return header


def _encoding(element: ElementTree.Element, scan: Header, contrast: str) -> Encoding:
    encoded, recon = (_matrix(element, f"{space}/matrixSize") for space in ("encodedSpace", "reconSpace"))
    encoded_fov, recon_fov = (_lengths(element, f"{space}/fieldOfView_mm") for space in ("encodedSpace", "reconSpace"))
    limits = {}
    for limit in element.findall("encodingLimits/*"):
        values = [limit.findtext(key) for key in ("minimum", "maximum", "center")]
        if all(value is not None for value in values):
            limits[limit.tag] = EncodingLimit(*(_counter(value, limit.tag) for value in values if value is not None))
    thickness = recon_fov[2] if math.isfinite(recon_fov[2]) else None
    return Encoding(
        encoded_matrix=encoded,
        encoded_fov=encoded_fov,
        recon_matrix=recon,
        recon_fov=recon_fov,
        limits=limits,
        trajectory=(element.findtext("trajectory") or "cartesian").strip().lower(),
        calibration_mode=(element.findtext("parallelImaging/calibrationMode") or "").strip().lower(),
        contrast=contrast,
        scan=replace(scan, slice_thickness_mm=thickness),
    )


def _counter(text: str, name: str) -> int:
    """A whole number as scanners count; converters write 256.0, too. Raises ValueError for any other."""
    number = float(text[:40])
    if not (number.is_integer() and 0 <= number <= LARGEST_MATRIX):
        raise ValueError(f"{name} is {text[:40]}, not a whole number from 0 to {LARGEST_MATRIX}")
    return int(number)


def _matrix(element: ElementTree.Element, place: str) -> tuple[int, int, int]:
    x, y, z = (_counter(element.findtext(f"{place}/{axis}") or "nan", f"{place}/{axis}") for axis in "xyz")
    return x, y, z


def _lengths(element: ElementTree.Element, place: str) -> tuple[float, float, float]:
    """Millimetres, NaN where the header does not say. Raises ValueError for what cannot be a length."""

    def length(axis: str) -> float:
        text = (element.findtext(f"{place}/{axis}") or "").strip()
        number = float(text) if text else math.nan
        if text and text.lower() != "nan" and not 0 < number <= LARGEST_FIELD_OF_VIEW:
            raise ValueError(f"{place}/{axis} is {text[:40]}, not a length in mm")
        return number

    return length("x"), length("y"), length("z")
