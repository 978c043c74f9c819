"""Siemens raw data files (twix, ``.dat``) as bytes: their measurements, the headers of their lines, their samples.

VB files hold one measurement: text header, then lines, each channel of a line behind a header of its own. VD, VE and
XA files begin with a table of up to 64 measurements; a line has one header, and a short one before each channel. The
layout is that of the structures in twixtools and siemens_to_ismrmrd; the tests write and read the same files with
twixtools. It is read here without: a damaged file makes such readers loop or fill the memory, and twixtools needs FFTW,
whose licence is the GPL.

Nothing is believed: every position and length is held against the file before it is used, every step goes forward, and
the patient's name in the table of measurements is never touched.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError

REMEDY = "copy or export it from the scanner again"
MOST_MEASUREMENTS = 64
MOST_LINES = 1 << 22
_TABLE = 10240  # bytes of the table of measurements of VD and later
_LARGEST_HEADER = 1 << 25  # bytes of text; real ones have one or two million

ACQEND, SYNCDATA = 0, 5  # bits of the mask that says what a line is
_COUNTERS = ("line", "average", "slice", "partition", "echo", "phase", "repetition", "set", "segment")


def _line_dtype(mask: int, samples: int, places: int, size: int) -> np.dtype:
    """The fields of a line's header that are read: the two layouts order the same blocks."""
    fields: dict[str, tuple[str, int]] = {
        "length": ("<u4", 0), "measurement": ("<i4", 4), "counter": ("<u4", 8), "time": ("<u4", 12),
        "mask": ("<u8", mask), "samples": ("<u2", samples), "channels": ("<u2", samples + 2),
        **{name: ("<u2", samples + 4 + 2 * number) for number, name in enumerate(_COUNTERS)},
        "cut_before": ("<u2", samples + 32), "cut_after": ("<u2", samples + 34), "centre_column": ("<u2", samples + 36),
        "centre_line": ("<u2", samples + 48), "centre_partition": ("<u2", samples + 50),
        "position": ("(3,)<f4", places), "quaternion": ("(4,)<f4", places + 12),
    }  # fmt: skip
    names = list(fields)
    formats, offsets = [fields[name][0] for name in names], [fields[name][1] for name in names]
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})


@dataclass(frozen=True)
class Layout:
    """Sizes in bytes: what precedes the channels of a line, and what precedes the samples of a channel."""

    name: str
    line: np.dtype
    before_line: int
    before_channel: int


VB = Layout("VB", _line_dtype(mask=20, samples=28, places=96, size=128), 0, 128)
VD = Layout("VD or later", _line_dtype(mask=40, samples=48, places=100, size=192), 192, 32)


@dataclass(frozen=True)
class Measurement:
    """One measurement of a file: its text header, and the lines of it with their places in the file."""

    path: Path
    layout: Layout
    text: bytes
    offsets: NDArray[np.int64]
    lines: NDArray  # [line], fields as ``Layout.line``

    def samples(self, row: int) -> NDArray[np.complex64]:
        """``[coil, sample]`` of one line."""
        channels, samples = int(self.lines["channels"][row]), int(self.lines["samples"][row])
        kind = np.dtype([("header", f"V{self.layout.before_channel}"), ("samples", "<c8", (samples,))])
        with self.path.open("rb") as file:
            file.seek(int(self.offsets[row]) + self.layout.before_line)
            data = file.read(channels * kind.itemsize)
        if len(data) != channels * kind.itemsize:
            raise ReconError(f"{self.path}: became shorter while it was read; {REMEDY}")
        return np.frombuffer(data, kind)["samples"]


def first_bytes(path: Path) -> Layout | None:
    """Which layout a file begins with; None when it is no Siemens raw data, as far as its first bytes tell."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
            size = os.fstat(file.fileno()).st_size
    except OSError:
        return None
    if len(start) < 64:
        return None
    first, second = (int(word) for word in np.frombuffer(start, "<u4", 2))
    if first < 10000 and 1 <= second <= MOST_MEASUREMENTS:
        offset, _ = (int(word) for word in np.frombuffer(start, "<u8", 2, 16))
        return VD if _TABLE <= offset < 1 << 48 else None
    name = start[8:].partition(b"\0")[0]
    named = 4 <= len(name) < 48 and name.isalnum()
    return VB if 16 < first <= _LARGEST_HEADER and first < size + (1 << 20) and 1 <= second <= 64 and named else None


def measurements(path: Path) -> Iterator[Measurement]:
    """The measurements of a file, the last one first: it is the scan, those before it are its adjustments.

    Raises ReconError, naming what is wrong, for places and lengths that the file does not have."""
    layout = first_bytes(path)
    assert layout is not None, "first_bytes() comes first"
    size = path.stat().st_size
    for start, end in reversed(_regions(path, layout, size)):
        yield _measurement(path, layout, start, end)


def _regions(path: Path, layout: Layout, size: int) -> list[tuple[int, int]]:
    if layout is VB:
        return [(0, size)]
    with path.open("rb") as file:
        table = file.read(_TABLE)
    count = int(np.frombuffer(table, "<u4", 2)[1])
    if len(table) < 8 + 152 * count:
        raise ReconError(f"{path}: truncated within its table of measurements; {REMEDY}")
    found = []
    for number in range(count):
        start, length = (int(word) for word in np.frombuffer(table, "<u8", 2, 8 + 152 * number + 8))
        if length == 0 and count == 1:
            length = max(size - start, 0)  # some scanners leave the only length empty
        if start < _TABLE or start + length > size or length < 16:
            where = f"measurement {number + 1} of {count} is said to end at byte {start + length} of {size}"
            raise ReconError(f"{path}: {where}; {REMEDY}")
        found.append((start, start + length))
    return found


def _measurement(path: Path, layout: Layout, start: int, end: int) -> Measurement:
    with path.open("rb") as file:
        file.seek(start)
        length = int(np.frombuffer(file.read(8), "<u4", 2)[0])
        if not 16 < length <= min(_LARGEST_HEADER, end - start):
            raise ReconError(f"{path}: a text header of {length} bytes, where {end - start} are left; {REMEDY}")
        file.seek(start)
        text = file.read(length)
        offsets, heads = _walk(path, layout, file.fileno(), start + length, end)
    lines = np.frombuffer(b"".join(heads), layout.line)
    return Measurement(path, layout, text, np.array(offsets, np.int64), lines)


def _walk(path: Path, layout: Layout, file: int, position: int, end: int) -> tuple[list[int], list[bytes]]:
    """Places and headers of the lines from ``position`` to the mark that ends a measurement."""
    offsets: list[int] = []
    heads: list[bytes] = []
    size = layout.line.itemsize
    while True:
        head = os.pread(file, size, position)
        if position + size > end or len(head) < size:
            raise ReconError(
                f"{path}: ends after {len(offsets)} lines without the mark that ends a measurement: it was aborted, or "
                f"the file is truncated; {REMEDY}"
            )
        said = np.frombuffer(head, layout.line)[0]
        mask = int(said["mask"])
        if mask >> ACQEND & 1:
            return offsets, heads
        if mask >> SYNCDATA & 1:
            step = int(said["length"]) & 0x1FFFFFF
        else:
            step = layout.before_line + int(said["channels"]) * (layout.before_channel + 8 * int(said["samples"]))
            offsets.append(position)
            heads.append(head)
            if not (said["channels"] and said["samples"]):
                raise ReconError(f"{path}: line {len(offsets)} has no channels or no samples; {REMEDY}")
        if step < size or position + step > end:
            raise ReconError(f"{path}: damaged or truncated at byte {position}, after {len(offsets)} lines; {REMEDY}")
        if len(offsets) > MOST_LINES:
            raise ReconError(f"{path}: more than {MOST_LINES} lines, which no static scan has; {REMEDY}")
        position += step
