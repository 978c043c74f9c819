"""What a file says of a scan besides its k-space, typed and with units; and the identity that follows from it."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LARGEST_B_VALUE = 1e5  # s/mm^2: beyond what any scanner does


@dataclass(frozen=True)
class Header:
    """What is known of a scan; None where the file does not say. No patient identity is carried.

    Times in ms, angles in degrees; units are in the names.
    """

    subject: str | None = None  # a pseudonym of the person: scans of one person share it and are never split apart
    vendor: str | None = None
    model: str | None = None
    site: str | None = None  # a name for where the scanner stands: scans of one site share it
    acquired_at: str | None = None  # ISO 8601, where a study may keep it: no reader takes it from raw data by itself
    field_strength_t: float | None = None
    protocol: str | None = None  # as the site named it, e.g. fastMRI's AXFLAIR
    sequence: str | None = None
    repetition_time_ms: float | None = None
    echo_time_ms: float | None = None
    inversion_time_ms: float | None = None
    flip_angle_deg: float | None = None
    echo_spacing_ms: float | None = None
    b_value_s_per_mm2: float | None = None
    slice_thickness_mm: float | None = None  # less than the distance of the slices where there are gaps
    averages: int | None = None  # of every line, already averaged
    relative_noise_bandwidth: float | None = None  # part of the noise scan's bandwidth that the receiver lets through
    patient_position: str | None = None  # such as HFS
    origin: str | None = None  # of the anatomy: which data set or simulation
    licence: str | None = None  # of the data

    def known(self) -> dict[str, Any]:
        """The fields that are not None, by name."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


# What a result keeps of its scan's header: enough to tell scanners and protocols apart, nothing of the person.
SCANNER_FACTS = (
    "vendor", "model", "site", "acquired_at", "field_strength_t", "protocol", "sequence", "repetition_time_ms",
    "echo_time_ms", "inversion_time_ms", "flip_angle_deg", "b_value_s_per_mm2",
)  # fmt: skip

UNSTATED = Header()  # of a file that says nothing


def header_from(values: Mapping[str, Any]) -> Header:
    """The header that a file's attributes hold, each value as its field's type; attributes of other names are left.

    Raises ValueError when a number is none, or not finite.
    """
    found: dict[str, Any] = {}
    for field in dataclasses.fields(Header):
        if field.name in values:
            kind = next(kind for kind in (int, float, str) if field.type == kind | None)
            value = values[field.name]
            found[field.name] = kind(value.decode() if isinstance(value, bytes) else value)
            if kind is float and not math.isfinite(found[field.name]):
                raise ValueError(f"{field.name} is {value}, not a finite number")
    return Header(**found)


def scanner_facts(header: Header) -> dict[str, Any]:
    """What a result keeps of its scan's header (``SCANNER_FACTS``), the person only as a hash, where known."""
    known = header.known()
    facts = {name: known[name] for name in SCANNER_FACTS if name in known}
    return facts if header.subject is None else {**facts, "person": pseudonym(header.subject)}


def pseudonym(name: str) -> str:
    """A short hash that stands for a person or a case."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def identity_of(*words: object) -> str:
    """Hex SHA-256 of words: the name of random streams. Of floats four digits count, so that none hangs on rounding."""
    said = [f"{word:.4g}" if isinstance(word, float) else str(word) for word in words]
    return hashlib.sha256("\x1f".join(said).encode()).hexdigest()
