"""Sending the exported DICOM series to a server (PACS, Orthanc) with C-STORE, in an order that tells nothing.

Sent is what the blind check has passed, file by file as it lies in the study folder, in an order that does not follow
the arms.
"""

import random
from collections.abc import Sequence
from pathlib import Path

from reader_study.canonical import digest
from reader_study.integrity import verify_files
from reader_study.study import Study
from recon.digest import file_sha256
from recon.errors import ReconError
from recon.images.dicom_push import CALLING_TITLE, Destination, send_files
from recon.progress import Report, silent


def push(
    study: Study,
    destination: Destination,
    calling_title: str = CALLING_TITLE,
    report: Report = silent,
    sessions: Sequence[str] = (),
) -> int:
    """Send the series of the study's ``dicom`` folder; gives how many instances the server has confirmed.

    ``sessions`` (``R1-session-2`` ...) restrict them to what these show, so that no reader finds the next session's
    images on the server before its time; empty: all. Raises ReconError when a file was altered since the export, for
    a session that is not there, and as ``send_files`` does.
    """
    problems = verify_files(study)
    if problems:
        raise ReconError(f"nothing was sent: {problems[0]}")
    files: dict[Path, list[Path]] = {}
    for path in sorted((study.folder / "dicom").glob("*/*.dcm")):
        files.setdefault(path.parent, []).append(path)
    # The server notes when it received what; the order must not follow the names or the arms.
    series = sorted(files)
    if sessions:
        shown = _shown(study, sessions)
        series = [
            folder for folder in series if digest({path.name: file_sha256(path) for path in files[folder]}) in shown
        ]
    random.SystemRandom().shuffle(series)
    return send_files([path for folder in series for path in files[folder]], destination, calling_title, report)


def _shown(study: Study, sessions: Sequence[str]) -> set[str]:
    """Hashes of the series that these sessions show (``sheet.Expected.series``). Raises ReconError."""
    packages = {Path(package.folder).name: package for package in study.packages}
    unknown = [name for name in sessions if name not in packages]
    if unknown:
        raise ReconError(f"nothing was sent: there is no session {unknown[0]}; sessions are {', '.join(packages)}")
    return {mark for name in sessions for entry in packages[name].presentations for mark in entry.series}
