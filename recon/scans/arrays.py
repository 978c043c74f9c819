"""k-space arrays without a format of their own: NumPy .npy and MATLAB .mat, imported by naming their axes."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.foreign.archive import DAMAGE, declared_array
from recon.foreign.hdf5 import foreign_hdf5
from recon.foreign.sizes import check_declared
from recon.scans.reading import is_hdf5

ARRAYS = (".npy", ".mat")  # file suffixes
AXES = ("slice", "coil", "readout", "phase", "phase2")


@dataclass(frozen=True)
class NamedArray:
    """A complex array whose axes have names.

    ``read(coil=3)`` gives the entries at fixed indices, complex64, the other axes in the order of ``AXES``.
    """

    path: Path
    sizes: dict[str, int]  # by axis name
    read: Callable[..., NDArray[np.complex64]]


@contextmanager
def open_array(path: str | Path, axes: Sequence[str], key: str | None = None) -> Iterator[NamedArray]:
    """Open a .npy or .mat array of k-space for reading part by part.

    axes: a name of ``AXES`` per axis in the array's stored order; axes of length 1 may be left out. ``coil`` and
    ``phase`` must be among them, and ``readout`` unless ``phase2`` is. A .mat of version 7.3 is an HDF5 file whose
    axes come in the reverse of what MATLAB's ``size`` prints; older versions come in MATLAB's order.
    key: the variable inside a .mat; needed when it holds more than one complex array.

    .npy and .mat 7.3 are read lazily, older .mat at once. Raises ReconError when the file is truncated or foreign,
    the key or an axis is wrong, or the values are not complex.
    """
    path = Path(path)
    if not path.is_file():
        raise ReconError(f"{path}: no such file")
    if path.suffix == ".npy":
        yield _named(path, _load_npy(path), axes)
    elif path.suffix == ".mat" and is_hdf5(path):
        with foreign_hdf5(path) as file:
            yield _named(path, _pick(path, {name: file[name] for name in _complex_datasets(file)}, key), axes)
    elif path.suffix == ".mat":
        yield _named(path, _pick(path, _load_mat(path), key), axes)
    else:
        raise ReconError(f"{path}: not an array that recon imports ({', '.join(ARRAYS)})")


def _load_npy(path: Path) -> NDArray:
    try:
        with path.open("rb") as stream:
            declared_array(stream)
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except DAMAGE as error:
        said = " ".join(str(error).split())[:200]
        raise ReconError(f"{path}: truncated or not a plain .npy array ({said}); save it again") from error
    if not isinstance(array, np.ndarray):
        raise ReconError(f"{path}: not a single .npy array; save k-space on its own with numpy.save")
    return array


def _load_mat(path: Path) -> dict[str, Any]:
    import scipy.io

    try:
        for name, shape, _ in scipy.io.whosmat(path):  # complex numbers in double precision are the largest
            declared = math.prod(map(int, shape)) * 16
            check_declared(path, f"variable '{name}'", declared, path.stat().st_size, packed=True)
        content = scipy.io.loadmat(path)
    except ReconError:
        raise
    except Exception as error:  # scipy's reader raises many kinds for a damaged file
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise ReconError(f"{path}: truncated or not a MATLAB file ({said}); save it again") from error
    return {name: value for name, value in content.items() if not name.startswith("__")}


def _complex_datasets(file: h5py.File) -> list[str]:
    found: list[str] = []

    def visit(name: str, entry: Any) -> None:
        if isinstance(entry, h5py.Dataset) and not name.startswith("#"):
            found.append(name)

    file.visititems(visit)
    return found


def _pick(path: Path, candidates: dict[str, Any], key: str | None) -> Any:
    usable = [name for name, value in candidates.items() if _is_complex(value)]
    if key is None:
        if len(usable) == 1:
            return candidates[usable[0]]
        raise ReconError(f"{path}: name the array with --key; complex arrays: {', '.join(usable) or 'none'}")
    if key not in candidates:
        raise ReconError(f"{path}: no '{key}' in it; complex arrays: {', '.join(usable) or 'none'}")
    return candidates[key]


def _is_complex(array: Any) -> bool:
    kind = getattr(array, "dtype", None)
    return kind is not None and (kind.kind == "c" or set(kind.names or ()) == {"real", "imag"})


def _named(path: Path, array: Any, axes: Sequence[str]) -> NamedArray:
    axes = [axis.strip() for axis in axes]
    if not _is_complex(array):
        raise ReconError(f"{path}: the array is {array.dtype}; k-space is complex, images cannot be imported")
    if unknown := [axis for axis in axes if axis not in AXES]:
        raise ReconError(f"{path}: unknown axis '{unknown[0]}'; the names are {', '.join(AXES)}")
    if len(set(axes)) != len(axes):
        raise ReconError(f"{path}: an axis is named twice in {','.join(axes)}")
    if "coil" not in axes or "phase" not in axes or not {"readout", "phase2"} & set(axes):
        raise ReconError(f"{path}: --axes must name coil, phase, and readout or phase2")
    if "slice" in axes and "phase2" in axes:
        raise ReconError(f"{path}: slice and phase2 exclude each other; import one slab at a time")
    places = list(range(array.ndim))
    if len(axes) != array.ndim:  # axes of length 1 may go unnamed
        places = [place for place in places if array.shape[place] != 1]
    if len(axes) != len(places):
        raise ReconError(f"{path}: the array is {tuple(array.shape)}, but --axes names {len(axes)}: {','.join(axes)}")
    if 0 in array.shape:
        raise ReconError(f"{path}: the array is empty {tuple(array.shape)}")
    place_of = dict(zip(axes, places, strict=True))

    def read(**fixed: int) -> NDArray[np.complex64]:
        selection: list[Any] = [0] * array.ndim
        for axis, place in place_of.items():
            selection[place] = fixed.get(axis, slice(None))
        values = np.asarray(array[tuple(selection)])
        if values.dtype.names:
            values = values["real"] + 1j * values["imag"]
        stored = [axis for axis in sorted(place_of, key=place_of.__getitem__) if axis not in fixed]
        return values.transpose([stored.index(axis) for axis in AXES if axis in stored]).astype(np.complex64)

    return NamedArray(path, {axis: int(array.shape[place]) for axis, place in place_of.items()}, read)
