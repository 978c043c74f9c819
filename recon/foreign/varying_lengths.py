"""Tables with entries of varying length: the lengths as stored, held against the file before HDF5 believes them.

Reading such an entry, HDF5 allocates what its length says and only then looks for the data. The stored form of an entry
is its length (four bytes), and the address of a collection in the global heap of the file with a number in there.
No filter packs the heap, so all entries together, and every collection, are smaller than the file.
"""

import io
import os
import zlib
from collections.abc import Iterator

import h5py
import numpy as np

from recon.errors import ReconError

_ROWS = 1 << 16  # read at a time
_PARTS = 256  # looked at together


def check_lengths(path: str | os.PathLike[str], table: h5py.Dataset, field: str, size: int) -> None:
    """Raises ReconError when the entries ``field``, of ``size`` bytes a value, of the rows ``[row]`` of a table claim
    more bytes than the file has. Tables packed by other filters than HDF5's own are not looked at."""
    there = os.stat(path).st_size
    form = table.id.get_type()
    place = form.get_member_offset(form.get_member_index(field.encode()))
    row = np.dtype(
        {
            "names": ["length", "heap"],
            "formats": ["<u4", "<u8"],
            "offsets": [place, place + 4],
            "itemsize": form.get_size(),
        }
    )
    claimed, heaps = 0, set[int]()
    for block in _stored(path, table, row.itemsize, there):
        entries = np.frombuffer(block, row, len(block) // row.itemsize)
        claimed += size * int(entries["length"].sum(dtype=np.uint64))
        heaps.update(entries["heap"].tolist())
        if claimed > there:
            break
    if claimed > there or max(_heap_sizes(path, heaps), default=0) > there:
        raise ReconError(
            f"{path}: the rows of '{table.name}' claim more than the {there} bytes of the file; it is damaged, "
            "copy or export it again"
        )


def _heap_sizes(path: str | os.PathLike[str], addresses: set[int]) -> Iterator[int]:
    """Bytes that the collections at some addresses say that they have; HDF5 finds out itself where there is none."""
    with open(path, "rb", buffering=0) as file:
        for address in addresses:
            if address < 1 << 62:
                file.seek(address)
                head = file.read(16)
                if head.startswith(b"GCOL"):
                    yield int.from_bytes(head[8:], "little")


def _stored(path: str | os.PathLike[str], table: h5py.Dataset, width: int, there: int) -> Iterator[bytes]:
    """The rows of a table as they lie in the file, unpacked, some at a time."""
    if table.chunks is not None:
        yield from _chunks(path, table, width, there)
    elif (start := table.id.get_offset()) is not None:
        with open(path, "rb") as file:
            file.seek(start)
            for first in range(0, table.shape[0], _ROWS):
                yield file.read(width * min(_ROWS, table.shape[0] - first))


def _chunks(path: str | os.PathLike[str], table: h5py.Dataset, width: int, there: int) -> Iterator[bytes]:
    plist = table.id.get_create_plist()
    filters = [plist.get_filter(index)[0] for index in range(plist.get_nfilters())]
    if not set(filters) <= {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}:
        return
    places: list[h5py.h5d.StoreInfo] = []
    table.id.chunk_iter(places.append)
    if any(place.size > there for place in places):
        raise ReconError(f"{path}: a part of '{table.name}' is larger than the file; copy or export it again")
    with open(path, "rb", buffering=0) as file:
        for first in range(0, len(places), _PARTS):
            yield b"".join(
                _unpacked(_read(file, place), filters, place.filter_mask, width, table.chunks[0])[
                    : width * max(0, table.shape[0] - place.chunk_offset[0])
                ]
                for place in places[first : first + _PARTS]
            )


def _read(file: io.FileIO, place: h5py.h5d.StoreInfo) -> bytes:
    file.seek(place.byte_offset)
    return file.read(place.size)


def _unpacked(packed: bytes, filters: list[int], skipped: int, width: int, rows: int) -> bytes:
    """The bytes of a chunk before its ``filters`` were applied, but for those whose bit is set in ``skipped``.

    Raises RuntimeError when it cannot be unpacked.
    """
    for index, kind in reversed(list(enumerate(filters)) if filters else []):
        if skipped >> index & 1:
            continue
        if kind == h5py.h5z.FILTER_FLETCHER32:
            packed = packed[:-4]
        elif kind == h5py.h5z.FILTER_DEFLATE:
            try:
                packed = zlib.decompressobj().decompress(packed, width * rows + 4)
            except zlib.error as error:
                raise RuntimeError(str(error)) from error
        elif len(packed) == width * rows:
            packed = np.frombuffer(packed, np.uint8).reshape(width, rows).T.tobytes()
    return packed
