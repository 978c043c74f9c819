"""ISMRMRD HDF5: raw acquisitions of any vendor after conversion (Inati et al. 2017, 10.1002/mrm.26089).

A file is a list of readouts, each with a header that says where in k-space it belongs. The headers are read once when
a scan is opened; the readouts of a slice only when that slice is asked for. What they mean: ``assembly``.
"""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.foreign.hdf5 import foreign_hdf5
from recon.foreign.schema import check_schema
from recon.scan import Scan
from recon.scans.assembly import Acquired, assembled
from recon.scans.hdf5_schema import REMEDY, ismrmrd_parts
from recon.scans.ismrmrd_header import parse_encodings
from recon.scans.ismrmrd_rows import sort_rows
from recon.scans.ismrmrd_table import read_heads
from recon.scans.reading import is_hdf5
from recon.scans.readouts import Acquisitions


def recognises(path: Path) -> bool:
    """Whether a root group of the HDF5 file holds an ISMRMRD ``xml`` header. Raises ReconError when truncated."""
    if not is_hdf5(path):
        return False
    with foreign_hdf5(path) as file:
        return _group(file) is not None


def open_file(path: Path) -> Scan:
    """Open a 2-D multi-slice or a 3-D Cartesian scan; reads the acquisition headers and the noise scan, no image data.

    Raises ReconError for images without acquisitions, and as ``recon.scans.assembly.assembled`` does.
    """
    return assembled(read_acquisitions(path)[1])


def read_acquisitions(path: Path) -> tuple[bytes, Acquired]:
    """The XML header of a file as it stands there, and its acquisitions. Raises ReconError when it is not ISMRMRD, or
    holds nothing for imaging."""
    path = Path(path)
    with foreign_hdf5(path) as file:
        group = _group(file)
        if group is None:
            raise ReconError(f"{path}: holds no ISMRMRD header")
        check_schema(path, file, ismrmrd_parts(group.name), REMEDY)
        xml = np.asarray(group["xml"]).reshape(-1)[0]
        encodings = parse_encodings(xml, path)
        heads = read_heads(path, group)
        source = _source(path, f"{group.name}/data")
    text = xml if isinstance(xml, bytes) else str(xml).encode()
    return text, Acquired(path, heads, sort_rows(path, heads, len(encodings)), encodings, source)


def _group(file: h5py.File) -> h5py.Group | None:
    for entry in file.values():
        if isinstance(entry, h5py.Group) and "xml" in entry:
            return entry
    return None


def _source(path: Path, name: str) -> Acquisitions:
    """The samples of a file's acquisitions; ``name``: of the table in the file."""

    def read(rows: NDArray[np.int64], coils: int) -> Iterator[NDArray[np.complex64]]:
        with foreign_hdf5(path) as file:
            yield from _acquisitions(path, file[name], rows, coils)

    return read


def _acquisitions(
    path: Path, data: h5py.Dataset, rows: NDArray[np.int64], coils: int
) -> Iterator[NDArray[np.complex64]]:
    """Samples ``[coil, sample]`` of the given rows, in their order; neighbouring rows are read together."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    for run in np.split(rows, breaks):
        for row, values in zip(run, data.fields("data")[run[0] : run[-1] + 1], strict=True):
            if values.size == 0 or values.size % (2 * coils):
                raise ReconError(f"{path}: acquisition {row} is truncated ({values.size} values); export again")
            yield np.ascontiguousarray(values, np.float32).view(np.complex64).reshape(coils, -1)
