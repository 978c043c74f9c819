"""Whatever a peer does, the session ends with a text, a line in the log that quotes nothing, and the next is served."""

import resource
import socket
import struct
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from recon.reconstruction.options import ReconstructionOptions
from recon.streaming.errors import ProtocolError
from recon.streaming.framing import (
    HEADER,
    IMAGE,
    TEXT,
    acquisition_message,
    close_message,
    config_file_message,
    messages,
    text_message,
)
from recon.streaming.limits import Limits
from recon.streaming.sending import send_scan
from recon.streaming.wire import Wire
from recon.streaming.work import Service
from tests.streaming.recorded import Running, connect, edited, lines_of, record, running, small_scan

ZERO = Service(ReconstructionOptions(method="zero-filled"))
FAST = Limits(silence=0.4, memory=32 << 20, message=1 << 20)


@pytest.fixture(scope="module")
def stream(tmp_path_factory) -> list[bytes]:
    """The messages of a good session."""
    xml, lines = lines_of(small_scan(tmp_path_factory.mktemp("scan"), slices=1))
    return [
        config_file_message("recon"),
        text_message(HEADER, xml),
        *(acquisition_message(*line) for line in lines),
        close_message(),
    ]


def converse(server: Running, content: bytes, end: bool = True) -> tuple[int, list[str]]:
    """Send bytes, end; the number of images and the texts that come back."""
    with connect(server.port) as connection:
        wire = Wire(connection, 10.0)
        images, texts = 0, []
        try:
            wire.write(content)
            if end:
                connection.shutdown(socket.SHUT_WR)
        except (ProtocolError, OSError):
            pass
        try:
            for message in messages(wire.read, Limits()):
                images += message.identifier == IMAGE
                if message.identifier == TEXT:
                    texts.append(message.content.decode())
        except ProtocolError:
            pass
        wire.drop()
        return images, texts


def cases(stream: list[bytes]) -> dict[str, tuple[bytes, str]]:
    config, header, *lines, close = stream
    xml = header[6:]
    other = acquisition_message(np.frombuffer(lines[1][2:342], lines_dtype())[0], np.ones((3, 48), np.complex64))
    short = acquisition_message(np.frombuffer(lines[1][2:342], lines_dtype())[0], np.ones((4, 500), np.complex64))
    return {
        "nothing": (b"", "ended without a close"),
        "close at once": (close, "before it sent a header"),
        "line first": (config + lines[1], "before the header"),
        "two headers": (config + header + header, "second header"),
        "garbage header": (text_message(HEADER, b"<a><b"), "not readable"),
        "entities": (text_message(HEADER, b"<!DOCTYPE a><a/>"), "entities"),
        "huge matrix": (text_message(HEADER, xml.replace(b"x>48<", b"x>60000<")), "matrix"),
        "no lines": (config + header + close, "no acquisition"),
        "truncated line": (config + header + lines[0] + lines[1][:900], "ended without a close"),
        "unknown message": (config + header + struct.pack("<H", 77), "unknown message 77"),
        "other channels": (config + header + lines[1] + other, "number of channels"),
        "too long a line": (config + header + b"".join([lines[0], short, close]), "outside the header"),
        "lines missing at the end": (config + header + b"".join(lines[:9]) + close, "calibration"),
        "no close": (config + header + b"".join(lines[:-1]), "ended without a close"),
    }  # fmt: skip


def lines_dtype() -> np.dtype:
    from ismrmrd.hdf5 import acquisition_header_dtype

    return acquisition_header_dtype


def test_each_fault_is_told_and_the_next_peer_is_served(stream: list[bytes]) -> None:
    with running(ZERO, FAST) as server:
        for name, (content, said) in cases(stream).items():
            images, texts = converse(server, content)
            assert images == 0, name
            assert any(said in text for text in texts), (name, texts)
        assert converse(server, b"".join(stream)) == (1, [])
    assert len(server.notes) == len(cases(stream)) + 1
    assert all("ended by an error" in note for note in server.notes[:-1])


def test_a_silent_peer_is_left(stream: list[bytes]) -> None:
    with running(ZERO, FAST) as server:
        began = time.monotonic()
        for content in (b"", stream[0] + stream[1], b"\x01"):
            images, texts = converse(server, content, end=False)
            assert images == 0
            assert any("nothing came for 0.4 s" in text for text in texts)
        assert time.monotonic() - began < 15
        assert converse(server, b"".join(stream))[0] == 1


def test_memory_is_bounded(stream: list[bytes]) -> None:
    """A peer that sends lines for ever, of a slice that never ends, and sizes that nobody has."""
    endless = stream[:2] + stream[3:4] * 400
    with running(ZERO, Limits(silence=2.0, memory=1 << 19)) as server:
        _, texts = converse(server, b"".join(endless))
        assert any("MiB of acquisitions wait" in text for text in texts)


def test_the_log_quotes_nothing_of_the_header(stream: list[bytes]) -> None:
    secret = b"Mustermann"
    xml = stream[1][6:].replace(b"<TR>9000.0<", b"<TR>" + secret + b"<").replace(b"TR>9000.0<", b"TR>" + secret + b"<")
    assert secret in xml
    other = stream[1][6:].replace(b"cartesian", secret)
    with running(ZERO, FAST) as server:
        for header in (xml, other):
            _, texts = converse(server, stream[0] + text_message(HEADER, header) + b"".join(stream[2:]))
            assert texts
    assert len(server.notes) == 2
    assert not any(secret.decode().lower() in note.lower() for note in server.notes)


def test_slices_that_do_not_fit_the_first_are_named(tmp_path: Path) -> None:
    """Five slices, one of which lacks a line: the four others are sent, then the error."""
    xml, lines = lines_of(small_scan(tmp_path, slices=5))
    kept = [
        line for line in lines
        if not (int(line[0]["idx"]["slice"]) == 4 and int(line[0]["idx"]["kspace_encode_step_1"]) == 4)
    ]  # fmt: skip
    content = [text_message(HEADER, xml), *(acquisition_message(*line) for line in kept), close_message()]
    with running(ZERO) as server:
        images, texts = converse(server, b"".join(content))
    assert images == 4
    assert "of slice 4" in texts[-1]
    assert "ended by an error" in server.notes[0]


def test_three_hundred_mutated_streams(stream: list[bytes]) -> None:
    generator = np.random.default_rng(5)
    began, whole = time.monotonic(), b"".join(stream)
    with running(ZERO, FAST) as server:
        for _ in range(300):
            content = bytearray(whole)
            kind = generator.integers(4)
            if kind == 0:
                del content[int(generator.integers(len(content))) :]
            elif kind == 1:
                for place in generator.integers(len(content), size=8):
                    content[place] = generator.integers(256)
            elif kind == 2:
                place = int(generator.integers(len(content) - 64))
                del content[place : place + int(generator.integers(1, 64))]
            else:  # in the heads, where it matters most
                starts = np.cumsum([0, *map(len, stream)])
                for start in generator.choice(starts[1:-1], 3):
                    content[start + int(generator.integers(min(340, len(content) - start)))] = generator.integers(256)
            converse(server, bytes(content))
        assert converse(server, whole) == (1, [])
    assert len(server.notes) == 301
    assert not any("within recon" in note for note in server.notes), server.notes
    assert time.monotonic() - began < 60


def test_three_peers_at_a_time_are_queued(stream: list[bytes]) -> None:
    found: list[int] = []
    with running(ZERO) as server:
        threads = [
            threading.Thread(target=lambda: found.append(converse(server, b"".join(stream), end=False)[0]))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert found == [1, 1, 1]
    assert len(server.notes) == 3


@pytest.mark.slow
def test_twenty_scans_in_a_row_take_no_more_memory(tmp_path: Path) -> None:
    file = record(tmp_path / "scan.h5", *lines_of(small_scan(tmp_path, slices=8)))
    peaks = []
    with running(Service(ReconstructionOptions(method="sense"))) as server:
        for _ in range(20):
            assert len(send_scan(file, "127.0.0.1", server.port).images) == 8
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert peaks[-1] - peaks[4] < 20_000  # KiB


def test_a_line_after_the_last_one_says_what_to_do(tmp_path: Path) -> None:
    """Only where a flag is wrong; with --at-end the same stream is reconstructed."""

    def flag(_: int, head: np.ndarray) -> None:
        head["flags"] = int(head["flags"]) | (1 << 7 if head["idx"]["kspace_encode_step_1"] == 18 else 0)

    xml, lines = lines_of(small_scan(tmp_path))
    file = record(tmp_path / "scan.h5", xml, edited(lines, flag))
    with running(Service(ZERO.options, at_end=True)) as server:
        assert len(send_scan(file, "127.0.0.1", server.port).images) == 3
