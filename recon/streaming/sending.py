"""The other side: a scan file sent to an MRD server, and the images that come back."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.atomic import temporary_folder
from recon.errors import ReconError
from recon.scans.ismrmrd import read_acquisitions, recognises
from recon.scans.opening import open_scan
from recon.streaming.acquisitions import acquisitions_of
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
from recon.streaming.wire import Wire

CONFIGURATION = "recon"
_BLOCK = 512  # acquisitions read at a time


@dataclass
class Received:
    """What a server gave: ``ismrmrd.Image``s in their order, its texts, seconds from the last line to the first and the
    last image (negative: before it), and whether the server closed as it should."""

    images: list[Any] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    first_image: float = float("nan")
    last_image: float = float("nan")
    closed: bool = False

    def series(self, number: int) -> NDArray[np.float32]:
        """The images of one series in the order of their slices, ``[slice, readout, phase]``."""
        chosen = sorted(
            (image for image in self.images if image.image_series_index == number),
            key=lambda image: float(np.dot(image.position, image.slice_dir)),
        )
        return np.stack([image.data[0, 0].T for image in chosen])


def acquisitions_in(path: Path) -> tuple[bytes, Iterator[tuple[NDArray, NDArray[np.complex64]]]]:
    """The XML header of a scan file and its acquisitions in the order of measurement: of an ISMRMRD file as they stand
    there, of another made from its kspace. Raises ReconError when the scan cannot be told in acquisitions."""
    if not recognises(path):
        return acquisitions_of(open_scan(path))
    xml, measured = read_acquisitions(path)

    def every() -> Iterator[tuple[NDArray, NDArray[np.complex64]]]:
        coils = measured.heads["active_channels"]
        for alike in np.split(np.arange(coils.size), np.flatnonzero(np.diff(coils)) + 1):
            for start in range(0, alike.size, _BLOCK):
                rows = alike[start : start + _BLOCK]
                yield from zip(measured.heads[rows], measured.acquisitions(rows, int(coils[rows[0]])), strict=True)

    return xml, every()


def send_scan(path: Path, host: str, port: int, limits: Limits = Limits(silence=600.0)) -> Received:
    """Send a scan to a server and wait for its images.

    Raises ReconError when there is no server, the connection breaks, or the server says that something went wrong
    before it had sent any image.
    """
    xml, acquisitions = acquisitions_in(path)
    try:
        connection = socket.create_connection((host, port), timeout=10)
    except OSError as error:
        raise ReconError(
            f"{host}:{port}: cannot be reached ({error.strerror or error}); is the server running?"
        ) from error
    wire, received, sent = Wire(connection, limits.silence), Received(), [0.0]
    times: list[float] = []
    fault: list[ReconError] = []

    def receive() -> None:
        try:
            for message in messages(wire.read, limits):
                if message.identifier == IMAGE:
                    times.append(time.monotonic())
                    received.images.append(message.content)
                elif message.identifier == TEXT:
                    received.texts.append(message.content.decode("utf-8", "replace"))
            received.closed = True
        except ReconError as error:
            fault.append(error)

    receiver = threading.Thread(target=receive, daemon=True)
    receiver.start()
    try:
        wire.write(config_file_message(CONFIGURATION) + text_message(HEADER, xml))
        for head, samples in acquisitions:
            wire.write(acquisition_message(head, samples))
        sent[0] = time.monotonic()
        wire.write(close_message())
    except ProtocolError as error:  # the server's own words, if it had any, say more
        fault.append(error)
    try:
        while receiver.is_alive():
            receiver.join(0.2)
    finally:
        wire.drop()
    errors = [text for text in received.texts if text.startswith("ERROR")]
    if errors or fault:
        raise ReconError(f"{path}: {host}:{port}: {errors[0] if errors else fault[0]}")
    if times:
        received.first_image, received.last_image = times[0] - sent[0], times[-1] - sent[0]
    return received


def write_images(path: Path, received: Received) -> Path:
    """The images as MRD images in HDF5, one group a series: ``image_1``, ``image_2``. Complete or not at all."""
    import ismrmrd

    if not received.images:
        raise ReconError(f"{path}: the server sent no image; nothing is written")
    with temporary_folder(path) as folder:
        dataset = ismrmrd.Dataset(str(folder / path.name), mode="w")
        for image in received.images:
            dataset.append_image(f"image_{image.image_series_index}", image)
        dataset.close()
        os.replace(folder / path.name, path)
    return path
