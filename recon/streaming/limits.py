"""What a peer may ask for: believed, a few bytes could ask for any memory or any time."""

from dataclasses import dataclass

from recon.scans.ismrmrd_header import Encoding
from recon.streaming.errors import ProtocolError


@dataclass(frozen=True)
class Limits:
    """Bounds of one session; sizes in bytes, times in seconds."""

    memory: int = 2 << 30  # acquisitions held at a time: a slice is dropped when its images are sent
    silence: float = 60.0  # between two messages, for one message to arrive, and for one to be taken
    session: float = 4 * 3600.0  # from connection to the last line
    text: int = 1 << 20  # configuration and text messages
    header: int = 4 << 20
    message: int = 64 << 20  # an acquisition, a waveform, an image
    matrix: int = 2048  # encoded positions along readout or phase
    slices: int = 2048  # of 2-D scans; of 3-D scans partitions
    block: int = 1 << 28  # bytes of one slice of a 3-D scan, all coils
    channels: int = 256


def check_header(encodings: list[Encoding], limits: Limits) -> None:
    """Raise ProtocolError for a header whose matrix or number of slices is beyond the limits, or is zero."""
    for encoding in encodings:
        readout, phase, _ = encoding.encoded_matrix
        if not (0 < readout <= limits.matrix and 0 < phase <= limits.matrix):
            raise ProtocolError(f"the header's matrix of {readout} x {phase} is not between 1 and {limits.matrix}")
        if (slices := expected_slices(encoding)) is not None and not 0 < slices <= limits.slices:
            raise ProtocolError(f"the header's {slices} slices are not between 1 and {limits.slices}")
        if encoding.encoded_matrix[2] > limits.slices:
            raise ProtocolError(f"the header's {encoding.encoded_matrix[2]} partitions are more than {limits.slices}")


def check_volume(encoding: Encoding, channels: int, limits: Limits) -> None:
    """Raise ProtocolError when one slice ``[channel, phase, partition]`` of a 3-D scan takes more than its limit."""
    _, phase, partitions = encoding.encoded_matrix
    if (size := 8 * channels * phase * partitions) > limits.block:
        raise ProtocolError(f"a slice of the 3-D scan takes {size >> 20} MiB, more than {limits.block >> 20} MiB")


def expected_slices(encoding: Encoding) -> int | None:
    """How many slices, of 3-D scans slabs, the header announces; None when it is silent, but for one slab."""
    limit = encoding.limits.get("slice")
    if limit is None and encoding.encoded_matrix[2] > 1:
        return 1
    return None if limit is None else limit.maximum - limit.minimum + 1
