"""Whether a scan can be reconstructed: what ``recon info`` says, and what ``recon reconstruct`` then finds."""

from dataclasses import replace

from recon.errors import ReconError
from recon.progress import Report, silent
from recon.reconstruction.options import ReconstructionOptions
from recon.scan import Scan
from recon.scans.inspection import Inspection, inspect


def examine(scan: Scan, report: Report = silent) -> Inspection:
    """``inspect``, and where that finds nothing wrong the first step of every reconstruction: noise, whitening and coil
    compression are estimated. So the two never disagree; a scan whose noise cannot be estimated is refused by both."""
    found = inspect(scan, report)
    if not found.can_reconstruct:
        return found
    from recon.reconstruction.preparing import measure

    try:
        measure(scan, ReconstructionOptions())
    except ReconError as error:
        return replace(found, problems=(str(error).removeprefix(f"{scan.path}: "),))
    return found
