"""A few bytes that unpack to gigabytes of zeros, made in no time: the same compressed block over and over."""

import struct
import zlib
from functools import cache
from pathlib import Path

PIECE = 1 << 26  # bytes of zeros that one block stands for


@cache
def _block() -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compressor.compress(bytes(PIECE)) + compressor.flush(zlib.Z_FULL_FLUSH)


@cache
def compressed_piece() -> bytes:
    """One piece as a whole zlib stream."""
    return zlib.compress(bytes(PIECE), 9)


def deflated(start: bytes, pieces: int) -> bytes:
    """``start`` and ``pieces`` of zeros after it, as a raw deflate stream."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compressor.compress(start) + compressor.flush(zlib.Z_FULL_FLUSH) + _block() * pieces + b"\x03\x00"


def gzipped(start: bytes, pieces: int) -> bytes:
    """The same as a gzip file (of a wrong checksum, which shows only at its end)."""
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + deflated(start, pieces) + struct.pack("<II", 0, 0)


def zlib_stream(start: bytes, pieces: int) -> bytes:
    """The same as a zlib stream (of a wrong checksum)."""
    return b"\x78\xda" + deflated(start, pieces) + struct.pack(">I", 0)


def write_zip(path: Path, members: dict[str, bytes], bomb: str, start: bytes, pieces: int) -> None:
    """A zip archive of ``members``, of which ``bomb`` holds ``start`` and zeros."""
    local, central = b"", b""
    for name, data in members.items():
        size = len(start) + pieces * PIECE if name == bomb else len(data)
        packed = deflated(start, pieces) if name == bomb else deflated(data, 0)
        title = name.encode()
        facts = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 33, zlib.crc32(data), len(packed), size, len(title), 0)
        central += b"PK\x01\x02" + struct.pack("<H", 20) + facts + struct.pack("<HHHII", 0, 0, 0, 0, len(local)) + title
        local += b"PK\x03\x04" + facts + title + packed
    end = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(central), len(local), 0)
    path.write_bytes(local + central + b"PK\x05\x06" + end)
