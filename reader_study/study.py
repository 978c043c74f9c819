"""The study folder: what the coordinator keeps, and the only way to the opened key.

    STUDY/protocol.yaml            the frozen protocol (earlier versions: protocol-v1.yaml ...)
    STUDY/audit.jsonl              the hash-chained log
    STUDY/key.sealed               the encrypted key
    STUDY/packages/R1-session-1/   one folder to hand to one reader; open start.html
    STUDY/dicom/<image>/0001.dcm   the same images for a DICOM viewer
    STUDY/worklists/R1-session-1.csv   reading order for a DICOM viewer

The log's ``export`` line: ``{"version", "study", "sealed_key_sha256", "commitment", "dicom_manifest_sha256",
"packages": [Package ...]}``; everything outside can be checked against it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reader_study import audit_log
from reader_study.allocation import allocate, new_seed
from reader_study.canonical import digest
from reader_study.protocol import Protocol, from_mapping_checked, load_protocol
from reader_study.seal import Key, open_key
from reader_study.sheet import Expected, Package, Sheet, missing
from recon.atomic import atomic_path
from recon.errors import ReconError

PROTOCOL, LOG, KEY = "protocol.yaml", "audit.jsonl", "key.sealed"


@dataclass(frozen=True)
class Study:
    """A study folder whose log and frozen protocol have been verified. Holds nothing that tells an arm."""

    folder: Path
    protocol: Protocol
    version: int  # of the protocol
    entries: tuple[audit_log.LogEntry, ...]
    packages: tuple[Package, ...]  # empty before the export

    @property
    def head(self) -> str:
        """The hash of the log's last line."""
        return self.entries[-1].hash

    @property
    def deviations(self) -> tuple[audit_log.LogEntry, ...]:
        """The logged deviations: details ``{"text", "reader", "session", "presentation"}``, the last three or None."""
        return tuple(entry for entry in self.entries if entry.event == "deviation")

    @property
    def unsealed(self) -> bool:
        """Has the key been opened since the export?"""
        return any(entry.event == "unseal" for entry in self.entries)


def freeze(protocol_path: str | Path, folder: str | Path, reason: str = "") -> tuple[Study, bool]:
    """Check a protocol and freeze it in a study folder; gives the study and whether a version was added.

    The allocation is drawn once on trial, so that an impossible one is found before any image exists. The same
    protocol again changes nothing; another one becomes the next version and needs a ``reason``. After the export a
    protocol can only be changed with a new export. Raises ReconError.
    """
    protocol = load_protocol(protocol_path)
    allocate(protocol, new_seed())
    folder = Path(folder)
    entries = audit_log.read(folder / LOG) if (folder / LOG).exists() else []
    frozen = audit_log.last(entries, "protocol-frozen", "protocol-changed")
    if frozen is not None and frozen.details["hash"] == protocol.hash:
        return open_study(folder), False
    if frozen is None and folder.exists() and any(folder.iterdir()):
        raise ReconError(f"{folder}: not empty and not a study; choose a new folder")
    if frozen is not None and not reason.strip():
        raise ReconError(
            f"{folder}: the protocol differs from the frozen version {frozen.details['version']}; "
            "say why with --reason to log a new version"
        )
    version = 1 if frozen is None else int(frozen.details["version"]) + 1
    if frozen is not None and (folder / PROTOCOL).exists():
        (folder / PROTOCOL).replace(folder / f"protocol-v{version - 1}.yaml")
    with atomic_path(folder / PROTOCOL) as temporary:
        temporary.write_bytes(Path(protocol_path).read_bytes())
    details: dict[str, Any] = {"version": version, "hash": protocol.hash, "protocol": protocol.as_mapping()}
    event = "protocol-frozen" if frozen is None else "protocol-changed"
    audit_log.append(folder / LOG, event, {**details, "reason": reason.strip()})
    return open_study(folder), True


def open_study(folder: str | Path) -> Study:
    """Read and verify a study folder: the log's chain, and the protocol file against the frozen hash.

    Raises ReconError naming the altered file or the altered line of the log.
    """
    folder = Path(folder)
    if not (folder / LOG).is_file():
        raise ReconError(f"{folder}: not a study folder (no {LOG}); start one with 'recon reader-study plan'")
    entries = audit_log.read(folder / LOG)
    frozen = audit_log.last(entries, "protocol-frozen", "protocol-changed")
    if frozen is None:
        raise ReconError(f"{folder / LOG}: no protocol was frozen; run 'recon reader-study plan' first")
    protocol = load_protocol(folder / PROTOCOL)
    logged = from_mapping_checked(frozen.details["protocol"], f"{folder / LOG}, line {frozen.index}")
    if protocol.hash != frozen.details["hash"] or logged.hash != protocol.hash:
        raise ReconError(
            f"{folder / PROTOCOL}: altered since it was frozen (line {frozen.index} of the log); restore it, or log a "
            "new version with 'recon reader-study plan --reason'"
        )
    export = exported(entries)
    return Study(
        folder=folder,
        protocol=protocol,
        version=int(frozen.details["version"]),
        entries=tuple(entries),
        packages=() if export is None else tuple(_package(row) for row in export.details["packages"]),
    )


def exported(entries: Sequence[audit_log.LogEntry]) -> audit_log.LogEntry | None:
    """The export line that belongs to the newest version of the protocol, or None."""
    for entry in reversed(entries):
        if entry.event == "export":
            return entry
        if entry.event in ("protocol-frozen", "protocol-changed"):
            return None
    return None


def package_mapping(package: Package) -> dict[str, Any]:
    """A package as the log's export line has it."""
    return {**asdict(package), "presentations": [asdict(row) for row in package.presentations]}


def log_deviation(
    folder: str | Path,
    text: str,
    reader: str | None = None,
    session: int | None = None,
    presentation: str | None = None,
) -> audit_log.LogEntry:
    """Log a deviation from the protocol; without reader, session or presentation it covers all of them."""
    if not text.strip():
        raise ReconError("a deviation needs a text that says what happened")
    study = open_study(folder)
    if reader is not None and reader not in {entry.id for entry in study.protocol.readers}:
        raise ReconError(f"deviation: reader '{reader}' is not in the protocol")
    details = {"text": text.strip(), "reader": reader, "session": session, "presentation": presentation}
    return audit_log.append(study.folder / LOG, "deviation", details)


def log_sheet(study: Study, sheet: Sheet) -> audit_log.LogEntry | None:
    """Log that a checked sheet was received, by the hash of its content; the same content again changes nothing.

    From then on another sheet for the same package is refused, even one signed with the package's key. Raises
    ReconError when a different one was received before.
    """
    refuse_exchanged(study, [sheet])
    mark = digest(sheet.payload())
    if any(entry.event == "sheet" and entry.details["sha256"] == mark for entry in study.entries):
        return None
    details = {"package": sheet.package, "reader": sheet.reader, "session": sheet.session, "sha256": mark}
    return audit_log.append(study.folder / LOG, "sheet", details)


def refuse_exchanged(study: Study, sheets: Sequence[Sheet]) -> None:
    """Raises ReconError when a sheet differs from the one that was logged for its package."""
    logged = {entry.details["package"]: entry for entry in study.entries if entry.event == "sheet"}
    for sheet in sheets:
        entry = logged.get(sheet.package)
        if entry is not None and entry.details["sha256"] != digest(sheet.payload()):
            raise ReconError(
                f"{sheet.path or sheet.reader}: differs from the sheet of {sheet.reader}, session {sheet.session}, "
                f"that was received before (line {entry.index} of the log)"
            )


def uncovered(study: Study, sheets: Sequence[Sheet]) -> list[dict[str, Any]]:
    """The missing readings (see ``sheet.missing``) that no logged deviation covers."""

    def covers(details: Any, line: dict[str, Any]) -> bool:
        return all(details.get(name) in (None, line[name]) for name in ("reader", "session", "presentation"))

    return [
        line
        for line in missing(sheets, study.protocol, study.packages)
        if not any(covers(entry.details, line) for entry in study.deviations)
    ]


def unseal(study: Study, passphrase: str, reason: str, sheets: Sequence[Sheet]) -> Key:
    """Open the key, once every reading is there or its absence is a logged deviation; the log keeps who asked why.

    ``sheets`` must have passed ``sheet.check_sheet``. A failed attempt is logged as well. Raises ReconError naming the
    first missing reading, a wrong passphrase, an altered key, or a key other than the one committed to.
    """
    export = exported(study.entries)
    if export is None:
        raise ReconError(f"{study.folder}: nothing was exported under this version of the protocol")
    if not reason.strip():
        raise ReconError("unsealing needs a reason; give it with --reason")
    refuse_exchanged(study, sheets)
    left = uncovered(study, sheets)
    if left:
        first = left[0]
        place = f", presentation {first['order']} ({first['presentation']})" if first["presentation"] else ""
        raise ReconError(
            f"{study.folder}: not unsealed, {len(left)} readings are missing; first: reader {first['reader']}, session "
            f"{first['session']}{place}: {first['what']}; collect them or log why with --deviation"
        )
    log = study.folder / LOG
    try:
        key = open_key(
            study.folder / KEY, passphrase, export.details["sealed_key_sha256"], export.details["commitment"]
        )
    except ReconError as error:
        audit_log.append(log, "unseal-failed", {"reason": str(error).split(": ", 1)[-1]})
        raise
    hashes = {sheet.package: digest(sheet.payload()) for sheet in sheets}
    details = {"reason": reason.strip(), "deviations": len(study.deviations), "sheets": hashes}
    audit_log.append(log, "unseal", details)
    return key


def _package(row: Any) -> Package:
    return Package(**{**row, "presentations": tuple(Expected(**entry) for entry in row["presentations"])})
