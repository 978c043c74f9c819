"""What a mutant is: a seed changed in one way, and what must become of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

# refusal: nothing that this change makes can be right; same: it changes nothing that counts; any: either, but what is
# accepted must agree with an oracle that reads the file by itself (see ``tests.fuzzing.targets``).
Expected = Literal["refusal", "same", "any"]
Change = Callable[[Path, np.random.Generator], Expected]


@dataclass(frozen=True)
class Mutation:
    """One way of changing a file (or folder) in place; gives what must become of the result."""

    name: str
    change: Change


def pick(generator: np.random.Generator, values: Sequence[object]) -> object:
    """One of the values, as it is (``Generator.choice`` would make an array of them)."""
    return values[int(generator.integers(len(values)))]


def bytes_anywhere(path: Path, generator: np.random.Generator) -> Expected:
    """One to thirty bytes, a block or the end of the file changed, wherever."""
    return _damage(path, generator, path.stat().st_size)


def bytes_at_the_start(path: Path, generator: np.random.Generator) -> Expected:
    """The same in the first 4 kB, where headers lie."""
    return _damage(path, generator, min(4096, path.stat().st_size))


def _damage(path: Path, generator: np.random.Generator, within: int) -> Expected:
    data = bytearray(path.read_bytes())
    kind = int(generator.integers(8))
    start = int(generator.integers(max(within, 1)))
    length = int(2 ** generator.uniform(0, 9))
    if kind == 0:
        for place in generator.integers(within, size=int(generator.integers(1, 30))):
            data[place] ^= 1 << int(generator.integers(8))
    elif kind == 1:
        data[start : start + length] = generator.bytes(len(data[start : start + length]))
    elif kind == 2:
        data[start : start + length] = bytes(len(data[start : start + length]))
    elif kind == 3:
        data[start : start + length] = b"\xff" * len(data[start : start + length])
    elif kind == 4:
        del data[start : start + length]
    elif kind == 5:
        data[start:start] = data[start : start + length]
    elif kind == 6:
        del data[start:]
    else:
        other = int(generator.integers(within))
        block = data[other : other + length]
        data[start : start + len(block)] = block
    path.write_bytes(bytes(data))
    return "any"


def emptied(path: Path, generator: np.random.Generator) -> Expected:
    """No bytes, or only zeros, or another kind of file."""
    words: list[object] = [b"", bytes(4096), b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"%PDF-1.4\n", b"\xef\xbb\xbf", b"{"]
    content = pick(generator, words)
    assert isinstance(content, bytes)
    path.write_bytes(content)
    return "refusal"


def of_parts(parts: Sequence[str], change: Change) -> Change:
    """``change`` applied to one of some files in a folder."""

    def changed(folder: Path, generator: np.random.Generator) -> Expected:
        return change(folder / str(pick(generator, parts)), generator)

    return changed


BYTES = (
    Mutation("bytes anywhere", bytes_anywhere),
    Mutation("bytes at the start", bytes_at_the_start),
    Mutation("emptied", emptied),
)
