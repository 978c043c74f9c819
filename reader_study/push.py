"""Sending the exported DICOM series to a server (PACS, Orthanc) with C-STORE, instance by instance.

Sent is what the blind check has passed, file by file as it lies in the study folder, in an order that does not follow
the arms. An instance counts as delivered when the server has answered with success.
"""

import random
import re
import socket
from dataclasses import dataclass

from reader_study.integrity import verify_files
from reader_study.study import Study
from recon.errors import ReconError
from recon.progress import Report, silent


@dataclass(frozen=True)
class Destination:
    """A DICOM server."""

    title: str  # its application entity title
    host: str
    port: int


def parse_destination(text: str) -> Destination:
    """``AE@host:port``. Raises ReconError when it is not that."""
    match = re.fullmatch(r"([^@\s\\]{1,16})@([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):(\d{1,5})", text)
    if match is None or not 0 < int(match[3]) < 65536:
        raise ReconError(f"--push {text}: expected AE@host:port, such as PACS@10.0.0.5:104")
    return Destination(match[1], match[2].strip("[]"), int(match[3]))


def push(study: Study, destination: Destination, calling_title: str = "RECON", report: Report = silent) -> int:
    """Send every instance of the study's ``dicom`` folder; gives how many the server has confirmed.

    Raises ReconError when pynetdicom is missing, a file was altered since the export, the server does not answer, or it
    refuses an instance (then those before it are on the server; sending again is harmless).
    """
    try:
        from pynetdicom import AE
        from pynetdicom.presentation import build_context
    except ImportError as error:
        raise ReconError("--push needs the optional package pynetdicom: pip install 'recon[push]'") from error
    from pydicom import dcmread
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    problems = verify_files(study)
    if problems:
        raise ReconError(f"nothing was sent: {problems[0]}")
    paths = sorted((study.folder / "dicom").glob("*/*.dcm"))
    # The server notes when it received what; the order must not follow the names or the arms.
    series = sorted({path.parent for path in paths})
    random.SystemRandom().shuffle(series)
    paths = [path for folder in series for path in paths if path.parent == folder]
    entity = AE(ae_title=calling_title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = 30
    entity.requested_contexts = [build_context(MRImageStorage, ExplicitVRLittleEndian)]
    where = f"{destination.title}@{destination.host}:{destination.port}"
    try:  # a plain connection first: its error says more than a refused association, and is closed properly
        socket.create_connection((destination.host, destination.port), timeout=10).close()
    except OSError as error:
        raise ReconError(f"{where}: cannot be reached ({error.strerror or error}); is the server running?") from error
    association = entity.associate(destination.host, destination.port, ae_title=destination.title)
    if not association.is_established:
        raise ReconError(
            f"{where}: no DICOM association (is it a DICOM port, and does the server know {calling_title}?)"
        )
    confirmed = 0
    try:
        for path in paths:
            report("sending", confirmed / len(paths))
            try:
                status = association.send_c_store(dcmread(path))
            except (ValueError, RuntimeError) as error:
                raise ReconError(f"{where}: {path.parent.name}/{path.name} was not accepted ({error})") from error
            code = status.Status if "Status" in status else None
            if code != 0:
                shown = "no answer" if code is None else f"status 0x{code:04X}"
                raise ReconError(
                    f"{where}: {path.parent.name}/{path.name} was not stored ({shown}); {confirmed} of {len(paths)} "
                    "instances are confirmed, send again"
                )
            confirmed += 1
    finally:
        if association.is_established:
            association.release()
    return confirmed
