"""Sending the exported DICOM series to a server (PACS, Orthanc) with C-STORE, in an order that tells nothing.

Sent is what the blind check has passed, file by file as it lies in the study folder, in an order that does not follow
the arms.
"""

import random

from reader_study.integrity import verify_files
from reader_study.study import Study
from recon.errors import ReconError
from recon.images.dicom_push import CALLING_TITLE, Destination, send_files
from recon.progress import Report, silent


def push(study: Study, destination: Destination, calling_title: str = CALLING_TITLE, report: Report = silent) -> int:
    """Send every instance of the study's ``dicom`` folder; gives how many the server has confirmed.

    Raises ReconError when a file was altered since the export, and as ``send_files`` does.
    """
    problems = verify_files(study)
    if problems:
        raise ReconError(f"nothing was sent: {problems[0]}")
    paths = sorted((study.folder / "dicom").glob("*/*.dcm"))
    # The server notes when it received what; the order must not follow the names or the arms.
    series = sorted({path.parent for path in paths})
    random.SystemRandom().shuffle(series)
    return send_files(
        [path for folder in series for path in paths if path.parent == folder], destination, calling_title, report
    )
