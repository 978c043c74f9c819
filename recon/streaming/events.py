"""What a server has to say of its work: a line for people, and the same as facts for machines."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


class Event(Protocol):
    """Something that happened. Neither form holds a word that a peer wrote."""

    def line(self) -> str:
        """One line for people."""
        ...

    def facts(self) -> dict[str, Any]:
        """The same for machines; ``event`` says of what kind it is."""
        ...


Tell = Callable[[Event], None]
"""``tell(event)``: called in the order in which things happen, also from the thread that sends results."""


@dataclass(frozen=True)
class Listening:
    """The server can be reached."""

    host: str
    port: int
    method: str

    def line(self) -> str:
        """One line for people."""
        return f"listening on {self.host}:{self.port}, method {self.method}"

    def facts(self) -> dict[str, Any]:
        """The same for machines."""
        return {"event": "listening", "host": self.host, "port": self.port, "method": self.method}


@dataclass(frozen=True)
class Stopped:
    """The server was told to end."""

    def line(self) -> str:
        """One line for people."""
        return "stopped"

    def facts(self) -> dict[str, Any]:
        """The same for machines."""
        return {"event": "stopped"}


def untold(event: Event) -> None:
    """Tell nobody."""
