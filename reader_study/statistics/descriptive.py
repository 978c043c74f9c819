"""Scores as the readers gave them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reader_study.arrays import Floats


@dataclass(frozen=True)
class Descriptive:
    """Scores of one item and arm: count at every score of the scale, mean, median."""

    arm: str
    reader: str  # "all" for all readers together
    scores: int
    mean: float
    median: float
    counts: dict[str, int]


def describe(values: Floats, scale: Sequence[int], arm: str, reader: str) -> Descriptive | None:
    """Describe ``values`` of any shape, NaN where missing; None where all are missing."""
    known = values[np.isfinite(values)]
    if not known.size:
        return None
    counts = {str(level): int((known == level).sum()) for level in scale}
    return Descriptive(arm, reader, known.size, float(known.mean()), float(np.median(known)), counts)
