"""Opening a scan of any format."""

from pathlib import Path

from recon.errors import ReconError
from recon.scan import Scan
from recon.scans import bart, fastmri, ismrmrd


def open_scan(path: str | Path) -> Scan:
    """Open a scan of any supported format: fastMRI HDF5, ISMRMRD HDF5, BART cfl/hdr.

    Only headers are read. Raises ReconError when the file is missing, truncated, foreign or not Cartesian.
    """
    path = Path(path)
    if path.suffix in (".cfl", ".hdr"):
        return bart.open_bart(path)
    if not path.is_file():
        raise ReconError(f"{path}: no such file")
    for module in (fastmri, ismrmrd):
        if module.recognises(path):
            return module.open_file(path)
    raise ReconError(
        f"{path}: not a scan that recon reads (fastMRI HDF5, ISMRMRD HDF5, BART cfl/hdr); "
        "import other arrays with 'recon convert'"
    )
