"""The integer type that a file keeps its pixels in, and what resampling and noise become in it.

NeuroVFM's reader resamples in the file's own pixel type: for integers, as scanners and dcm2niix write them, ITK cuts
off the fraction and holds the result within the type's limits, and a 10th percentile then falls on another value.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def is_integer(pixel_type: np.dtype[Any]) -> bool:
    """Signed or unsigned integers; not truth values."""
    return pixel_type.kind in "iu"


def truncated(values: NDArray[np.float64], pixel_type: np.dtype[Any]) -> NDArray[np.float64]:
    """``values``, any shape, as ITK's resampler leaves them in an integer type: cut off towards zero, then clipped to
    its limits. They stay floating point."""
    limits = np.iinfo(pixel_type)
    return np.clip(np.trunc(values), float(limits.min), float(limits.max))


def stored(values: NDArray[np.floating], pixel_type: np.dtype[Any]) -> NDArray[Any]:
    """``values``, any shape, as a file of an integer type would hold them: rounded, clipped to its limits."""
    limits = np.iinfo(pixel_type)
    largest = float(limits.max)
    if int(largest) > limits.max:  # 2^63 - 1 has no double of its own
        largest = float(np.nextafter(largest, 0.0))
    return np.clip(np.rint(np.asarray(values, np.float64)), float(limits.min), largest).astype(pixel_type)
