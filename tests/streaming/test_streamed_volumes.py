"""3-D scans over the wire: complete when all partitions are there, and the images of the file."""

import socket
from collections.abc import Callable
from pathlib import Path

import ismrmrd
import numpy as np
import pytest

from recon.acquisition.fourier_numpy import to_image, to_kspace
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import reconstruct
from recon.scans.ismrmrd_header import Encoding, EncodingLimit, build_xml
from recon.scans.opening import open_scan
from recon.streaming.framing import HEADER, acquisition_message, close_message, text_message
from recon.streaming.limits import Limits
from recon.streaming.sending import send_scan
from recon.streaming.work import Service
from tests.small_world import SIZE, write_small_scan
from tests.streaming.recorded import Line, connect, edited, lines_of, record, running

SENSE = ReconstructionOptions(method="sense")
PARTITIONS, SHOWN = 12, 2  # SHOWN: positions along the readout that the header asks for
READOUT, PHASE = SIZE
LAST_IN_SLICE, LAST_IN_MEASUREMENT, NOISE = 1 << 7, 1 << 24, 1 << 18


def volume(folder: Path, acceleration: int = 2) -> tuple[bytes, list[Line]]:
    """A 3-D scan, twofold undersampled along phase, partition after partition, the last line of each flagged."""
    source = open_scan(write_small_scan(folder / "slices.h5", slices=PARTITIONS))
    images = np.stack([to_image(source.read_kspace(index)) for index in range(PARTITIONS)], axis=-1)
    kspace = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(images, axes=-1), norm="ortho"), axes=-1)
    kspace = to_kspace(kspace.transpose(3, 0, 1, 2)).transpose(1, 2, 3, 0)  # [coil, readout, phase, partition]
    measured = np.arange(PHASE) % acceleration == 0
    measured[PHASE // 2 - 6 : PHASE // 2 + 6] = True
    xml = build_xml(
        Encoding(
            encoded_matrix=(READOUT, PHASE, PARTITIONS),
            encoded_fov=(4.0 * READOUT, 200.0, 72.0),
            recon_matrix=(SHOWN, PHASE, PARTITIONS),
            recon_fov=(4.0 * SHOWN, 200.0, 72.0),
            limits={
                "kspace_encoding_step_1": EncodingLimit(0, PHASE - 1, PHASE // 2),
                "kspace_encoding_step_2": EncodingLimit(0, PARTITIONS - 1, PARTITIONS // 2),
            },
        )
    ).encode()
    noise = [line for line in lines_of(source)[1] if int(line[0]["flags"]) & NOISE]
    empty = np.zeros_like(noise[0][0])
    empty["version"], empty["active_channels"], empty["center_sample"] = 1, kspace.shape[0], READOUT // 2
    empty["read_dir"], empty["phase_dir"], empty["slice_dir"] = (0, 1, 0), (1, 0, 0), (0, 0, -1)
    empty["position"] = (5.0, -7.0, 11.0)
    lines = []
    for partition in range(PARTITIONS):
        for line in np.flatnonzero(measured):
            head = empty.copy()
            head["idx"]["kspace_encode_step_1"], head["idx"]["kspace_encode_step_2"] = line, partition
            head["number_of_samples"] = READOUT
            head["flags"] = LAST_IN_SLICE if line == np.flatnonzero(measured)[-1] else 0
            lines.append((head, np.ascontiguousarray(kspace[:, :, line, partition], np.complex64)))
    return xml, noise + lines


def echo_trains(xml: bytes, lines: list[Line]) -> tuple[bytes, list[Line]]:
    """Segments and echo trains: any order of lines and partitions; the last one is the measurement's."""
    noise = [line for line in lines if int(line[0]["flags"]) & NOISE]
    rest = [line for line in lines if not int(line[0]["flags"]) & NOISE]
    rest = [rest[n] for n in np.random.default_rng(2).permutation(len(rest))]

    def number(count: int, head: np.ndarray) -> None:
        head["idx"]["segment"] = count % 7
        head["flags"] = LAST_IN_MEASUREMENT if count == len(rest) - 1 else 0

    return xml, noise + edited(rest, number)


def no_flags(xml: bytes, lines: list[Line]) -> tuple[bytes, list[Line]]:
    """Nothing says what is the last line: all waits for the close message."""
    noise = [line for line in lines if int(line[0]["flags"]) & NOISE]
    rest = [line for line in lines if not int(line[0]["flags"]) & NOISE]
    return xml, noise + edited(rest, lambda _, head: head.__setitem__("flags", 0))


def partial_partitions(xml: bytes, lines: list[Line]) -> tuple[bytes, list[Line]]:
    """Partial Fourier along the slab: the header's limits leave out the first partitions."""
    kept = [line for line in lines if int(line[0]["flags"]) & NOISE or line[0]["idx"]["kspace_encode_step_2"] >= 2]
    before, mark, rest = xml.partition(b"<kspace_encoding_step_2>")
    return before + mark + rest.replace(b"<minimum>0", b"<minimum>2", 1), kept


def separate_reference(xml: bytes, lines: list[Line]) -> tuple[bytes, list[Line]]:
    """The central lines once more, before the images and for calibration alone; the images have every other line."""
    noise = [line for line in lines if int(line[0]["flags"]) & NOISE]
    rest = [line for line in lines if not int(line[0]["flags"]) & NOISE]
    reference = []
    for head, samples in rest:
        if PHASE // 2 - 6 <= head["idx"]["kspace_encode_step_1"] < PHASE // 2 + 6:
            head = head.copy()
            head["flags"] = 1 << 19
            reference.append((head, 2 * samples))
    return xml, noise + reference + [line for line in rest if line[0]["idx"]["kspace_encode_step_1"] % 2 == 0]


@pytest.mark.parametrize("change", [echo_trains, no_flags, partial_partitions, separate_reference])
def test_images_are_those_of_the_file(
    change: Callable[[bytes, list[Line]], tuple[bytes, list[Line]]], tmp_path: Path
) -> None:
    file = record(tmp_path / "scan.h5", *change(*volume(tmp_path)))
    with running(Service(SENSE)) as server:
        received = send_scan(file, "127.0.0.1", server.port)
    scan = open_scan(file)
    expected = reconstruct(scan, options=SENSE)
    assert received.closed
    assert received.texts == []
    assert len(received.images) == scan.shape[0] == SHOWN
    found = np.stack([image.data[0, 0].T for image in received.images])
    np.testing.assert_array_equal(found, expected.reconstruction)
    assert scan.affine is not None
    for index, image in enumerate(received.images):
        head = image.getHead()
        assert head.slice == index
        centre = scan.affine @ (scan.image_shape[0] // 2, scan.image_shape[1] // 2, index, 1)
        np.testing.assert_allclose(head.position, centre[:3] * (-1, -1, 1), atol=1e-3)
        for axis, name in enumerate(("read_dir", "phase_dir", "slice_dir")):
            direction = np.array(getattr(head, name)) * (-1, -1, 1)
            np.testing.assert_allclose(direction * scan.voxel_size[axis], scan.affine[:3, axis], atol=1e-4)
        assert ismrmrd.Meta.deserialize(image.attribute_string)["recon_method"] == "sense"


def answer(server_port: int, messages: list[bytes]) -> bytes:
    """What a server sends back on these messages, until it closes."""
    with connect(server_port) as peer:
        for message in messages:
            peer.sendall(message)
        peer.shutdown(socket.SHUT_WR)
        found = b""
        while part := peer.recv(1 << 16):
            found += part
    return found


def test_a_volume_begins_with_its_last_partition_not_with_a_flag(tmp_path: Path) -> None:
    """Images come although the peer says nothing more: all partitions are there, and not before."""
    xml, lines = volume(tmp_path)
    with running(Service(SENSE), Limits(silence=20.0)) as server, connect(server.port) as peer:
        peer.sendall(text_message(HEADER, xml))
        for head, samples in lines[:-1]:
            peer.sendall(acquisition_message(head, samples))
        peer.settimeout(1.0)
        with pytest.raises(TimeoutError):
            peer.recv(1)
        peer.sendall(acquisition_message(*lines[-1]))
        peer.settimeout(20.0)
        assert peer.recv(2) == b"\xfe\x03"  # 1022: an image
        peer.sendall(close_message())
        while peer.recv(1 << 16):
            pass
    assert f"{SHOWN} images of {SHOWN} slices" in server.notes[0]


def test_what_a_volume_may_take(tmp_path: Path) -> None:
    xml, lines = volume(tmp_path)
    sent = [text_message(HEADER, xml), *(acquisition_message(*line) for line in lines), close_message()]
    second = lines[-1][0].copy()
    second["idx"]["slice"] = 1
    slab = [*sent[:-1], acquisition_message(second, lines[-1][1]), close_message()]
    huge = text_message(HEADER, xml.replace(b"<z>12</z>", b"<z>60000</z>"))
    for limits, messages, words in (
        (Limits(silence=5.0, memory=1 << 16), sent, "MiB of acquisitions wait"),
        (Limits(silence=5.0, block=1 << 10), sent, "a slice of the 3-D scan takes"),
        (Limits(silence=5.0), [huge, close_message()], "60000 partitions are more than"),
        (Limits(silence=5.0), slab, "slab"),
    ):
        with running(Service(SENSE), limits) as server:
            said = answer(server.port, messages)
            assert words.encode() in said, words
            again = answer(server.port, sent) if limits.memory > 1 << 16 and limits.block > 1 << 10 else b""
        assert not again or b"ERROR" not in again, "the next session is served"
