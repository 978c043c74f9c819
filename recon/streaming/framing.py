"""The messages of the ISMRMRD (MRD) streaming protocol: bytes to values and back, all little-endian.

Every message begins with a 16-bit identifier. Text has a 32-bit length before it, the name of a configuration 1024
bytes; acquisitions, waveforms and images have fixed headers that say how much follows.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.streaming.errors import ProtocolError
from recon.streaming.limits import Limits

CONFIG_FILE, CONFIG_TEXT, HEADER, CLOSE, TEXT = 1, 2, 3, 4, 5
ACQUISITION, IMAGE, WAVEFORM = 1008, 1022, 1026

Read = Callable[[int], bytes]  # exactly so many bytes; raises ProtocolError when they do not come

_IDENTIFIER, _LENGTH, _ATTRIBUTES = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<Q")
_CONFIG_NAME = 1024
_WAVEFORM_HEADER = struct.Struct("<H6xQIIIHHfH2x")  # version, flags, uid, counter, time, samples, channels, dwell, id
_PIXEL_BYTES = {1: 2, 2: 2, 3: 4, 4: 4, 5: 4, 6: 8, 7: 8, 8: 16}
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Readout:
    """One acquisition: its ``head`` (a record with ISMRMRD's field names) and ``samples [coil, sample]``."""

    head: NDArray
    samples: NDArray[np.complex64]


@dataclass(frozen=True)
class Message:
    """``content``: bytes of text, a ``Readout``, an ``ismrmrd.Image``; None where nothing is kept."""

    identifier: int
    content: Any = None


def read_message(read: Read, limits: Limits) -> Message:
    """The next message. Raises ProtocolError for an unknown one, or one that is larger than ``limits`` allow."""
    (identifier,) = _IDENTIFIER.unpack(read(_IDENTIFIER.size))
    if identifier == CONFIG_FILE:
        return Message(identifier, read(_CONFIG_NAME).partition(b"\0")[0])
    if identifier in (CONFIG_TEXT, TEXT, HEADER):
        return Message(identifier, _text(read, limits.header if identifier == HEADER else limits.text))
    if identifier == CLOSE:
        return Message(identifier)
    if identifier == ACQUISITION:
        return Message(identifier, _readout(read, limits))
    if identifier == WAVEFORM:
        fields = _WAVEFORM_HEADER.unpack(read(_WAVEFORM_HEADER.size))
        _skip(read, _bounded(4 * fields[5] * fields[6], limits.message, "waveform"))
        return Message(identifier)
    if identifier == IMAGE:
        return Message(identifier, _image(read, limits))
    raise ProtocolError(f"unknown message {identifier}")


def text_message(identifier: int, text: bytes | str) -> bytes:
    """A message of text: ``CONFIG_TEXT``, ``HEADER`` or ``TEXT``."""
    content = text.encode() if isinstance(text, str) else text
    return _IDENTIFIER.pack(identifier) + _LENGTH.pack(len(content)) + content


def config_file_message(name: str) -> bytes:
    """The name of a configuration, at most 1023 bytes."""
    return _IDENTIFIER.pack(CONFIG_FILE) + name.encode()[: _CONFIG_NAME - 1].ljust(_CONFIG_NAME, b"\0")


def close_message() -> bytes:
    """The last message of either side."""
    return _IDENTIFIER.pack(CLOSE)


def acquisition_message(head: NDArray, samples: NDArray[np.complex64]) -> bytes:
    """One acquisition without trajectory; ``head`` is a record of ``acquisition_header_dtype``."""
    from ismrmrd.hdf5 import acquisition_header_dtype

    head = np.array(head, acquisition_header_dtype)
    head["trajectory_dimensions"] = 0
    head["active_channels"], head["number_of_samples"] = samples.shape
    return _IDENTIFIER.pack(ACQUISITION) + head.tobytes() + np.ascontiguousarray(samples, "<c8").tobytes()


def image_message(image: Any) -> bytes:
    """One ``ismrmrd.Image``."""
    return _IDENTIFIER.pack(IMAGE) + bytes(image.to_bytes())


def _bounded(size: int, limit: int, name: str) -> int:
    if size > limit:
        raise ProtocolError(f"a {name} message of {size} bytes; at most {limit} are taken")
    return size


def _text(read: Read, limit: int) -> bytes:
    (size,) = _LENGTH.unpack(read(_LENGTH.size))
    return read(_bounded(size, limit, "text")).rstrip(b"\0")


def _readout(read: Read, limits: Limits) -> Readout:
    from ismrmrd.hdf5 import acquisition_header_dtype

    head = np.frombuffer(read(acquisition_header_dtype.itemsize), acquisition_header_dtype)[0]
    count, coils, dimensions = (
        int(head[name]) for name in ("number_of_samples", "active_channels", "trajectory_dimensions")
    )
    if not 0 < coils <= limits.channels or count == 0:
        raise ProtocolError(f"an acquisition of {coils} channels and {count} samples; 1 to {limits.channels} channels")
    _bounded(count * (8 * coils + 4 * dimensions), limits.message, "acquisition")
    _skip(read, 4 * count * dimensions)
    samples = np.frombuffer(read(8 * count * coils), "<c8").reshape(coils, count)
    if not np.isfinite(samples.view(np.float32)).all():
        raise ProtocolError("an acquisition has NaN or infinite samples")
    return Readout(head, samples)


def _image(read: Read, limits: Limits) -> Any:
    import ismrmrd
    from ismrmrd.hdf5 import image_header_dtype

    header = read(image_header_dtype.itemsize)
    head = np.frombuffer(header, image_header_dtype)[0]
    pixel = _PIXEL_BYTES.get(int(head["data_type"]))
    if pixel is None:
        raise ProtocolError(f"an image of the unknown data type {int(head['data_type'])}")
    size = pixel * int(head["channels"]) * int(np.prod(head["matrix_size"].astype(object)))
    length = read(_ATTRIBUTES.size)
    attributes = _bounded(_ATTRIBUTES.unpack(length)[0], limits.text, "attribute")
    body = iter((header, length, read(attributes), read(_bounded(size, limits.message, "image"))))

    def again(count: int) -> bytes:
        return next(body)

    try:
        return ismrmrd.Image.deserialize_from(again)
    except (ValueError, TypeError, StopIteration) as error:
        raise ProtocolError("an image that cannot be read") from error


def _skip(read: Read, size: int) -> None:
    for start in range(0, size, _CHUNK):
        read(min(_CHUNK, size - start))


def messages(read: Read, limits: Limits) -> Iterator[Message]:
    """Messages up to and with the closing one."""
    while True:
        message = read_message(read, limits)
        yield message
        if message.identifier == CLOSE:
            return
