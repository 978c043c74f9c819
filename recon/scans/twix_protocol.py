"""The text header of Siemens raw data: the protocol, as far as a reconstruction needs it.

The header is a list of named texts. ``MeasYaps`` is the protocol as assignments (``sKSpace.lBaseResolution = 256``);
``Dicom`` and ``Meas`` hold ``<ParamString."ManufacturersModelName"> { "..." }``. Only the parameters named here are
looked for; name, birth date, weight and the like of the patient stand in the same texts and are never read.
"""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from recon.contrast_names import contrast_of_protocol
from recon.errors import ReconError
from recon.header import LARGEST_B_VALUE, Header
from recon.scans.ismrmrd_header import (
    LARGEST_FIELD_OF_VIEW,
    LARGEST_MATRIX,
    Encoding,
)
from recon.scans.twix_file import REMEDY

_TRAJECTORIES = {1: "cartesian", 2: "radial", 4: "spiral", 8: "blade (propeller)"}
_REFERENCE_MODES = {
    2: "embedded",
    4: "separate",
    8: "separate",
    16: "interleaved",
    32: "interleaved",
    64: "interleaved",
}
_NO_INVERSION = 4  # of sPrepPulses.ucInversion
THREE_DIMENSIONS = 4  # of sKSpace.ucDimension
# The part of the noise scan's bandwidth that the receiver lets through: siemens_to_ismrmrd states it for every file.
RELATIVE_NOISE_BANDWIDTH = 0.793
_ASSIGNMENT = re.compile(r"^[ \t]*([\w.\[\]]{1,120})[ \t]*=[ \t]*(.{0,400}?)[ \t\r]*$", re.MULTILINE)


class Protocol:
    """Parameters of one measurement by name. Raises ReconError, naming the parameter, for what cannot be."""

    def __init__(self, path: Path, text: bytes) -> None:
        self.path = path
        self._texts = _named_texts(path, text)
        protocol = self._texts.get("MeasYaps") or self._texts.get("Phoenix") or ""
        begin, end = protocol.find("### ASCCONV BEGIN"), protocol.find("### ASCCONV END")
        if begin >= 0 and end > begin:
            protocol = protocol[begin:end]
        self._values = dict(_ASSIGNMENT.findall(protocol))
        if not self._values:
            raise ReconError(f"{path}: its header holds no protocol (MeasYaps); {REMEDY}")

    def text(self, name: str) -> str:
        """The text of a parameter; empty when it is not stated."""
        return str(self._values.get(name, "")).strip().strip('"').strip()

    def number(self, name: str, default: float = math.nan) -> float:
        """A parameter as a number, 0x4 and comments behind a # included; ``default`` when it is not stated."""
        said = self.text(name).partition("#")[0].strip()
        if not said:
            return default
        try:
            value = float(int(said, 16)) if said.lower().startswith("0x") else float(said)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ReconError(f"{self.path}: {name} is {said[:40]!r}, not a finite number; {REMEDY}")
        return value

    def count(self, name: str, default: int | None = None) -> int:
        """A parameter that counts, from 1 to 65535. Raises ReconError when it is none, or missing without default."""
        value = self.number(name, math.nan if default is None else default)
        if not (value.is_integer() and 1 <= value <= LARGEST_MATRIX):
            raise ReconError(f"{self.path}: {name} is {value:g}, not a count from 1 to {LARGEST_MATRIX}; {REMEDY}")
        return int(value)

    def described(self, name: str) -> str:
        """A parameter of the texts that describe scanner and reconstruction; empty when it is not stated."""
        pattern = re.compile(rf'<Param\w{{4,8}}\."{name}">\s{{0,40}}\{{([^{{}}]{{0,400}})\}}')
        for text in (self._texts.get("Dicom", ""), self._texts.get("Meas", "")):
            if found := pattern.search(text):
                return re.sub(r"<\w+>\s*\S+", "", found.group(1)).strip().strip('"').strip()
        return ""

    def vector(self, name: str) -> tuple[float, float, float]:
        """A direction or place in the patient's LPS; components that are zero are not written."""
        return self.number(f"{name}.dSag", 0.0), self.number(f"{name}.dCor", 0.0), self.number(f"{name}.dTra", 0.0)

    def elements(self) -> tuple[str, ...]:
        """Names of the receive coil's elements, in the order of the protocol."""
        found = [
            value.strip().strip('"')
            for name, value in self._values.items()
            if name.endswith("sCoilElementID.tElement") and ("oilSelectMeas" in name)
        ]
        return tuple(word for word in found if re.fullmatch(r"[\w-]{1,16}", word))

    @property
    def dwell_us(self) -> float:
        """Time between samples of the imaging lines, readout oversampling included; NaN when not stated."""
        return self.number("sRXSPEC.alDwellTime[0]") / 1000


def encoding_of(protocol: Protocol) -> Encoding:
    """Matrix, field of view and facts of a protocol, as ISMRMRD states them. Raises ReconError when one cannot be."""
    first = "sSliceArray.asSlice[0]"
    base, lines = protocol.count("sKSpace.lBaseResolution"), protocol.count("sKSpace.lPhaseEncodingLines")
    volume = protocol.number("sKSpace.ucDimension", 2) == THREE_DIMENSIONS
    partitions = protocol.count("sKSpace.lPartitions", 1) if volume else 1
    oversampling = _oversampling(protocol)
    fields = [_length(protocol, f"{first}.{name}") for name in ("dReadoutFOV", "dPhaseFOV", "dThickness")]
    phase_field = fields[1] * (1 + _share(protocol, "sKSpace.dPhaseOversamplingForDialog"))
    slab = fields[2] * (1 + (_share(protocol, "sKSpace.dSliceOversamplingForDialog") if volume else 0))
    readout = round(base * oversampling)
    if readout > LARGEST_MATRIX:
        raise ReconError(f"{protocol.path}: {base} samples with {oversampling:g}-fold oversampling; {REMEDY}")
    trajectory = int(protocol.number("sKSpace.ucTrajectory", 1))
    echo_planar = trajectory == 1 and protocol.number("sFastImaging.lEPIFactor", 1) > 1
    name = protocol.text("tProtocolName").replace("+AF8-", "_")
    return Encoding(
        encoded_matrix=(readout, lines, partitions),
        encoded_fov=(fields[0] * oversampling, phase_field, slab),
        recon_matrix=(base, lines, partitions),
        recon_fov=(fields[0], fields[1], fields[2]),
        trajectory="epi" if echo_planar else _TRAJECTORIES.get(trajectory, f"unknown ({trajectory})"),
        calibration_mode=_REFERENCE_MODES.get(int(protocol.number("sPat.ucRefScanMode", 1)), ""),
        contrast=contrast_of_protocol(name),
        scan=replace(_header(protocol, name), slice_thickness_mm=fields[2] if math.isfinite(fields[2]) else None),
    )


def _header(protocol: Protocol, name: str) -> Header:
    def milliseconds(parameter: str) -> float | None:
        value = protocol.number(parameter)
        return value / 1000 if value > 0 else None

    def stated(value: float) -> float | None:
        return value if value > 0 else None

    inverted = protocol.number("sPrepPulses.ucInversion", 0) != _NO_INVERSION
    field_strength = protocol.number("sProtConsistencyInfo.flNominalB0")
    if not math.isfinite(field_strength):
        field_strength = _float(protocol.described("flMagneticFieldStrength"))
    sequence = protocol.text("tSequenceFileName").replace("\\", "/").rpartition("/")[2]
    return Header(
        vendor="Siemens",
        model=protocol.described("ManufacturersModelName") or None,
        field_strength_t=stated(round(field_strength, 3)) if math.isfinite(field_strength) else None,
        protocol=name or None,
        sequence=sequence or None,
        repetition_time_ms=milliseconds("alTR[0]"),
        echo_time_ms=milliseconds("alTE[0]"),
        inversion_time_ms=milliseconds("alTI[0]") if inverted else None,
        flip_angle_deg=stated(protocol.number("adFlipAngleDegree[0]")),
        b_value_s_per_mm2=_b_value(protocol),
        relative_noise_bandwidth=RELATIVE_NOISE_BANDWIDTH,
        patient_position=_patient_position(protocol),
    )


def _b_value(protocol: Protocol) -> float | None:
    """In s/mm^2, of a protocol with one diffusion weighting; a weighting of zero may not be written. None otherwise."""
    if protocol.number("sDiffusion.lDiffWeightings", 0) != 1:
        return None
    value = protocol.number("sDiffusion.alBValue[0]", 0.0)
    if not 0 <= value <= LARGEST_B_VALUE:
        raise ReconError(f"{protocol.path}: sDiffusion.alBValue[0] is {value:g}, not a b-value in s/mm^2; {REMEDY}")
    return value


def _patient_position(protocol: Protocol) -> str | None:
    said = protocol.described("tPatientPosition") or protocol.described("sPatPosition")
    return said if re.fullmatch(r"[HF]F[SPDRL]{1,2}", said) else None


def _float(text: str) -> float:
    try:
        return float(text.split()[0]) if text else math.nan
    except ValueError:
        return math.nan


def _oversampling(protocol: Protocol) -> float:
    value = _float(protocol.described("flReadoutOSFactor"))
    if math.isfinite(value) and not 1 <= value <= 16:
        raise ReconError(f"{protocol.path}: flReadoutOSFactor is {value:g}, not from 1 to 16; {REMEDY}")
    return value if math.isfinite(value) else 2.0


def _share(protocol: Protocol, name: str) -> float:
    value = protocol.number(name, 0.0)
    if not 0 <= value <= 10:
        raise ReconError(f"{protocol.path}: {name} is {value:g}, not a share from 0 to 10; {REMEDY}")
    return value


def _length(protocol: Protocol, name: str) -> float:
    value = protocol.number(name)
    if np.isfinite(value) and not 0 < value <= LARGEST_FIELD_OF_VIEW:
        raise ReconError(f"{protocol.path}: {name} is {value:g}, not a length in mm; {REMEDY}")
    return value


def _named_texts(path: Path, text: bytes) -> dict[str, str]:
    """The texts of a header by name; a damaged length ends them early."""
    found: dict[str, str] = {}
    count = int(np.frombuffer(text, "<u4", 2)[1])
    position = 8
    for _ in range(min(count, 64)):
        end = text.find(b"\0", position, position + 64)
        if end < 0 or len(text) < end + 5:
            break
        length = int.from_bytes(text[end + 1 : end + 5], "little")
        if end + 5 + length > len(text):
            raise ReconError(f"{path}: a part of its header is said to be longer than the header; {REMEDY}")
        name = text[position:end].decode("latin-1")
        if name in ("MeasYaps", "Phoenix", "Dicom", "Meas"):
            found[name] = text[end + 5 : end + 5 + length].decode("latin-1").replace("\0", "")
        position = end + 5 + length
    return found
