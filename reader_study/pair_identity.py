"""Do the two images of a case show one patient, the same way round? Found by comparing the pictures, not the headers.

An image of another patient in one arm, or a mirrored one, is told from its pair at a glance. Each image is averaged
down to a thumbnail. Within a pair the thumbnails must agree better as they are than with one of them flipped; over the
study, what a case has beyond the mean of all cases must be found again in its own pair, and not in another case's.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError

Floats = NDArray[np.float32]
_THUMBNAIL = (8, 32, 32)  # slices, rows, columns at most
_UNLIKE = 0.3  # correlation of a pair's thumbnails below which they do not show the same thing at all
_DOUBTFUL = 0.5  # correlation of what a case has of its own, below which a better match elsewhere counts
_CLEARLY = 0.25  # share of what a pair lacks to full agreement that a flip must add
_AXES = ("slices in reverse order", "upside down", "left and right exchanged")


@dataclass
class PairIdentity:
    """The thumbnails of the cases so far, reference and new."""

    _reference: dict[str, Floats] = field(default_factory=dict)
    _new: dict[str, Floats] = field(default_factory=dict)

    def add(self, case: str, reference: NDArray[np.float32], new: NDArray[np.float32]) -> None:
        """One case's images `[slice, row, column]` of one shape."""
        self._reference[case], self._new[case] = thumbnail(reference), thumbnail(new)

    def check(self) -> None:
        """Raises ReconError naming the first case whose images are not of one patient, the same way round."""
        by_shape: dict[tuple[int, ...], list[str]] = {}
        for case, image in self._reference.items():
            _check_pair(case, image, self._new[case])
            by_shape.setdefault(image.shape, []).append(case)
        for cases in by_shape.values():
            if len(cases) > 2:
                _check_alike(cases, *(np.stack([arm[case] for case in cases]) for arm in (self._reference, self._new)))


def _check_pair(case: str, first: Floats, second: Floats) -> None:
    agreement = _correlation(first, second)
    flipped = [_correlation(first, np.flip(second, axis)) for axis in range(3)]
    best = int(np.argmax(flipped))
    if flipped[best] > max(agreement + _CLEARLY * (1 - agreement), _UNLIKE):
        raise ReconError(
            f"case {case}: the arms agree better with one of them flipped, {_AXES[best]} (correlation "
            f"{flipped[best]:.2f} against {agreement:.2f}); correct the orientation of one arm"
        )
    if agreement < _UNLIKE:
        raise ReconError(
            f"case {case}: the arms do not show the same thing (correlation {agreement:.2f}); was an image of another "
            "patient given, or another contrast?"
        )


def thumbnail(image: NDArray[np.float32]) -> Floats:
    """Block means of ``image`` `[slice, row, column]` on at most 8 x 32 x 32 points."""
    small = np.asarray(image, np.float64)
    for axis, size in enumerate(_THUMBNAIL):
        length = small.shape[axis]
        starts = np.unique(np.arange(min(size, length)) * length // min(size, length))
        widths = np.diff(np.r_[starts, length])
        small = np.add.reduceat(small, starts, axis=axis) / np.expand_dims(widths, [i for i in range(3) if i != axis])
    return small.astype(np.float32)  # those of all cases are kept until the end


def _check_alike(cases: list[str], reference: Floats, new: Floats) -> None:
    """``reference`` and ``new`` `[case, slice, row, column]`."""
    own = []
    for arm in (reference, new):
        flat = arm.reshape(len(cases), -1)
        flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
        flat = flat - flat.mean(axis=0)  # what all cases share is no mark of a patient
        own.append(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12))
    alike = own[0] @ own[1].T
    for index, case in enumerate(cases):
        row, column = int(np.argmax(alike[index])), int(np.argmax(alike[:, index]))
        if alike[index, index] < _DOUBTFUL and (row != index or column != index):
            other = cases[row if row != index else column]
            raise ReconError(
                f"case {case}: its two images look like different patients (correlation {alike[index, index]:.2f} of "
                f"what is the case's own; case {other} fits better); check which file belongs to which case"
            )


def _correlation(first: Floats, second: Floats) -> float:
    a, b = first - first.mean(), second - second.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / size if size > 0 else 1.0
