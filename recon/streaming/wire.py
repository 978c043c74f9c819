"""A connection: exact reads and whole writes, each within a time; nobody waits for a silent peer for ever."""

import contextlib
import socket
import time

from recon.streaming.errors import ProtocolError

_LINGER = 2.0  # seconds in which a peer that is still sending may read why we stopped


class Wire:
    """One TCP connection. Reading and writing may happen in two threads; each has a handle and a timeout of its own."""

    def __init__(self, connection: socket.socket, silence: float) -> None:
        self._reading, self._writing = connection, connection.dup()
        self._silence = silence
        self._writing.settimeout(silence)
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self, count: int) -> bytes:
        """Exactly ``count`` bytes. Raises ProtocolError when the peer ends, breaks off or takes too long."""
        until = time.monotonic() + self._silence
        parts, missing = [], count
        while missing:
            remaining = until - time.monotonic()
            if remaining <= 0:
                raise ProtocolError(f"nothing came for {self._silence:g} s")
            self._reading.settimeout(remaining)
            try:
                part = self._reading.recv(min(missing, 1 << 20))
            except TimeoutError:
                continue
            except OSError as error:
                raise ProtocolError("the connection broke") from error
            if not part:
                raise ProtocolError("the connection ended without a close message")
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def write(self, content: bytes) -> None:
        """Send all. Raises ProtocolError when the peer does not take it in time."""
        try:
            self._writing.sendall(content)
        except OSError as error:
            raise ProtocolError("the peer does not take what is sent to it") from error

    def close(self, last: bytes = b"") -> None:
        """Send ``last`` if that is possible and close; what the peer still sends is thrown away for a moment, because
        a connection closed with unread data takes back what was sent."""
        with contextlib.suppress(OSError):
            self._writing.settimeout(_LINGER)
            self._writing.sendall(last)
            self._writing.shutdown(socket.SHUT_WR)
            until = time.monotonic() + _LINGER
            while (remaining := until - time.monotonic()) > 0:
                self._reading.settimeout(remaining)
                if not self._reading.recv(1 << 16):
                    break
        self.drop()

    def drop(self) -> None:
        """Close at once."""
        for handle in (self._writing, self._reading):
            with contextlib.suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)
            handle.close()
