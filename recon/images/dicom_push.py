"""Sending DICOM files to a server (PACS, Orthanc) with C-STORE, instance by instance.

An instance counts as delivered when the server has answered with success.
"""

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from recon.errors import ReconError
from recon.progress import Report, silent

CALLING_TITLE = "RECON"  # our own application entity title


@dataclass(frozen=True)
class Destination:
    """A DICOM server."""

    title: str  # its application entity title
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.title}@{self.host}:{self.port}"


def parse_destination(text: str) -> Destination:
    """``AE@host:port``. Raises ReconError when it is not that."""
    match = re.fullmatch(r"([^@\s\\]{1,16})@([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):(\d{1,5})", text)
    if match is None or not 0 < int(match[3]) < 65536:
        raise ReconError(f"--push {text}: expected AE@host:port, such as PACS@10.0.0.5:104")
    return Destination(match[1], match[2].strip("[]"), int(match[3]))


def check_installed() -> None:
    """Raise ReconError when the optional package pynetdicom is missing."""
    if find_spec("pynetdicom") is None:
        raise ReconError("--push needs the optional package pynetdicom: pip install 'recon[push]'")


def check_destination(destination: Destination) -> None:
    """Raise ReconError when the server is away or does not take MR images from us: before hours are spent."""
    _associate(destination).release()


def send_files(
    paths: Sequence[Path], destination: Destination, calling_title: str = CALLING_TITLE, report: Report = silent
) -> int:
    """Send MR images in this order; gives how many the server has confirmed.

    Raises ReconError when pynetdicom is missing, the server does not answer, or it refuses an instance (then those
    before it are on the server; sending again is harmless).
    """
    from pydicom import dcmread

    association = _associate(destination, calling_title)
    confirmed = 0
    try:
        for path in paths:
            report("sending", confirmed / len(paths))
            try:
                status = association.send_c_store(dcmread(path))
            except (ValueError, RuntimeError) as error:
                raise ReconError(f"{destination}: {path.parent.name}/{path.name} was not accepted ({error})") from error
            code = status.Status if "Status" in status else None
            if code != 0:
                shown = "no answer" if code is None else f"status 0x{code:04X}"
                raise ReconError(
                    f"{destination}: {path.parent.name}/{path.name} was not stored ({shown}); {confirmed} of "
                    f"{len(paths)} instances are confirmed, send again"
                )
            confirmed += 1
    finally:
        if association.is_established:
            association.release()
    return confirmed


def _associate(destination: Destination, calling_title: str = CALLING_TITLE) -> Any:
    """An open association for MR images. Raises ReconError."""
    check_installed()
    from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage
    from pynetdicom import AE
    from pynetdicom.presentation import build_context

    entity = AE(ae_title=calling_title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = 30
    entity.requested_contexts = [
        build_context(uid, ExplicitVRLittleEndian) for uid in (MRImageStorage, EnhancedMRImageStorage)
    ]
    try:  # a plain connection first: its error says more than a refused association, and is closed properly
        socket.create_connection((destination.host, destination.port), timeout=10).close()
    except OSError as error:
        reason = error.strerror or error
        raise ReconError(f"{destination}: cannot be reached ({reason}); is the server running?") from error
    association = entity.associate(destination.host, destination.port, ae_title=destination.title)
    if not association.is_established:
        raise ReconError(
            f"{destination}: no DICOM association (is it a DICOM port, and does the server know {calling_title}?)"
        )
    return association
