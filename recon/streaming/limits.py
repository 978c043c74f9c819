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
    slices: int = 2048
    channels: int = 256


def check_header(encodings: list[Encoding], limits: Limits) -> None:
    """Raise ProtocolError for a header whose matrix or number of slices is beyond the limits, or is zero."""
    for encoding in encodings:
        readout, phase, _ = encoding.encoded_matrix
        if not (0 < readout <= limits.matrix and 0 < phase <= limits.matrix):
            raise ProtocolError(f"the header's matrix of {readout} x {phase} is not between 1 and {limits.matrix}")
        if (slices := expected_slices(encoding)) is not None and not 0 < slices <= limits.slices:
            raise ProtocolError(f"the header's {slices} slices are not between 1 and {limits.slices}")


def expected_slices(encoding: Encoding) -> int | None:
    """How many slices the header announces; None when it is silent."""
    limit = encoding.limits.get("slice")
    return None if limit is None else limit.maximum - limit.minimum + 1
