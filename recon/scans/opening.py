"""Opening a scan of any format."""

from pathlib import Path

from recon.scan import Scan
from recon.scans.readers import reader_of


def open_scan(path: str | Path) -> Scan:
    """Open a scan of any format in ``recon.scans.readers.READERS``: fastMRI HDF5, ISMRMRD HDF5, BART cfl/hdr ...

    Only headers are read. Raises ReconError when the file is missing, truncated, foreign or not Cartesian.
    """
    return reader_of(path).open(Path(path))
