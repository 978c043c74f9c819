"""The study folder: what the coordinator keeps.

    STUDY/protocol.yaml            the frozen protocol (earlier versions: protocol-v1.yaml ...)
    STUDY/audit.jsonl              the hash-chained log
    STUDY/key.sealed               the encrypted key
    STUDY/packages/R1-session-1/   one folder to hand to one reader; open start.html
    STUDY/dicom/<image>/0001.dcm   the same images for a DICOM viewer
    STUDY/worklists/R1-session-1.csv   reading order for a DICOM viewer
    STUDY/worklists/R1-session-1.html  the same with the questions: one page to read beside a PACS, signs as the package
    STUDY/sheets/                  the score sheets that came back

Everything outside of the log can be checked against its ``export`` line.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from reader_study import audit_log
from reader_study.allocation import Presentation, allocate, new_seed
from reader_study.handed_out import exported, packages_of
from reader_study.log_lines import ADDED, ADJUDICATION, CALLED_IN
from reader_study.protocol import Protocol, load_protocol
from reader_study.sheet import Package
from recon.atomic import atomic_path
from recon.configuration import from_mapping
from recon.errors import ReconError, naming
from recon.held_signals import HeldSignals

PROTOCOL, LOG, KEY, OPENED_KEY = "protocol.yaml", "audit.jsonl", "key.sealed", "key.opened.json"
SHEETS = "sheets"


@dataclass(frozen=True)
class Study:
    """A study folder whose log and frozen protocol have been verified. Holds nothing that tells an arm."""

    folder: Path
    protocol: Protocol
    version: int  # of the protocol
    entries: tuple[audit_log.LogEntry, ...]
    packages: tuple[Package, ...]  # of the readers who read; empty before the export
    reserved: tuple[Package, ...]  # of the reserves who were not called in

    @property
    def head(self) -> str:
        """The hash of the log's last line."""
        return self.entries[-1].hash

    @property
    def readers(self) -> tuple[str, ...]:
        """Who reads: the planned readers, the reserves who were called in, and who was added after the export."""
        called = {entry.said.reader for entry in self.entries if entry.event == CALLED_IN}
        planned = (reader.id for reader in self.protocol.readers if not reader.reserve or reader.id in called)
        return (*planned, *(entry.said.reader for entry in self.entries if entry.event == ADDED))

    @property
    def worklists(self) -> dict[str, str]:
        """File name -> SHA-256 of every worklist; empty for exports that did not log them."""
        found: dict[str, str] = {}
        for entry in self.entries:
            if entry.event in ("export", ADDED, ADJUDICATION):
                found |= entry.said.worklists or {}
        return found

    def require_export(self) -> audit_log.LogEntry:
        """The line of the export. Raises ReconError where nothing was exported under this version of the protocol."""
        found = exported(self.entries)
        if found is None:
            raise ReconError(f"{self.folder}: nothing was exported under this version of the protocol")
        return found

    @property
    def adjudicated(self) -> audit_log.LogEntry | None:
        """The line that handed the disagreements to a third reader."""
        return audit_log.last(list(self.entries), ADJUDICATION)

    @property
    def unsealed(self) -> bool:
        """Has the key been opened since the export?"""
        return any(entry.event == "unseal" for entry in self.entries)


def planned(protocol: Protocol, path: str | Path) -> list[Presentation]:
    """The presentations of a protocol, allocated on trial. Raises ReconError, naming its file, when that cannot be."""
    with naming(path):
        return allocate(protocol, new_seed())


def freeze(protocol_path: str | Path, folder: str | Path, reason: str = "") -> tuple[Study, bool]:
    """Check a protocol and freeze it in a study folder; gives the study and whether a version was added.

    The allocation is drawn once on trial, so that an impossible one is found before any image exists. The same
    protocol again changes nothing; another one becomes the next version and needs a ``reason``. After the export
    nothing can be changed: the packages in the readers' hands belong to the frozen version. Raises ReconError.
    """
    protocol = load_protocol(protocol_path)
    planned(protocol, protocol_path)
    folder = Path(folder)
    entries = audit_log.read(folder / LOG) if (folder / LOG).exists() else []
    frozen = audit_log.last(entries, "protocol-frozen", "protocol-changed")
    if frozen is not None and frozen.said.hash == protocol.hash:
        return open_study(folder), False
    if frozen is None and folder.exists() and any(folder.iterdir()):
        raise ReconError(f"{folder}: not empty and not a study; choose a new folder")
    if frozen is not None and not reason.strip():
        raise ReconError(
            f"{folder}: the protocol differs from the frozen version {frozen.said.version}; "
            "say why with --reason to log a new version"
        )
    if exported(entries) is not None:
        raise ReconError(
            f"{folder}: was exported under the frozen protocol; a changed one would make every package and sheet "
            "worthless. Plan it in a new study folder, or log a deviation ('recon reader-study deviation --kind other')"
        )
    version = 1 if frozen is None else frozen.said.version + 1
    details: dict[str, Any] = {"version": version, "hash": protocol.hash, "protocol": protocol.as_mapping()}
    event = "protocol-frozen" if frozen is None else "protocol-changed"
    content, former = Path(protocol_path).read_bytes(), folder / f"protocol-v{version - 1}.yaml"
    replaced = frozen is not None and (folder / PROTOCOL).exists()
    with HeldSignals():
        if replaced:
            (folder / PROTOCOL).replace(former)
        try:
            with atomic_path(folder / PROTOCOL) as temporary:
                temporary.write_bytes(content)
            audit_log.append(folder / LOG, event, {**details, "reason": reason.strip()})
        except BaseException:
            (folder / PROTOCOL).unlink(missing_ok=True)
            if replaced:
                former.replace(folder / PROTOCOL)
            raise
    return open_study(folder), True


def open_study(folder: str | Path, expect_head: str | None = None) -> Study:
    """Read and verify a study folder: the log's chain, and the protocol file against the frozen hash.

    With ``expect_head``, a hash noted earlier, the log must still hold that line. Raises ReconError naming the altered
    file or the altered line of the log.
    """
    folder = Path(folder)
    if not (folder / LOG).is_file():
        raise ReconError(f"{folder}: not a study folder (no {LOG}); start one with 'recon reader-study plan'")
    entries = audit_log.read(folder / LOG, expect_head)
    frozen = audit_log.last(entries, "protocol-frozen", "protocol-changed")
    if frozen is None:
        raise ReconError(f"{folder / LOG}: no protocol was frozen; run 'recon reader-study plan' first")
    protocol = load_protocol(folder / PROTOCOL)
    logged = from_mapping(Protocol, frozen.said.protocol, f"{folder / LOG}, line {frozen.index}")
    if protocol.hash != frozen.said.hash or logged.hash != protocol.hash:
        raise ReconError(
            f"{folder / PROTOCOL}: altered since it was frozen (line {frozen.index} of the log); restore it, or log a "
            "new version with 'recon reader-study plan --reason'"
        )
    try:
        packages = packages_of(protocol, entries)
    except ValueError as error:
        raise ReconError(f"{folder / LOG}, {error}; restore the log from a copy") from error
    study = Study(folder, protocol, frozen.said.version, tuple(entries), packages, ())
    reading = {*study.readers, *([protocol.adjudication.reader] if protocol.adjudication is not None else [])}
    return replace(
        study,
        packages=tuple(package for package in packages if package.reader in reading),
        reserved=tuple(package for package in packages if package.reader not in reading),
    )


def package_mapping(package: Package) -> dict[str, Any]:
    """A package as the log's export line has it."""
    rows = [asdict(row) for row in package.presentations]
    for row in rows:
        if not row["shapes"]:
            del row["shapes"]
    return {**asdict(package), "presentations": rows}
