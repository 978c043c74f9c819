"""BART .cfl/.hdr pairs: complex64 in column-major order, up to 16 dimensions of fixed meaning.

The dimensions used here, by BART's convention: 0 readout, 1 first phase encoding, 2 second phase encoding, 3 coil,
13 slice. BART's ``fft -u`` is centred and orthonormal like ours. The pair holds no geometry, contrast or noise.
"""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.acquisition.masks import calibration_extent
from recon.atomic import atomic_path
from recon.digest import file_sha256
from recon.errors import ReconError
from recon.scan import Scan
from recon.scans.arrays import NamedArray
from recon.scans.fastmri import mask_of_slices
from recon.scans.reading import checked_index, checked_slice

READOUT, PHASE, PHASE2, COIL, SLICE = 0, 1, 2, 3, 13
DIMENSIONS = 16
_NAMES = {
    4: "coil map sets",
    5: "echoes",
    6: "coefficients",
    7: "coefficients",
    10: "frames",
    11: "frames",
    14: "averages",
    15: "batches",
}


def recognises(path: Path) -> bool:
    """Whether ``path`` is named as one of a pair."""
    return path.suffix in (".cfl", ".hdr")


def open_file(path: Path) -> Scan:
    """Open a .cfl/.hdr pair by either name; the data is memory-mapped and read slice by slice.

    A pair with one readout sample and two phase encodings (BART's usual slice of a 3-D scan) gives one slice with
    axes (first phase encoding, second phase encoding).

    Raises ReconError when one of the two is missing, truncated or foreign, or for dynamic, multi-echo and whole
    3-D data.
    """
    cfl, header = pair(path)
    dims = read_dimensions(cfl, header)
    if dims[READOUT] > 1 and dims[PHASE2] > 1:
        raise ReconError(
            f"{cfl}: 3-D k-space {dims[READOUT]} x {dims[PHASE]} x {dims[PHASE2]}; "
            f"'recon convert {cfl} --out FILE.h5' turns it into slices"
        )
    data = map_data(cfl, dims)
    if dims[PHASE2] > 1:
        shape = (dims[SLICE], dims[COIL], dims[PHASE], dims[PHASE2])
        ordered = data[0].transpose(3, 2, 0, 1)
    else:
        shape = (dims[SLICE], dims[COIL], dims[READOUT], dims[PHASE])
        ordered = data[:, :, 0].transpose(3, 2, 0, 1)
    del data

    def read_raw(index: int) -> NDArray[np.complex64]:
        return np.asarray(ordered[index])

    mask = mask_of_slices(cfl, shape, read_raw)

    def read(index: int) -> NDArray[np.complex64]:
        return checked_slice(cfl, index, read_raw(checked_index(cfl, index, shape[0])), mask)

    return Scan(
        path=cfl,
        digest=file_sha256(header, cfl),
        shape=shape,
        read_kspace=read,
        mask=mask,
        calibration=calibration_extent(mask, shape[2]),
        image_shape=shape[2:],
        contrast="unknown",
    )


def open_volume(path: str | Path) -> NamedArray | None:
    """The k-space of a whole 3-D scan (axes coil, readout, phase, phase2), memory-mapped; None when the pair holds
    slices, which ``open_file`` reads. Raises ReconError as that does."""
    cfl, header = pair(path)
    dims = read_dimensions(cfl, header)
    if dims[READOUT] == 1 or dims[PHASE2] == 1:
        return None
    if dims[SLICE] > 1:
        raise ReconError(f"{cfl}: {dims[SLICE]} slabs of 3-D k-space; take one with 'bart slice 13 0 ...'")
    data = map_data(cfl, dims)[..., 0]

    def read(**fixed: int) -> NDArray[np.complex64]:
        return np.asarray(data[:, :, :, fixed["coil"]])

    sizes = {"coil": dims[COIL], "readout": dims[READOUT], "phase": dims[PHASE], "phase2": dims[PHASE2]}
    return NamedArray(cfl, sizes, read)


def pair(path: str | Path) -> tuple[Path, Path]:
    """The .cfl and .hdr of a pair given by either name. Raises ReconError when one is missing."""
    path = Path(path)
    cfl, header = path.with_suffix(".cfl"), path.with_suffix(".hdr")
    for needed in (cfl, header):
        if not needed.is_file():
            raise ReconError(f"{needed}: no such file; a BART pair needs both .cfl and .hdr")
    return cfl, header


def read_dimensions(cfl: Path, header: Path) -> tuple[int, ...]:
    """The 16 dimensions of a pair. Raises ReconError when the header is foreign, the data is not of that size, or a
    dimension is used that a static scan does not have."""
    try:
        lines = header.read_text("ascii").splitlines()
        place = next(number for number, line in enumerate(lines) if line.strip() == "# Dimensions")
        dims = [int(word) for word in lines[place + 1].split()]
    except (OSError, UnicodeDecodeError, ValueError, StopIteration, IndexError) as error:
        raise ReconError(f"{header}: not a BART header (no '# Dimensions' with whole numbers)") from error
    dims += [1] * (DIMENSIONS - len(dims))
    if len(dims) != DIMENSIONS or min(dims) < 1:
        raise ReconError(f"{header}: dimensions {dims} are not those of a scan; export it again")
    size, expected = cfl.stat().st_size, 8 * math.prod(dims)
    if size != expected:
        raise ReconError(f"{cfl}: truncated or foreign, {size} bytes where its header asks for {expected}; copy again")
    for index, dim in enumerate(dims):
        if dim > 1 and index not in (READOUT, PHASE, PHASE2, COIL, SLICE):
            raise ReconError(
                f"{cfl}: {dim} {_NAMES.get(index, f'entries in dimension {index}')}; recon reads static scans only, "
                f"take one with 'bart slice {index} 0 ...' or average them"
            )
    return tuple(dims)


def map_data(cfl: Path, dims: tuple[int, ...]) -> NDArray[np.complex64]:
    """The data memory-mapped as ``[readout, phase, phase2, coil, slice]``."""
    mapped = np.memmap(cfl, np.complex64, "r", shape=dims, order="F")
    return mapped.reshape((*dims[:4], dims[SLICE]), order="F")


def write_bart(path: str | Path, shape: tuple[int, int, int, int], slices: Iterable[NDArray]) -> Path:
    """Write k-space slices ``[coil, readout, phase]`` as a .cfl/.hdr pair; returns the .cfl path.

    ``shape`` is (slice, coil, readout, phase). Raises ReconError when a slice does not fit or the disk is full.
    """
    cfl = Path(path).with_suffix(".cfl")
    dims = [1] * DIMENSIONS
    dims[SLICE], dims[COIL], dims[READOUT], dims[PHASE] = shape
    written = 0
    with atomic_path(cfl) as data, atomic_path(cfl.with_suffix(".hdr")) as header:
        with data.open("wb") as file:
            for kspace in slices:
                if kspace.shape != shape[1:]:
                    raise ReconError(f"{cfl}: slice {written} is {kspace.shape}, not {shape[1:]}")
                # Column-major: readout runs fastest, the slice slowest.
                file.write(np.ascontiguousarray(kspace.transpose(0, 2, 1), np.complex64).tobytes())
                written += 1
        if written != shape[0]:
            raise ReconError(f"{cfl}: {written} slices instead of {shape[0]}; nothing is written")
        header.write_text("# Dimensions\n" + " ".join(map(str, dims)) + "\n", "ascii")
    return cfl
