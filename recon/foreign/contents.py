"""Everything that an HDF5 file holds, looked at without reading data: it must lie in the file itself."""

import math
import os
from collections.abc import Iterator

import h5py

from recon.errors import ReconError
from recon.foreign.sizes import check_declared

MOST_OBJECTS = 100_000  # groups and datasets of one file; scans have a dozen, MATLAB's cells some thousand


def datasets_of(path: str | os.PathLike[str], file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Every dataset with its full name, each once however many names it has.

    Raises ReconError for what lies outside the file: external links, external storage, virtual datasets. A digest would
    not see it change, and a file from elsewhere could carry whatever its reader may read into the output.
    """
    seen: set[object] = {h5py.h5o.get_info(file.id).addr}
    waiting: list[h5py.Group] = [file]
    while waiting:
        group = waiting.pop()
        for name in group:
            place = f"{group.name.rstrip('/')}/{name}"
            if not isinstance(_link(path, group, name, place), h5py.HardLink):
                continue  # a soft link: what it points to is in this file, and is met there
            entry = group[name]
            address = h5py.h5o.get_info(entry.id).addr
            if address in seen:
                continue
            seen.add(address)
            if len(seen) > MOST_OBJECTS:
                raise ReconError(f"{path}: holds more than {MOST_OBJECTS} groups and datasets; no scan or result does")
            if isinstance(entry, h5py.Group):
                waiting.append(entry)
            elif isinstance(entry, h5py.Dataset):
                _refuse_storage_elsewhere(path, entry, place)
                _check_size(path, entry, place)
                yield place, entry


def _link(path: str | os.PathLike[str], group: h5py.Group, name: str, place: str) -> object:
    try:
        link = group.get(name, getlink=True)
    except TypeError as error:
        raise ReconError(
            f"{path}: '{place}' is a link of a kind that HDF5 does not define; store the data themselves"
        ) from error
    if isinstance(link, h5py.ExternalLink):
        raise ReconError(
            f"{path}: '{place}' is a link to another file ({link.filename}), which is never followed; "
            "copy the data into one file with h5repack or h5py"
        )
    return link


def _refuse_storage_elsewhere(path: str | os.PathLike[str], dataset: h5py.Dataset, place: str) -> None:
    plist = dataset.id.get_create_plist()
    if plist.get_layout() == h5py.h5d.VIRTUAL:
        kind = "is put together from other datasets (virtual)"
    elif plist.get_external_count():
        kind = "keeps its data in another file (external storage)"
    else:
        return
    raise ReconError(f"{path}: dataset '{place}' {kind}, which is never followed; copy the data into one file")


def _check_size(path: str | os.PathLike[str], dataset: h5py.Dataset, place: str) -> None:
    """Raises ReconError when a dataset claims more than its stored bytes can hold: reading it would fill the memory."""
    if dataset.shape is not None:
        declared = math.prod(map(int, dataset.shape)) * dataset.dtype.itemsize
        stored = dataset.id.get_storage_size()
        check_declared(path, f"dataset '{place}'", declared, stored, packed=dataset.chunks is not None)
