"""The study's log: append-only JSON lines, each holding the hash of the line before.

One line: ``{"index", "time", "event", "details", "previous", "hash"}`` with ``hash`` the SHA-256 of the canonical
form of the rest and ``previous`` the hash of the line before (64 zeros in the first). Changing, removing or
inserting a line breaks the chain at that line. Cutting lines off the END cannot be seen in the file alone: the
last hash (``head``) is printed by every command that writes a line, and stands in the packages and the report.

Whoever knows the form can chain a log again. What its lines may say is therefore checked as well (``log_lines``).
"""

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from reader_study.canonical import canonical_json, digest
from reader_study.log_lines import check_line
from recon.configuration import from_mapping
from recon.errors import ReconError
from recon.foreign.json_file import json_object_in

FIRST = "0" * 64


def now() -> datetime:
    """The time that a new line gets."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class LogEntry:
    """One verified line of the log."""

    index: int
    time: str  # UTC, ISO 8601
    event: str
    details: dict[str, Any]  # see ``log_lines``
    previous: str
    hash: str
    said: Any = None  # the details as the dataclass of the event


def append(path: str | Path, event: str, details: Mapping[str, Any]) -> LogEntry:
    """Verify the log, add one line, flush it to disk, and give the new entry.

    Raises ReconError when the log was altered or the line would say what no log does (nothing is added then), or the
    log cannot be written.
    """
    path = Path(path)
    entries = read(path) if path.exists() else []
    body: dict[str, Any] = {
        "index": len(entries) + 1,
        "time": now().isoformat(timespec="seconds"),
        "event": event,
        "details": dict(details),
        "previous": entries[-1].hash if entries else FIRST,
    }
    body["hash"] = digest(body)
    said = check_line(event, body["details"], f"{path}, line {body['index']}")
    try:
        _add(path, canonical_json(body) + b"\n")
    except OSError as error:
        raise ReconError(
            f"{path}: the log cannot be written ({error.strerror}); free space or fix its rights"
        ) from error
    return LogEntry(**body, said=said)


def _add(path: Path, line: bytes) -> None:
    """The whole line, or nothing of it: half a line would be taken for an alteration. Raises OSError."""
    with path.open("ab", buffering=0) as log:
        end = log.seek(0, os.SEEK_END)
        try:
            if log.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(log.fileno())
        except OSError:
            log.truncate(end)
            raise


def read(path: str | Path, head: str | None = None) -> list[LogEntry]:
    """Every entry, verified. With ``head`` (a hash noted earlier) the log must still contain that line.

    Raises ReconError naming the first altered line, and the first that says what no log does.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise ReconError(f"{path}: the study log cannot be read ({error.strerror})") from error
    if lines and lines[-1] == b"":
        lines.pop()
    entries: list[LogEntry] = []
    previous = FIRST
    for number, line in enumerate(lines, start=1):
        try:
            entry = _entry(line)
            if (entry.previous, entry.index) != (previous, number):
                raise ValueError("it does not follow from the line before")
        except ValueError as error:
            raise ReconError(f"{path}: line {number} was altered ({error}); restore the log from a copy") from error
        said = check_line(entry.event, entry.details, f"{path}, line {number}")
        entries.append(replace(entry, said=said))
        previous = entry.hash
    if head is not None and head not in {entry.hash for entry in entries}:
        raise ReconError(
            f"{path}: was cut or rewritten; the line with hash {head[:16]}, noted earlier, is gone. "
            "Restore the log from a copy"
        )
    return entries


def _entry(line: bytes) -> LogEntry:
    """One line. Raises ValueError when it is none, or its hash is not that of its content."""
    try:
        body = json_object_in(line.decode("utf-8"))
        entry = from_mapping(LogEntry, body, "it")
        same = canonical_json(body) == line
    except (ReconError, RecursionError, ValueError) as error:
        raise ValueError("it is not a log line") from error
    del body["hash"]
    if not same or digest(body) != entry.hash:
        raise ValueError("its hash does not match its content")
    return entry


def last(entries: list[LogEntry], *events: str) -> LogEntry | None:
    """The newest entry of one of these events, or None."""
    return next((entry for entry in reversed(entries) if entry.event in events), None)
