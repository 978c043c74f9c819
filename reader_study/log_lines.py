"""What each event of the log says: checked line by line when the log is read, so that its readers rely on it.

Events: ``protocol-frozen`` and ``protocol-changed``; ``export`` and ``export-refused``; ``check`` of the pairs with the
key; ``sheet`` that came in; ``deviation`` (see ``deviations``); ``unseal`` and ``unseal-failed``; ``reader-called-in``,
``reader-added`` and ``adjudication`` (see ``reserve``, ``added_reader`` and ``adjudication``); and ``analysis``.
Hashes are SHA-256 as hexadecimal digits. A part with a default is one that older logs do not have.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reader_study.sheet import Package
from recon.configuration import from_mapping
from recon.errors import ReconError

CALLED_IN, ADDED, ADJUDICATION = "reader-called-in", "reader-added", "adjudication"


@dataclass(frozen=True)
class FrozenProtocol:
    """``protocol`` is ``Protocol.as_mapping``, ``hash`` its identity."""

    version: int
    hash: str
    protocol: dict[str, Any]
    reason: str


@dataclass(frozen=True)
class Exported:
    """Everything outside of the log can be checked against this line."""

    sealed_key_sha256: str
    commitment: str
    dicom_manifest_sha256: str
    packages: tuple[Package, ...]
    version: int = 1  # of the protocol
    study: str = ""  # hash of the protocol
    worklists: dict[str, str] | None = None  # file name -> hash
    check: dict[str, Any] = field(default_factory=dict)
    lesions: dict[str, str] = field(default_factory=dict)  # case -> hash of its mask


@dataclass(frozen=True)
class ExportRefused:
    """The verdicts of the blind check, ``BlindCheck.as_mapping``."""

    check: dict[str, Any]
    viewer_check: dict[str, Any]


@dataclass(frozen=True)
class Checked:
    """The pairs were checked again after the export."""

    passed: bool
    key_opened: bool


@dataclass(frozen=True)
class SheetReceived:
    """``sha256`` of the content; ``unfinished``: presentation -> hash of the answer, of a sheet saved on the way."""

    package: str
    reader: str
    session: int
    sha256: str
    unfinished: dict[str, str] | None = None


@dataclass(frozen=True)
class DeviationLogged:
    """See ``deviations``; the first version logged no kind."""

    text: str
    kind: str | None = None
    reader: str | None = None
    session: int | None = None
    presentation: str | None = None


@dataclass(frozen=True)
class Unsealed:
    """``deviations`` counts those logged by then; ``sheets``: package -> hash of its sheet."""

    reason: str
    deviations: int
    sheets: dict[str, str]


@dataclass(frozen=True)
class UnsealFailed:
    """What the attempt failed at."""

    reason: str


@dataclass(frozen=True)
class CalledIn:
    """Who, and why."""

    reader: str
    text: str


@dataclass(frozen=True)
class Added:
    """``shows``: new presentation -> the one of the other reader that shows the same."""

    reader: str
    experience: str
    in_place_of: str
    text: str
    packages: tuple[Package, ...]
    worklists: dict[str, str]
    shows: dict[str, str]


@dataclass(frozen=True)
class Disagreed:
    """What an adjudicator's presentation shows, and the items on which two readers differ there."""

    presentation: str
    items: tuple[str, ...]


@dataclass(frozen=True)
class Adjudicated:
    """``compared`` images were scored by two readers; ``sheets``: package -> hash of the sheet that this rests on."""

    reader: str
    compared: int
    packages: tuple[Package, ...]
    worklists: dict[str, str]
    shows: dict[str, Disagreed]
    sheets: dict[str, str]


@dataclass(frozen=True)
class Analysed:
    """``analysis_sha256`` of the report's ``analysis.json``."""

    claim: str
    analysis_sha256: str
    seed: int


EVENTS: Mapping[str, type] = {
    "protocol-frozen": FrozenProtocol,
    "protocol-changed": FrozenProtocol,
    "export": Exported,
    "export-refused": ExportRefused,
    "check": Checked,
    "sheet": SheetReceived,
    "deviation": DeviationLogged,
    "unseal": Unsealed,
    "unseal-failed": UnsealFailed,
    CALLED_IN: CalledIn,
    ADDED: Added,
    ADJUDICATION: Adjudicated,
    "analysis": Analysed,
}


def check_line(event: str, details: dict[str, Any], where: str) -> Any:
    """What a line says, as the dataclass of its event.

    Raises ReconError, naming ``where`` and the part, for an event that is not known or says too much or too little.

    What lines say of each other and of the protocol: ``handed_out``.
    """
    if event not in EVENTS:
        raise ReconError(f"{where}: no event is called {event[:40]!r}; use the version of recon that wrote the log")
    try:
        return from_mapping(EVENTS[event], details, f"{where} ({event})")
    except ReconError as error:
        raise ReconError(f"{error}; no log says that, restore it from a copy") from error
