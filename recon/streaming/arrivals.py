"""What has come of a scan: acquisitions, held until the images of their slice are sent. One thread adds, one waits."""

import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from recon.scans.ismrmrd_header import Encoding
from recon.scans.ismrmrd_layout import slice_order
from recon.scans.ismrmrd_rows import flagged, kinds
from recon.streaming.errors import ProtocolError
from recon.streaming.framing import Readout
from recon.streaming.limits import Limits, check_header, expected_slices

Found = TypeVar("Found")
_ACQ_LAST_IN_SLICE, _ACQ_LAST_IN_MEASUREMENT = 8, 25
_MOMENT = 0.2  # seconds between two looks for Ctrl-C


class Arrivals:
    """The acquisitions of one session. ``at_end``: slices are taken for complete only when the peer has closed.

    A slice is complete with the acquisition that is flagged as its last (of the last average that the header names),
    or when all lines of the header's limits have come in all of its averages. A 3-D scan is one slice here, its slab:
    it is complete with the flagged acquisition when all partitions have been seen, too (some scanners flag the last
    line of each), with the last of the measurement, or when all lines of all partitions have come.
    """

    def __init__(self, limits: Limits, at_end: bool = False) -> None:
        self._limits, self._at_end = limits, at_end
        self._changed = threading.Condition()
        self._heads: list[NDArray] = []
        self._samples: dict[int, NDArray[np.complex64]] = {}
        self._rows: dict[int, list[int]] = defaultdict(list)  # slice counter -> acquisitions for images or calibration
        self._imaged: set[int] = set()  # counters with a line of an image
        self._lines: dict[int, set[tuple[int, int, int]]] = defaultdict(set)  # line, partition, average
        self._partitions: dict[int, set[int]] = defaultdict(set)
        self._complete: list[int] = []  # counters, in the order in which they became so
        self._left: list[int] = []  # counters that were not complete when the peer closed
        self._taken: set[int] = set()
        self._bytes = 0
        self._error: Exception | None = None
        self.encodings: list[Encoding] | None = None
        self.closed = False
        self.finished: float | None = None  # when the last line was there, on the monotonic clock

    def open(self, encodings: list[Encoding]) -> None:
        """The header has come. Raises ProtocolError when it is a second one, or beyond the limits."""
        check_header(encodings, self._limits)
        with self._changed:
            if self.encodings is not None:
                raise ProtocolError("a second header")
            self.encodings = encodings
            self._changed.notify_all()

    def add(self, readout: Readout) -> None:
        """Take one acquisition. Raises ProtocolError when it fits neither the header nor those before it."""
        head = readout.head
        with self._changed:
            if self.encodings is None:
                raise ProtocolError("an acquisition before the header")
            if self._heads and head["active_channels"] != self._heads[0]["active_channels"]:
                raise ProtocolError("the number of channels varies between acquisitions")
            noise, imaging, calibration = (bool(found[0]) for found in kinds(head.reshape(1)))
            counter = int(head["idx"]["slice"])
            if not (noise or imaging or calibration) or (noise and self._imaged):
                return  # navigators and the like, and noise that comes too late to be of use
            if not noise and counter in self._taken:
                raise ProtocolError(
                    f"a line of slice {counter} came after its last one; start the server with --at-end"
                )
            self._hold(head, readout.samples)
            if not noise:
                self._note(counter, head, imaging)
            self._changed.notify_all()

    def _hold(self, head: NDArray, samples: NDArray[np.complex64]) -> None:
        self._bytes += head.nbytes + samples.nbytes
        if self._bytes > self._limits.memory:
            raise ProtocolError(f"more than {self._limits.memory >> 20} MiB of acquisitions wait for their slices")
        self._samples[len(self._heads)] = samples
        self._heads.append(head)

    def _note(self, counter: int, head: NDArray, imaging: bool) -> None:
        assert self.encodings is not None
        self._rows[counter].append(len(self._heads) - 1)
        if len(self._rows) > self._limits.slices:
            raise ProtocolError(f"more than {self._limits.slices} slices")
        if imaging:
            self._imaged.add(counter)
        encoding = self.encodings[min(int(head["encoding_space_ref"]), len(self.encodings) - 1)]
        average = encoding.limits.get("average")
        last = bool(flagged(head.reshape(1), _ACQ_LAST_IN_SLICE)[0])
        if encoding.encoded_matrix[2] > 1:
            last = self._last_of_volume(counter, head, encoding, imaging, last)
        whole = last and (average is None or head["idx"]["average"] >= average.maximum)
        if imaging:
            whole |= self._every_line(counter, head, encoding)
        if whole and imaging and not self._at_end and counter not in self._complete:
            self._complete.append(counter)
            if len(self._complete) == expected_slices(encoding):
                self.finished = time.monotonic()

    def _last_of_volume(self, counter: int, head: NDArray, encoding: Encoding, imaging: bool, last: bool) -> bool:
        if imaging:
            self._partitions[counter].add(int(head["idx"]["kspace_encode_step_2"]))
        limit = encoding.limits.get("kspace_encoding_step_2")
        every = limit is not None and len(self._partitions[counter]) >= limit.maximum - limit.minimum + 1
        return (last and every) or bool(flagged(head.reshape(1), _ACQ_LAST_IN_MEASUREMENT)[0])

    def _every_line(self, counter: int, head: NDArray, encoding: Encoding) -> bool:
        """Whether with this one all lines of the header's limits, which must name the averages, have come."""
        names = ["kspace_encoding_step_1", "average"]
        if encoding.encoded_matrix[2] > 1:
            names.append("kspace_encoding_step_2")
        limits = [limit for limit in map(encoding.limits.get, names) if limit is not None]
        if len(limits) < len(names):
            return False
        lines, counted = self._lines[counter], ("kspace_encode_step_1", "kspace_encode_step_2", "average")
        line, partition, average = (int(head["idx"][name]) for name in counted)
        lines.add((line, partition, average))
        return len(lines) >= math.prod(limit.maximum - limit.minimum + 1 for limit in limits)

    def close(self) -> None:
        """All has come: every slice is as complete as it will be."""
        with self._changed:
            self.closed = True
            self.finished = self.finished or time.monotonic()
            self._left = sorted(self._imaged - set(self._complete))
            self._changed.notify_all()

    def fail(self, error: Exception) -> None:
        """Nothing more will come, because of this; whoever waits gets it."""
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def snapshot(self, counters: Collection[int]) -> tuple[NDArray, NDArray[np.bool_]]:
        """All heads so far ``[acquisition]``, and which of them are noise or belong to the slices ``counters``. Raises
        ProtocolError when there are none."""
        with self._changed:
            if not self._heads:
                raise ProtocolError("no acquisition came before the end")
            heads = np.array(self._heads)
            whole = kinds(heads)[0]
            for counter in counters:
                whole[self._rows[counter]] = True
            return heads, whole

    def rows(self, counter: int) -> list[int]:
        """The acquisitions of a slice, for images or calibration, in the order of their coming."""
        with self._changed:
            return list(self._rows[counter])

    def head(self, row: int) -> NDArray:
        """The head of one acquisition."""
        return self._heads[row]

    def samples(self, numbers: Sequence[int]) -> Iterator[NDArray[np.complex64]]:
        """Samples ``[coil, sample]`` of these acquisitions."""
        for number in numbers:
            yield self._samples[number]

    def startable(self, needed: Callable[[int], Collection[int]]) -> list[int] | None:
        """For ``wait_for``, the slices of which a scan can begin to be understood: those that ``needed(number of
        slices)`` names, as soon as they are complete and every slice of the header has been seen, so that the slices'
        order is known; else all, once the peer has closed."""
        otherwise = list(self._rows) if self.closed else None
        if self.encodings is None or not self._imaged:
            return otherwise
        first = min(self._rows[counter][0] for counter in self._imaged)
        encoding = self.encodings[min(int(self._heads[first]["encoding_space_ref"]), len(self.encodings) - 1)]
        count = len(self._imaged)
        if count != expected_slices(encoding) or len(self._complete) < len(set(needed(count))):
            return otherwise
        heads = np.array(self._heads)
        order = slice_order(heads[kinds(heads)[1]])
        wanted = [counter for counter, place in order.items() if place in set(needed(count))]
        return wanted if set(wanted) <= set(self._complete) else otherwise

    def next_complete(self) -> tuple[int | None] | None:
        """For ``wait_for``: a complete slice that was not taken, at the end those that are not; then ``(None,)``."""
        for counter in [*self._complete, *self._left]:
            if counter not in self._taken:
                self._taken.add(counter)
                return (counter,)
        return (None,) if self.closed else None

    def wait_for(self, look: Callable[[], Found | None]) -> Found:
        """What ``look`` finds, as soon as it finds something. Raises what ended the session before."""
        with self._changed:
            while True:
                if (found := look()) is not None:
                    return found
                if self._error is not None:
                    raise self._error
                self._changed.wait(_MOMENT)

    def drop(self, counter: int) -> None:
        """Forget the samples of a slice."""
        with self._changed:
            for row in self._rows[counter]:
                samples = self._samples.pop(row, None)
                self._bytes -= 0 if samples is None else samples.nbytes
