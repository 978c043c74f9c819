"""The toolkit's own exception: what is wrong, where, and what to do about it."""

from collections.abc import Iterator
from contextlib import contextmanager


class ReconError(Exception):
    """A mistake or a broken input that the user can act on.

    The message names the file or the key, says what is wrong with it and what to do. The command line prints
    it as one line and exits with code 2; the library never prints.
    """


class FullDiskError(ReconError):
    """The disk is full, or a quota used up: whatever is tried next in the same place would fail after its work."""


@contextmanager
def naming(path: object) -> Iterator[None]:
    """Put ``path`` before the message of a ReconError from inside that does not name it."""
    try:
        yield
    except ReconError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from error


class ReconWarning(UserWarning):
    """Something the user should know before trusting a result; the run goes on."""
