"""The scan that acquisitions become while they arrive: the same, to the bit, as if they were read from a file."""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.scan import KspaceReader, Scan
from recon.scans.acquisition_rows import layouts, refuse_places
from recon.scans.assembly import Acquired, assembled, refuse_unsupported
from recon.scans.ismrmrd_layout import Layout, sampling, slice_order
from recon.scans.ismrmrd_rows import kinds, sort_rows
from recon.scans.readouts import Acquisitions, filled
from recon.scans.validity import checked_scan
from recon.streaming.arrivals import Arrivals
from recon.streaming.errors import ProtocolError
from recon.streaming.limits import Limits, check_volume


@dataclass(frozen=True)
class StreamedScan:
    """A scan whose slices can be read once they are complete, and ``order``: slice counter -> index. Of a 3-D scan
    (``volume``) the slices are positions along the readout, and all can be read when its slab is complete."""

    scan: Scan
    order: dict[int, int]
    volume: bool = False


def streamed_scan(path: Path, arrivals: Arrivals, counters: Collection[int], limits: Limits = Limits()) -> StreamedScan:
    """The scan of what has come. Mask and averages are those of the slices ``counters``; the others must agree.

    Raises ReconError as for a file.
    """
    encodings = arrivals.encodings
    assert encodings is not None
    heads, whole = arrivals.snapshot(counters)
    rows = sort_rows(path, heads, len(encodings))
    measured = Acquired(
        path, heads, rows, encodings, lambda wanted, coils: arrivals.samples(wanted.tolist()),
        digest=hashlib.sha256(heads[0].tobytes()).hexdigest(),
    )  # fmt: skip
    if encodings[rows.space].encoded_matrix[2] > 1:
        check_volume(encodings[rows.space], int(heads["active_channels"].max()), limits)
        return StreamedScan(checked_scan(assembled(measured)), dict.fromkeys(counters, 0), volume=True)
    scan = assembled(measured, whole)
    first = heads[kinds(heads)[1]][:1]
    order = slice_order(heads[_of_space(heads, first)])
    slices = _Slices(path, arrivals, scan, order, first)
    separate: KspaceReader | None = None if scan.calibration_kspace is None else slices.read_calibration
    return StreamedScan(checked_scan(replace(scan, read_kspace=slices.read_kspace, calibration_kspace=separate)), order)


def _of_space(heads: NDArray, first: NDArray) -> NDArray[np.bool_]:
    """Imaging acquisitions of the encoding of the first."""
    return np.asarray(kinds(heads)[1] & (heads["encoding_space_ref"] == first["encoding_space_ref"][0]))


@dataclass(frozen=True)
class _Slices:
    """Reads single slices, and holds each against what the scan was begun with."""

    path: Path
    arrivals: Arrivals
    scan: Scan
    order: dict[int, int]
    first: NDArray  # the head of the first acquisition of an image, in an array

    def read_kspace(self, index: int) -> NDArray[np.complex64]:
        """Kspace ``[coil, readout, phase]``. Raises ReconError when the slice does not fit the scan."""
        measured, layout, _ = self._layouts(index)
        _, _, readout, phase = self.scan.shape
        counts, mask = sampling(self.path, layout, np.array([index]), readout, phase)
        wanted = self.scan.mask
        if (_two(mask, readout) != _two(wanted, readout)).any():
            lines = [int(found.any(0).sum()) for found in (_two(mask, readout), _two(wanted, readout))]
            raise ProtocolError(f"the {lines[0]} lines of slice {index} are not the {lines[1]} of the first slices")
        if int(counts[counts > 0].min()) < (self.scan.header.averages or 1):
            raise ProtocolError(f"slice {index} has fewer averages than the first slices; start with --at-end")
        return filled(self.path, measured, layout, index, self.scan.shape[1:], wanted)

    def read_calibration(self, index: int) -> NDArray[np.complex64]:
        """The separate calibration scan of the slice."""
        measured, _, separate = self._layouts(index)
        assert separate is not None
        return filled(self.path, measured, separate, index, self.scan.shape[1:], np.ones((), bool))

    def _layouts(self, index: int) -> tuple[Acquisitions, Layout, Layout | None]:
        (counter,) = [counter for counter, place in self.order.items() if place == index]
        numbers = self.arrivals.rows(counter)
        heads = np.array([self.arrivals.head(number) for number in numbers])

        def samples(rows: NDArray[np.int64], coils: int) -> Iterator[NDArray[np.complex64]]:
            return self.arrivals.samples([numbers[row] for row in rows])

        encodings = self.arrivals.encodings
        assert encodings is not None
        rows = sort_rows(self.path, heads, len(encodings))
        if rows.space != int(self.first["encoding_space_ref"][0]):
            raise ProtocolError(f"slice {index} is of another encoding than the first slices")
        refuse_unsupported(self.path, encodings[rows.space], np.concatenate([self.first, heads[rows.imaging]]))
        refuse_places(self.path, heads[rows.imaging])
        layout, separate = layouts(self.path, heads, rows, encodings, self.order, self.scan.shape[2:])
        if (separate is None) != (self.scan.calibration_kspace is None):
            raise ProtocolError(f"slice {index} has other calibration lines than the first slices")
        return samples, layout, separate


def _two(mask: NDArray[np.bool_], readout: int) -> NDArray[np.bool_]:
    return np.broadcast_to(mask, (readout, mask.shape[-1]))
