"""Intervals of figures over persons: percentiles of a bootstrap that draws persons, not scans."""

import numpy as np
from numpy.typing import NDArray

LEAST_PERSONS = 3  # of fewer no interval is given


def person_interval(drawn: NDArray[np.float64], persons: int) -> tuple[float, float] | None:
    """The 95 % percentile interval of a figure's values ``drawn [resample]``; None of fewer than three persons."""
    if persons < LEAST_PERSONS:
        return None
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(low), float(high)
