"""A process that may take only so much more memory: what asks for more fails there and then."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GIGABYTE = 1 << 30


@contextmanager
def a_gigabyte_left() -> Iterator[None]:
    """Within it, this process may take a gigabyte of addresses more than it has."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + GIGABYTE, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
