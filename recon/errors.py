"""The toolkit's own exception: what is wrong, where, and what to do about it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ReconError(Exception):
    """A mistake or a broken input that the user can act on.

    The message names the file or the key, says what is wrong with it and what to do. The command line prints
    it as one line and exits with code 2; the library never prints.
    """


class ReconWarning(UserWarning):
    """Something the user should know before trusting a result; the run goes on."""


@contextmanager
def concerning(path: str | Path) -> Iterator[None]:
    """Errors of the block name the file that they are about, where their own text does not."""
    try:
        yield
    except ReconError as error:
        if str(path) in str(error):
            raise
        raise ReconError(f"{path}: {error}") from error
