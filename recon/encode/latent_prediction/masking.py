"""Which tokens the student sees: a piece of the head, most of it hidden in blocks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Split:
    """Indices of the tokens of one sample: what the student sees, and what it must predict."""

    visible: NDArray[np.int64]
    hidden: NDArray[np.int64]


def nearest_piece(positions: NDArray[np.float32], count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Indices of ``count`` neighbouring tokens around one drawn at random, of at least as many.

    ``positions`` [token, 3] in mm. A fixed count lets samples of different heads share a batch.
    """
    centre = positions[generator.integers(len(positions))]
    distance = np.linalg.norm(positions - centre, axis=1)
    return np.sort(np.argpartition(distance, count - 1)[:count])


def hide_blocks(
    positions: NDArray[np.float32], hidden_fraction: float, block: float, generator: np.random.Generator
) -> Split:
    """Hide balls of ``block`` mm radius (half to three halves of it) until ``hidden_fraction`` of the tokens is hidden.

    The last ball is trimmed from its rim, so that the number hidden is exact.
    """
    count = len(positions)
    wanted = min(count - 1, round(hidden_fraction * count))
    hidden = np.zeros(count, bool)
    while hidden.sum() < wanted:
        # Balls around tokens that are still seen, so that every ball hides something.
        seed = generator.choice(np.flatnonzero(~hidden))
        distance = np.linalg.norm(positions - positions[seed], axis=1)
        radius = block * generator.uniform(0.5, 1.5)
        ball = np.flatnonzero((distance <= radius) & ~hidden)
        ball = ball[np.argsort(distance[ball], kind="stable")][: wanted - int(hidden.sum())]
        hidden[ball] = True
    return Split(np.flatnonzero(~hidden), np.flatnonzero(hidden))
