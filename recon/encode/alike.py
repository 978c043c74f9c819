"""Are two volumes of one head? A mirrored array or another person moves every token, and no verdict says why."""

import numpy as np
from numpy.typing import NDArray

from recon.encode.noise import FOREGROUND

ONE_HEAD = 0.8  # correlation within the foreground, below which a reconstruction hardly shows its reference
WORDS = ("left and right", "front and back", "top and bottom")


def why_unlike(values: NDArray[np.floating], reference: NDArray[np.floating], affine: NDArray[np.float64]) -> str:
    """What seems wrong with a pair of volumes ``[x, y, z]`` on one grid, in words; empty when nothing is."""
    inside = reference > FOREGROUND * float(np.percentile(reference, 99))
    plain = _correlation(values, reference, inside)
    if plain >= ONE_HEAD:
        return ""
    flipped = [_correlation(np.flip(values, axis), reference, inside) for axis in range(3)]
    best = int(np.argmax(flipped))
    if flipped[best] > max(plain + 0.1, ONE_HEAD):
        direction = WORDS[int(np.abs(affine[:3, best]).argmax())]
        return f"it correlates with its reference by {plain:.2f}, mirrored ({direction}) by {flipped[best]:.2f}"
    return (
        f"it correlates with its reference by {plain:.2f} only: another person or slice, or not registered; the drift "
        "is that of the difference, not of the reconstruction"
    )


def _correlation(values: NDArray[np.floating], reference: NDArray[np.floating], inside: NDArray[np.bool_]) -> float:
    pair = np.stack([values[inside], reference[inside]]).astype(np.float64)
    pair -= pair.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(pair, axis=1)
    return float((pair[0] @ pair[1]) / max(float(norms.prod()), np.finfo(float).tiny))
