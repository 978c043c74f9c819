"""One session: a header and acquisitions come in, images go out slice by slice, both sides close."""

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recon.acquisition.problem import representative_slices
from recon.errors import ReconError
from recon.scans.ismrmrd_header import parse_encodings
from recon.streaming.acquisitions import place_head
from recon.streaming.arrivals import Arrivals
from recon.streaming.errors import ProtocolError
from recon.streaming.framing import (
    ACQUISITION,
    HEADER,
    TEXT,
    Readout,
    close_message,
    image_message,
    messages,
    text_message,
)
from recon.streaming.images import mrd_images
from recon.streaming.keeping import Keeper
from recon.streaming.limits import Limits
from recon.streaming.scan import StreamedScan, streamed_scan
from recon.streaming.wire import Wire
from recon.streaming.work import Service, Work, begin


@dataclass
class Summary:
    """What may be said of a session in a log: numbers and our own words, nothing that the peer wrote."""

    session: int
    slices: int = 0
    images: int = 0
    shape: tuple[int, ...] = ()
    acceleration: float | None = None
    fallback: bool = False
    fault: str | None = None
    first_image: float | None = None  # seconds after the last line; negative: before it
    last_image: float | None = None
    result: str | None = None  # the name of the file that its result is kept in
    not_kept: str | None = None  # or why it is in none
    watch: str | None = None  # what the watch says of it
    delivery: str | None = None  # and what becomes of it

    def line(self) -> str:
        """One line for people."""
        text = f"session {self.session}: {self.images} images of {self.slices} slices"
        if self.shape:
            _, coils, readout, phase = self.shape
            text += f", {coils} coils, {readout} x {phase}, R = {self.acceleration:.2f}"
        if self.last_image is not None:
            text += f", the last {self.last_image:.1f} s after the last line"
        if self.fallback:
            text += "; without the prior"
        if self.not_kept is not None:
            text += f"; not kept: {self.not_kept}"
        if self.result is not None:
            text += f"; kept as {self.result}"
            text += "" if self.watch is None else f": {self.watch}"
            text += "" if self.delivery is None else f"; {self.delivery}"
        return text if self.fault is None else f"{text}; ended by an error: {self.fault}"

    def facts(self) -> dict[str, Any]:
        """The same for machines."""
        seconds = {"seconds_to_first_image": self.first_image, "seconds_to_last_image": self.last_image}
        others = ("session", "slices", "images", "acceleration", "fallback", "fault", "result", "not_kept", "watch")
        shape = dict(zip(("coils", "readout", "phase"), self.shape[1:] or (None,) * 3, strict=True))
        return {
            "event": "session", **{name: getattr(self, name) for name in others}, "delivery": self.delivery, **shape,
            **seconds,
        }  # fmt: skip


def serve_session(wire: Wire, service: Service, limits: Limits, number: int) -> Summary:
    """Serve one peer to the end, whatever it does. ``number`` names the session, in errors, too."""
    arrivals, summary, path = Arrivals(limits, service.at_end), Summary(number), Path(f"session-{number}")
    receiver = threading.Thread(target=_receive, args=(wire, arrivals, limits, path), daemon=True)
    receiver.start()
    try:
        _reconstruct(wire, arrivals, service, (path, limits), summary)
        wire.close(close_message())
    except (ReconError, MemoryError) as error:
        summary.fault = _public(error, summary)
        words = " ".join(str(error).split()) or "out of memory"
        wire.close(text_message(TEXT, f"ERROR {words}") + close_message())
    except Exception as error:  # a fault of ours must not end the server; the next client is served
        summary.fault = f"{type(error).__name__} within recon"
        wire.close(text_message(TEXT, f"ERROR {summary.fault}") + close_message())
    finally:
        wire.drop()
        receiver.join()
    return summary


def _public(error: BaseException, summary: Summary) -> str:
    """An error as the log may have it: what was found before the scan was understood may quote the header's text."""
    if isinstance(error, ProtocolError) or summary.shape:
        return " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "out of memory"
    return "the scan was refused before it was reconstructed; the peer was told why"


def _receive(wire: Wire, arrivals: Arrivals, limits: Limits, path: Path) -> None:
    """Put what comes into ``arrivals`` until the peer closes or breaks a rule."""
    began = time.monotonic()
    try:
        for message in messages(wire.read, limits):
            if message.identifier == HEADER:
                arrivals.open(parse_encodings(message.content, path))
            elif message.identifier == ACQUISITION and isinstance(message.content, Readout):
                arrivals.add(message.content)
            if time.monotonic() - began > limits.session:
                raise ProtocolError(f"the session took more than {limits.session:g} s")
        if arrivals.encodings is None:
            raise ProtocolError("the peer closed before it sent a header")
        arrivals.close()
    except Exception as error:
        arrivals.fail(error)


def _reconstruct(
    wire: Wire, arrivals: Arrivals, service: Service, session: tuple[Path, Limits], summary: Summary
) -> None:
    """Send the images of every slice as it becomes complete. Raises ReconError for the first that cannot be made,
    after the others."""
    begun = arrivals.wait_for(lambda: arrivals.startable(_needed))
    streamed = streamed_scan(session[0], arrivals, begun, session[1])
    work = begin(service, streamed.scan)
    summary.shape, summary.acceleration = streamed.scan.shape, streamed.scan.acceleration
    keeper = None if service.save is None else Keeper(service.save)
    try:
        _every_slice(wire, arrivals, service, (streamed, work, keeper), summary)
        if keeper is not None:
            _keep(keeper, work, service, summary)
    finally:
        if keeper is not None:
            keeper.drop("the session ended before its last slice")


def _every_slice(
    wire: Wire,
    arrivals: Arrivals,
    service: Service,
    what: tuple[StreamedScan, Work, Keeper | None],
    summary: Summary,
) -> None:
    streamed, _, _ = what
    failed: ReconError | None = None
    while True:
        (counter,) = arrivals.wait_for(arrivals.next_complete)
        if counter is None:
            break
        whole_volume = streamed.volume and counter in streamed.order
        for index in range(streamed.scan.shape[0]) if whole_volume else [streamed.order.get(counter, 0)]:
            try:
                _one_slice(wire, arrivals, service, what, (counter, index), summary)
            except ReconError as error:
                failed = failed or error
                if isinstance(error, ProtocolError) and not arrivals.closed:
                    raise
        arrivals.drop(counter)
    if failed is not None:
        raise failed


def _keep(keeper: Keeper, work: Work, service: Service, summary: Summary) -> None:
    """Finish the result, let the watch look at it, and hand it on; ``summary`` gets what came of each."""
    path = keeper.finish(work)
    if path is None:
        summary.not_kept = keeper.reason
        return
    summary.result = path.name
    if service.watch is not None:
        try:
            summary.watch = service.watch(path)
        except ReconError:
            summary.watch = "not judged, its audit lacks what the baseline charts"
    if service.deliver is not None:
        try:
            summary.delivery = service.deliver(path, work.solver.scan)
        except (ReconError, OSError) as error:  # the images have gone back, and the result is kept
            summary.delivery = f"not exported: {(error.strerror if isinstance(error, OSError) else None) or error}"


def _needed(count: int) -> list[int]:
    """Slices that must be complete before the first can be reconstructed."""
    return [*representative_slices(count), count // 2]


def _one_slice(
    wire: Wire,
    arrivals: Arrivals,
    service: Service,
    what: tuple[StreamedScan, Work, Keeper | None],
    place: tuple[int, int],
    summary: Summary,
) -> None:
    (streamed, work, keeper), (counter, index) = what, place
    if counter not in streamed.order:
        after = "its only slab was complete" if streamed.volume else "all slices of the header had been seen"
        raise ProtocolError(f"slice {counter} came after {after}")
    result = work.slice(index, lambda: arrivals.finished, service.deadline)
    summary.fallback = work.fallback is not None
    for reason in work.said:
        wire.write(text_message(TEXT, f"WARNING {reason}"))
    work.said.clear()
    head = arrivals.head(arrivals.rows(counter)[0])
    if streamed.volume:  # its slices lie across the readout
        head = head.copy()
        head["idx"]["slice"] = index
        if streamed.scan.affine is not None:
            place_head(streamed.scan, head, index)
    for image in mrd_images(work, result, head, summary.slices):
        wire.write(image_message(image))
        summary.images += 1
    if keeper is not None:
        keeper.put(work, result)
    summary.slices += 1
    now = time.monotonic()
    summary.last_image = None if arrivals.finished is None else now - arrivals.finished
    if summary.first_image is None:
        summary.first_image = summary.last_image
