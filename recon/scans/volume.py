"""3-D scans that are lists of readouts: their slices come out after the transform along the readout.

A slice needs every readout of the file. So a block of slices is made at a time, as many as fit into a fixed memory, and
kept until a slice of another block is asked for: whoever reads the slices in order reads the file once a block.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.acquisition.fourier_numpy import to_image
from recon.errors import ReconError
from recon.scan import KspaceReader
from recon.scans.acquisition_rows import Rows
from recon.scans.ismrmrd_header import Encoding
from recon.scans.ismrmrd_layout import Layout
from recon.scans.reading import checked_index, checked_slice
from recon.scans.readouts import Acquisitions, kept_samples

BLOCK_BYTES = 1 << 28  # of slices that are made together
_TOGETHER = 64  # readouts that are transformed at once


@dataclass(frozen=True)
class VolumeSize:
    """Sizes of a 3-D scan: ``readout`` as encoded, ``rows`` of it that are shown, coils, phase lines, partitions."""

    readout: int
    rows: int
    coils: int
    phase: int
    partitions: int


def partition_heads(path: Path, heads: NDArray, rows: Rows, encoding: Encoding) -> NDArray:
    """The headers with the array position of their partition for a slice counter. Raises ReconError when one lies
    outside the header's matrix."""
    partitions = encoding.encoded_matrix[2]
    limit = encoding.limits.get("kspace_encoding_step_2")
    places = heads["idx"]["kspace_encode_step_2"].astype(np.int64)
    if limit is not None:
        places += partitions // 2 - limit.center
    used = places[rows.imaging | rows.calibration]
    if (outside := (used < 0) | (used >= partitions)).any():
        raise ReconError(
            f"{path}: {outside.sum()} of {used.size} acquisitions lie outside the header's {partitions} partitions; "
            "the header does not belong to this data"
        )
    heads = heads.copy()
    heads["idx"]["slice"] = np.clip(places, 0, partitions - 1)
    return heads


def volume_sampling(layout: Layout, size: VolumeSize) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """How often each line was measured, and the mask, both ``[phase, partition]``."""
    counts = np.zeros((size.phase, size.partitions), np.int64)
    np.add.at(counts, (layout.lines, layout.slices), 1)
    return counts, counts > 0


def volume_reader(
    path: Path, acquisitions: Acquisitions, layout: Layout, size: VolumeSize, mask: NDArray[np.bool_]
) -> KspaceReader:
    """The reader of a 3-D scan's slices ``[coil, phase, partition]``, one for each shown position along the readout."""
    counts, _ = volume_sampling(layout, size)
    divisor = np.maximum(counts, 1).astype(np.float32)
    length = max(1, BLOCK_BYTES // (8 * size.coils * size.phase * size.partitions))
    skipped = size.readout // 2 - size.rows // 2

    @functools.lru_cache(maxsize=1)
    def block(number: int) -> NDArray[np.complex64]:
        first = number * length
        count = min(length, size.rows - first)
        total = np.zeros((count, size.coils, size.phase, size.partitions), np.complex64)
        for places, readouts in _together(path, acquisitions, layout, size):
            lines = to_image(readouts, axes=(-1,))[..., skipped + first : skipped + first + count]
            for place, line in zip(places, lines, strict=True):
                with np.errstate(invalid="ignore", over="ignore"):  # not finite: checked_slice says so
                    total[:, :, layout.lines[place], layout.slices[place]] += line.T
        total /= divisor
        return total

    def read(index: int) -> NDArray[np.complex64]:
        checked_index(path, index, size.rows)
        return checked_slice(path, index, block(index // length)[index % length], mask)

    return read


def _together(
    path: Path, acquisitions: Acquisitions, layout: Layout, size: VolumeSize
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.complex64]]]:
    """Some readouts at a time, ``[readout, coil, sample]`` of the encoded length, and their places in the layout."""
    source = acquisitions(layout.rows, size.coils)
    for first in range(0, layout.rows.size, _TOGETHER):
        places = np.arange(first, min(first + _TOGETHER, layout.rows.size))
        readouts = np.zeros((places.size, size.coils, size.readout), np.complex64)
        for position, place in enumerate(places):
            kept = kept_samples(path, layout, int(place), next(source))
            start = layout.starts[place]
            readouts[position, :, start : start + kept.shape[1]] = kept
        yield places, readouts
