"""Small scans as a converter would have recorded them, and a server to send them to."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ismrmrd
import numpy as np
from numpy.typing import NDArray

from recon.acquisition.masks import calibration_extent
from recon.scan import Scan
from recon.scans.derived import with_mask
from recon.scans.opening import open_scan
from recon.streaming.acquisitions import acquisitions_of
from recon.streaming.events import Event
from recon.streaming.limits import Limits
from recon.streaming.server import listening, serve
from recon.streaming.session import Summary
from recon.streaming.work import Service
from tests.small_world import SIZE, write_small_scan

Line = tuple[NDArray, NDArray[np.complex64]]


def small_scan(folder: Path, slices: int = 3, **options: Any) -> Scan:
    """Twofold undersampled with twelve calibration lines."""
    full = open_scan(write_small_scan(folder / f"full{slices}.h5", slices=slices, **options))
    mask = np.arange(SIZE[1]) % 2 == 0
    mask[SIZE[1] // 2 - 6 : SIZE[1] // 2 + 6] = True
    found = with_mask(full, mask)
    assert found.calibration == calibration_extent(mask, SIZE[0])
    return found


def lines_of(scan: Scan) -> tuple[bytes, list[Line]]:
    xml, lines = acquisitions_of(scan)
    return xml, [(head.copy(), samples.copy()) for head, samples in lines]


def record(path: Path, xml: bytes, lines: list[Line]) -> Path:
    """An ISMRMRD file written by the ismrmrd package."""
    dataset = ismrmrd.Dataset(str(path), mode="w")
    dataset.write_xml_header(xml)
    for head, samples in lines:
        acquisition = ismrmrd.Acquisition(head.tobytes())
        acquisition.resize(samples.shape[1], samples.shape[0], 0)
        acquisition.data[:] = samples
        dataset.append_acquisition(acquisition)
    dataset.close()
    return path


@dataclass
class Running:
    """A server in a thread of this process."""

    port: int
    notes: list[str] = field(default_factory=list)
    summaries: list[Summary] = field(default_factory=list)


@contextmanager
def running(service: Service, limits: Limits = Limits(silence=10.0)) -> Iterator[Running]:
    stop = threading.Event()
    with listening("127.0.0.1", 0) as listener:
        server = Running(listener.getsockname()[1])

        def tell(event: Event) -> None:
            server.notes.append(event.line())

        def work() -> None:
            server.summaries += serve(listener, service, limits, tell, stop.is_set)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            stop.set()
            thread.join(30)
            assert not thread.is_alive()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def edited(lines: list[Line], change: Callable[[int, NDArray], None]) -> list[Line]:
    """The lines with their heads changed in place."""
    for number, (head, _) in enumerate(lines):
        change(number, head)
    return lines
