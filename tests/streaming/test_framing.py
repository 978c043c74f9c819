"""The bytes of the protocol: our own both ways, and against the Gadgetron package's encoder and decoder."""

import io
import socket
import struct
import threading
from contextlib import suppress
from typing import Any

import ismrmrd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ismrmrd.hdf5 import acquisition_header_dtype

from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import reconstruct
from recon.scans.opening import open_scan
from recon.streaming.errors import ProtocolError
from recon.streaming.framing import (
    ACQUISITION,
    CLOSE,
    CONFIG_FILE,
    CONFIG_TEXT,
    HEADER,
    IMAGE,
    TEXT,
    Read,
    acquisition_message,
    close_message,
    config_file_message,
    image_message,
    messages,
    read_message,
    text_message,
)
from recon.streaming.limits import Limits
from recon.streaming.sending import send_scan
from recon.streaming.work import Service
from tests.streaming.recorded import connect, lines_of, record, running, small_scan


def reader(content: bytes) -> Read:
    stream = io.BytesIO(content)

    def read(count: int) -> bytes:
        found = stream.read(count)
        if len(found) < count:
            raise ProtocolError("the connection ended")
        return found

    return read


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([CONFIG_TEXT, HEADER, TEXT]))
def test_text_comes_back(text: bytes, identifier: int) -> None:
    message = read_message(reader(text_message(identifier, text)), Limits())
    assert (message.identifier, message.content) == (identifier, text.rstrip(b"\0"))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 8), st.integers(1, 40), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_acquisitions_come_back(coils: int, samples: int, dimensions: int, counter: int) -> None:
    """Ours, and those of the ismrmrd package with a trajectory, which is left out."""
    values = (np.arange(coils * samples, dtype=np.float32) * (1 + 2j)).astype(np.complex64).reshape(coils, samples)
    head = np.zeros((), acquisition_header_dtype)
    head["scan_counter"] = counter
    theirs = ismrmrd.Acquisition.from_array(values, np.ones((samples, dimensions), np.float32) if dimensions else None)
    theirs.scan_counter = counter
    for content in (acquisition_message(head, values), struct.pack("<H", 1008) + theirs.to_bytes()):
        message = read_message(reader(content), Limits())
        assert message.identifier == ACQUISITION
        np.testing.assert_array_equal(message.content.samples, values)
        assert message.content.head["scan_counter"] == counter


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=500), st.sampled_from([1, 2, 3, 4, 5, 1008, 1022, 1026, None]))
def test_any_bytes_end_with_a_message_or_a_protocol_error(content: bytes, identifier: int | None) -> None:
    prefix = b"" if identifier is None else struct.pack("<H", identifier)
    with suppress(ProtocolError):
        read_message(reader(prefix + content), Limits(message=1 << 12, text=1 << 12, header=1 << 12))


def test_order_of_bytes_is_the_protocols() -> None:
    assert close_message() == b"\x04\x00"
    assert text_message(TEXT, "ab") == b"\x05\x00\x02\x00\x00\x00ab"
    name = config_file_message("recon")
    assert len(name) == 2 + 1024
    assert name.startswith(b"\x01\x00recon\0")
    assert read_message(reader(name), Limits()).content == b"recon"


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<H", 9999),
        struct.pack("<HI", HEADER, 2**32 - 1),
        struct.pack("<HI", CONFIG_TEXT, 2**31),
        acquisition_message(np.zeros((), acquisition_header_dtype), np.full((2, 4), np.nan, np.complex64)),
        struct.pack("<H", 1026) + b"\xff" * 40,
        struct.pack("<H", 1022) + b"\xff" * 206,
        struct.pack("<H", 1008) + b"\xff" * 340,
    ],
)
def test_what_is_too_large_or_wrong_is_refused_before_it_is_read(content: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_message(reader(content), Limits())


def test_waveforms_are_passed_over() -> None:
    waveform = ismrmrd.Waveform.from_array(np.arange(12, dtype=np.uint32).reshape(2, 6))
    content = io.BytesIO()
    content.write(struct.pack("<H", 1026))
    waveform.serialize_into(content.write)
    content.write(close_message())
    assert [message.identifier for message in messages(reader(content.getvalue()), Limits())] == [1026, CLOSE]


def gadgetron(connection: socket.socket) -> Any:
    """The Gadgetron package's connection, without its handshake: that is of the other side."""
    external = pytest.importorskip("gadgetron.external.connection")
    readers = pytest.importorskip("gadgetron.external.readers")
    found = external.Connection.__new__(external.Connection)
    found.socket = external.Connection.SocketWrapper(connection)
    found.readers, found.writers, found.filters = (
        external.Connection._default_readers(),
        external.Connection._default_writers(),
        [],
    )
    found.add_reader(TEXT, readers.read_byte_string)
    return found


def test_the_gadgetron_package_as_client(tmp_path) -> None:
    """Its encoder sends a scan to our server, its decoder reads the images."""
    file = record(tmp_path / "scan.h5", *lines_of(small_scan(tmp_path)))
    dataset = ismrmrd.Dataset(str(file), create_if_needed=False)
    options = ReconstructionOptions(method="zero-filled")
    with running(Service(options)) as server, connect(server.port) as connection:
        client = gadgetron(connection)
        client.socket.write(struct.pack("<H1024s", CONFIG_FILE, b"default.xml"))
        xml = dataset.read_xml_header()
        client.socket.write(struct.pack("<HI", HEADER, len(xml)) + xml)
        for number in range(dataset.number_of_acquisitions()):
            client.send(dataset.read_acquisition(number))
        client.socket.write(struct.pack("<H", CLOSE))
        found = [item for identifier, item in client.iter_with_mids() if identifier == IMAGE]
    dataset.close()
    found.sort(key=lambda image: image.position[2])
    expected = reconstruct(open_scan(file), options=options).reconstruction
    np.testing.assert_array_equal(np.stack([image.data[0, 0].T for image in found]), expected)


def test_the_gadgetron_package_as_server(tmp_path) -> None:
    """Our client against its handshake: every acquisition arrives, and its images come back."""
    external = pytest.importorskip("gadgetron.external.connection")
    file = record(tmp_path / "scan.h5", *lines_of(small_scan(tmp_path, slices=1)))
    arrived = []

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        # Its handshake wants the text of a configuration, which our client names instead: as a file, in 1024 bytes.
        assert read_message(lambda count: connection.recv(count, socket.MSG_WAITALL), Limits()).content == b"recon"
        server = gadgetron(connection)
        assert server._read_message_identifier() == HEADER
        length = struct.unpack("<I", server.socket.read(4))[0]
        assert b"<encoding>" in server.socket.read(length)
        for item in server:
            arrived.append(item)
        server.send(ismrmrd.Image.from_array(np.ones((4, 6), np.float32), transpose=False))
        server.socket.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        received = send_scan(file, "127.0.0.1", listener.getsockname()[1])
        thread.join(10)
    assert external is not None
    assert len(arrived) == 1 + int(open_scan(file).mask.sum())
    assert received.series(0).shape == (1, 6, 4)
    content = image_message(received.images[0])
    assert read_message(reader(content), Limits()).identifier == IMAGE
