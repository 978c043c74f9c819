"""The table of raw formats: everything that opens, names or searches scans reads it.

A new format is one module with ``recognises(path) -> bool`` and ``open_file(path) -> Scan``, and one row here.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recon.errors import ReconError
from recon.scans.vendors import converter_advice

if TYPE_CHECKING:
    from recon.scan import Scan


@dataclass(frozen=True)
class Reader:
    """One format. The module is imported when a file is looked at, so that a command line starts without it."""

    name: str
    suffixes: tuple[str, ...]  # of the files that stand for one scan each: a folder is searched for them
    module: str  # with ``recognises`` and ``open_file``, which raise ReconError for damaged files
    help: str

    def recognises(self, path: Path) -> bool:
        """Whether the file is of this format, as far as its name and first bytes tell."""
        return bool(importlib.import_module(self.module).recognises(path))

    def open(self, path: Path) -> Scan:
        """Open a file of this format; only headers are read. Raises ReconError, also when what they say cannot be."""
        from recon.scans.validity import checked_scan

        return checked_scan(importlib.import_module(self.module).open_file(path))


READERS: tuple[Reader, ...] = (
    Reader("fastMRI HDF5", (".h5",), "recon.scans.fastmri", "multi-coil files of the public data set, and recon's own"),
    Reader("ISMRMRD HDF5", (".h5",), "recon.scans.ismrmrd", "raw acquisitions of any vendor after conversion"),
    Reader("Siemens twix", (".dat",), "recon.scans.twix", "raw data of VB, VD, VE and XA scanners"),
    Reader("BART cfl/hdr", (".cfl",), "recon.scans.bart", "a .cfl/.hdr pair, named by either"),
)


def described() -> str:
    """The formats for help texts and errors: ``fastMRI HDF5, ISMRMRD HDF5, BART cfl/hdr``."""
    return ", ".join(reader.name for reader in READERS)


def reader_of(path: str | Path) -> Reader:
    """The row that reads a file. Raises ReconError when the file is missing, truncated, or of no format."""
    path = Path(path)
    for reader in READERS:
        if reader.recognises(path):
            return reader
    if not path.is_file():
        raise ReconError(f"{path}: no such file")
    if (advice := converter_advice(path)) is not None:
        raise ReconError(f"{path}: {advice}")
    raise ReconError(f"{path}: not a scan that recon reads ({described()}); import other arrays with 'recon convert'")
