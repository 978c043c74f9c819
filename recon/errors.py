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


def system_error(error: OSError) -> OSError:
    """The error of the system itself, which some packages (pydicom) wrap into one without its number and words."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            return found
        found = found.__cause__ or found.__context__
    return error


def system_reason(error: OSError) -> str:
    """What the system said, without the place in the code that some packages put in its place."""
    return system_error(error).strerror or str(error).partition("\n")[0]


class ReconWarning(UserWarning):
    """Something the user should know before trusting a result; the run goes on."""
