"""What a probe says of volumes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Prediction:
    """Probabilities of a probe fitted here (not of the encoder), and how unsure it is; larger is less sure."""

    probabilities: NDArray[np.float64]  # [volume, class]
    uncertainty: NDArray[np.float64]  # [volume]


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Softmax over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), np.float64)
