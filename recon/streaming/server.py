"""The server: one port, one session at a time, further peers wait in the queue of the operating system."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from recon.errors import ReconError
from recon.streaming.events import Tell, untold
from recon.streaming.limits import Limits
from recon.streaming.session import Summary, serve_session
from recon.streaming.wire import Wire
from recon.streaming.work import Service

QUEUE = 16  # peers that may wait
_MOMENT = 0.5  # seconds between two looks for the end


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens; port 0 takes any free one. Raises ReconError when the address cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=QUEUE)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ReconError(f"{host}:{port} cannot be listened on ({reason}); choose another --port or --host") from error
    with listener:
        listener.settimeout(_MOMENT)
        yield listener


def serve(
    listener: socket.socket,
    service: Service,
    limits: Limits = Limits(),
    tell: Tell = untold,
    stopped: Callable[[], bool] = lambda: False,
) -> list[Summary]:
    """Serve peers one after another until ``stopped()``; ``tell`` gets one ``Summary`` a session."""
    served = 0
    recent: list[Summary] = []
    while not stopped():
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        except OSError:  # the peer was gone before it was its turn
            continue
        served += 1
        wire = Wire(connection, limits.silence)
        try:
            summary = serve_session(wire, service, limits, served)
        finally:
            wire.drop()
        tell(summary)
        recent = [*recent[-99:], summary]
    return recent
