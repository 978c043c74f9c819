"""Siemens raw data for the fuzzing: healthy files of both layouts, and changes of their tables, lines and protocols."""

import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from recon.acquisition.fourier_numpy import to_image, to_kspace
from recon.scans.twix_file import Layout, measurements
from tests.fuzzing.mutation import BYTES, Expected, Mutation, pick
from tests.fuzzing.text_mutations import NUMBERS
from tests.scans.twix_writer import Line, Scan, protocol, write_vb, write_vd

_ROOM = " " * 40  # behind every value of the protocol, so that another one fits without moving what follows


def write_twix(folder: Path, kspace: np.ndarray) -> None:
    """``vb.dat`` and ``vd.dat`` of ``kspace`` ``[slice, coil, readout, phase]``: a noise line, twofold oversampling."""
    slices, coils, rows, columns = kspace.shape
    generator = np.random.default_rng(0)

    def noise(*shape: int) -> np.ndarray:
        return 1e-3 * np.abs(kspace).max() * (generator.normal(size=shape) + 1j * generator.normal(size=shape))

    lines = [Line(noise(coils, 1000), flags=["NOISEADJSCAN"])]
    for number in range(slices):
        wide = noise(coils, 2 * rows, columns)
        wide[:, rows // 2 : rows // 2 + rows] += to_image(kspace[number])
        for line, samples in enumerate(np.moveaxis(to_kspace(wide), -1, 0)):
            place = {"Lin": line, "Sli": number}
            lines.append(Line(samples, place, (rows, columns // 2, 0), position=(6.0 * number, 0.0, 0.0)))
    said = {name: f"{value}{_ROOM}" for name, value in protocol(rows, columns).items()}
    write_vb(folder / "vb.dat", Scan(lines, said))
    write_vd(folder / "vd.dat", Scan(lines, said))


def protocol_value(path: Path, generator: np.random.Generator) -> Expected:
    """Another value of one assignment of the protocol, or another name for it."""
    data = bytearray(path.read_bytes())
    found = list(re.finditer(rb"^([\w.\[\]]+)\t = \t([^\n]*)$", data, re.MULTILINE))
    chosen = found[int(generator.integers(len(found)))]
    if generator.random() < 0.1:
        data[chosen.start(1)] = ord("x")
        return _stored(path, data, "any")
    words = [
        *NUMBERS,
        '""',
        '"%s"',
        "0x1",
        "0x2",
        "0x4",
        "0x",
        "-0x1",
        "1e400",
        "# 3",
        "=",
        "4, 5",
        '"tse_%SiemensSeq"',
    ]
    value = str(pick(generator, words)).encode("utf-8")[: len(chosen[2])]
    data[chosen.start(2) : chosen.end(2)] = value.replace(b"\n", b" ").ljust(len(chosen[2]))
    return _stored(path, data, "any")


_UNREAD = ("measurement", "counter", "time")  # fields of no image's concern


def line_field(path: Path, generator: np.random.Generator) -> Expected:
    """One field of one line's header with an odd value."""
    layout, starts = _lines(path)
    data, start = bytearray(path.read_bytes()), starts[int(generator.integers(len(starts)))]
    unread = bool(generator.random() < 0.15)
    read = [name for name in layout.line.names or () if name not in _UNREAD]
    kind, offset = (layout.line.fields or {})[str(pick(generator, list(_UNREAD) if unread else read))][:2]
    kind, place = kind.base, start + offset + kind.base.itemsize * int(generator.integers(max(kind.shape, default=1)))
    value: float
    if kind.kind == "f":
        value = pick(generator, [0.0, float("nan"), float("inf"), -1.0, 1e30, 7.0, 1e-30])
    else:
        (old,) = (int(number) for number in np.frombuffer(data, kind, 1, place))
        bits = 8 * kind.itemsize
        odd = [0, 1, 2, old + 1, old - 1, 1 << (bits - 1), (1 << bits) - 1, old ^ (1 << int(generator.integers(bits)))]
        value, kind = int(pick(generator, odd)) % (1 << bits), np.dtype(f"<u{kind.itemsize}")
    data[place : place + kind.itemsize] = np.array(value, kind).tobytes()
    return _stored(path, data, "same" if unread else "any")


def _lines(path: Path) -> tuple[Layout, list[int]]:
    """The layout of a healthy file, and where its lines begin."""
    (measured,) = measurements(path)
    return measured.layout, measured.offsets.tolist()


def table(path: Path, generator: np.random.Generator) -> Expected:
    """A number of the first 64 bytes: kind, count, where measurements begin and how long they are."""
    data = bytearray(path.read_bytes())
    place = 4 * int(generator.integers(16))
    (old,) = struct.unpack_from("<I", data, place)
    odd = [0, 1, 2, 64, 65, old + 1, max(old - 1, 0), 0xFFFFFFFF, 1 << 31, int(generator.integers(1 << 32))]
    struct.pack_into("<I", data, place, int(pick(generator, odd)) & 0xFFFFFFFF)  # type: ignore[call-overload]
    return _stored(path, data, "any")


def sample_values(path: Path, generator: np.random.Generator) -> Expected:
    """Samples of an image that are not finite, or beyond anything that a receiver gives."""
    data = bytearray(path.read_bytes())
    layout, starts = _lines(path)
    start = starts[int(generator.integers(1, len(starts)))] + layout.before_line + layout.before_channel
    struct.pack_into("<f", data, start + 8 * int(generator.integers(40)), pick(generator, [np.nan, np.inf, -np.inf]))
    return _stored(path, data, "refusal")


def _stored(path: Path, data: bytearray, expected: Expected) -> Expected:
    path.write_bytes(bytes(data))
    return expected


_OFTEN: tuple[tuple[str, Callable[[Path, np.random.Generator], Expected], int], ...] = (
    ("line", line_field, 5), ("protocol", protocol_value, 4), ("table", table, 2), ("samples", sample_values, 1),
)  # fmt: skip
TWIX = (*(Mutation(name, change) for name, change, times in _OFTEN for _ in range(times)), *BYTES)
