"""The ISMRMRD XML header, which fastMRI and ISMRMRD files share: matrix, field of view, encoding limits, facts.

Only what reconstruction needs is read; subject, study and measurement identity are never touched.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from xml.etree import ElementTree

from recon.errors import ReconError

_NAMESPACE = "http://www.ismrm.org/ISMRMRD"
_NUMBERS = {
    "acquisitionSystemInformation/systemFieldStrength_T": "field_strength_t",
    "sequenceParameters/TR": "tr_ms",
    "sequenceParameters/TE": "te_ms",
    "sequenceParameters/TI": "ti_ms",
    "sequenceParameters/flipAngle_deg": "flip_angle_deg",
    "sequenceParameters/echo_spacing": "echo_spacing_ms",
    "acquisitionSystemInformation/relativeReceiverNoiseBandwidth": "relative_noise_bandwidth",
}
_TEXTS = {
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
class Header:
    """One encoding of an ISMRMRD header. Sizes are (readout, phase, partition); fields of view in mm."""

    encoded_matrix: tuple[int, int, int]
    encoded_fov: tuple[float, float, float]
    recon_matrix: tuple[int, int, int]
    recon_fov: tuple[float, float, float]
    limits: Mapping[str, EncodingLimit] = field(default_factory=dict)  # kspace_encoding_step_1, slice, average ...
    trajectory: str = "cartesian"
    calibration_mode: str = ""  # embedded, interleaved, separate, external ... ; empty when the header is silent
    contrast: str = "unknown"  # as far as the protocol's name tells
    facts: Mapping[str, str | float | int] = field(default_factory=dict)


def parse_headers(xml: bytes | str, path: str | PathLike[str]) -> list[Header]:
    """The encodings of an ISMRMRD header. Raises ReconError when it is not one, naming ``path``."""
    text = xml.decode("utf-8", "replace") if isinstance(xml, bytes) else xml
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ReconError(f"{path}: the ISMRMRD header declares entities, which no scanner writes; refusing to parse it")
    try:
        root = ElementTree.fromstring(text)
        for element in root.iter():  # the namespace differs between converters and says nothing
            element.tag = element.tag.rpartition("}")[2]
        facts = _facts(root)
        contrast = contrast_of_protocol(root.findtext("measurementInformation/protocolName") or "")
        headers = [_encoding(element, facts, contrast) for element in root.findall("encoding")]
    except (ElementTree.ParseError, ValueError, TypeError, AttributeError) as error:
        raise ReconError(f"{path}: the ISMRMRD header is not readable ({error}); export the scan again") from error
    if not headers:
        raise ReconError(f"{path}: the ISMRMRD header names no encoding; export the scan again")
    return headers


def build_header(header: Header) -> str:
    """The XML text of one encoding: the inverse of ``parse_headers`` for what it reads."""
    root = ElementTree.Element("ismrmrdHeader", xmlns=_NAMESPACE)
    names = {**_NUMBERS, **_TEXTS}
    sections: dict[str, ElementTree.Element] = {}
    for section in ("measurementInformation", "acquisitionSystemInformation", "experimentalConditions", "encoding"):
        sections[section] = ElementTree.SubElement(root, section)
    field_strength = float(header.facts.get("field_strength_t", 3.0))
    _text(sections["experimentalConditions"], "H1resonanceFrequency_Hz", round(42577478.92 * field_strength))
    encoding = sections["encoding"]
    for space, matrix, fov in (
        ("encodedSpace", header.encoded_matrix, header.encoded_fov),
        ("reconSpace", header.recon_matrix, header.recon_fov),
    ):
        element = ElementTree.SubElement(encoding, space)
        for name, values in (("matrixSize", matrix), ("fieldOfView_mm", fov)):
            triple = ElementTree.SubElement(element, name)
            for axis, value in zip("xyz", values, strict=True):
                _text(triple, axis, value)
    limits = ElementTree.SubElement(encoding, "encodingLimits")
    for name, limit in header.limits.items():
        element = ElementTree.SubElement(limits, name)
        for key in ("minimum", "maximum", "center"):
            _text(element, key, getattr(limit, key))
    _text(encoding, "trajectory", header.trajectory)
    sections["sequenceParameters"] = ElementTree.SubElement(root, "sequenceParameters")
    for place, name in names.items():
        if name in header.facts:
            section, _, tag = place.partition("/")
            _text(sections[section], tag, header.facts[name])
    for element in list(sections.values()):
        if not len(element):
            root.remove(element)
    return ElementTree.tostring(root, encoding="unicode")


def _text(parent: ElementTree.Element, name: str, value: object) -> None:
    ElementTree.SubElement(parent, name).text = str(value)


def _facts(root: ElementTree.Element) -> dict[str, str | float | int]:
    facts: dict[str, str | float | int] = {}
    for place, name in _NUMBERS.items():
        text = root.findtext(place)
        if text is not None and text.strip():
            facts[name] = float(text)
    for place, name in _TEXTS.items():
        text = root.findtext(place)
        if text is not None and text.strip():
            facts[name] = text.strip()
    return facts


def contrast_of_protocol(name: str) -> str:
    """The contrast that a protocol's name states, e.g. ``t2_tse_tra`` -> T2; "unknown" when it states none or two."""
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    if words & {"flair", "tirm"} or "darkfluid" in name.lower().replace("_", "").replace("-", ""):
        return "FLAIR"
    found = {contrast for contrast in ("T1", "T2", "PD", "DWI") if contrast.lower() in words}
    if len(found) != 1:
        return "unknown"
    contrast = found.pop()
    return "T1POST" if contrast == "T1" and words & {"post", "gd", "km", "ce"} else contrast


def _encoding(element: ElementTree.Element, facts: Mapping[str, str | float | int], contrast: str) -> Header:
    def triple(place: str) -> list[float]:
        return [float(element.findtext(f"{place}/{axis}") or "nan") for axis in "xyz"]

    encoded, recon = triple("encodedSpace/matrixSize"), triple("reconSpace/matrixSize")
    encoded_fov, recon_fov = triple("encodedSpace/fieldOfView_mm"), triple("reconSpace/fieldOfView_mm")
    limits = {}
    for limit in element.findall("encodingLimits/*"):
        values = [limit.findtext(key) for key in ("minimum", "maximum", "center")]
        if all(value is not None for value in values):
            limits[limit.tag] = EncodingLimit(*(int(value) for value in values if value is not None))
    return Header(
        encoded_matrix=(int(encoded[0]), int(encoded[1]), int(encoded[2])),
        encoded_fov=(encoded_fov[0], encoded_fov[1], encoded_fov[2]),
        recon_matrix=(int(recon[0]), int(recon[1]), int(recon[2])),
        recon_fov=(recon_fov[0], recon_fov[1], recon_fov[2]),
        limits=limits,
        trajectory=(element.findtext("trajectory") or "cartesian").strip().lower(),
        calibration_mode=(element.findtext("parallelImaging/calibrationMode") or "").strip().lower(),
        contrast=contrast,
        facts=facts,
    )
