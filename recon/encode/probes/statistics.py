"""AUC, calibration error, rejection, and bootstrap over persons."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval over persons; NaN where it cannot be computed."""

    value: float
    low: float
    high: float


def auc(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
    """Area under the ROC curve; ties count half. ``labels`` [case] index ``probabilities`` [case, class].

    With more than two classes, the mean over classes of one against the rest. NaN when a class is missing.
    """
    classes = probabilities.shape[1]
    if classes == 2:
        return _area(labels == 1, probabilities[:, 1])
    return float(np.mean([_area(labels == index, probabilities[:, index]) for index in range(classes)]))


def _area(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    count = int(positive.sum())
    others = len(positive) - count
    if count == 0 or others == 0:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def accuracy(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
    """Share of cases whose most probable class is the true one."""
    return float((probabilities.argmax(axis=1) == labels).mean())


def calibration_error(labels: NDArray[np.int64], probabilities: NDArray[np.float64], bins: int = 10) -> float:
    """Expected calibration error (Guo et al., ICML 2017): mean over equal-width bins of |accuracy - confidence|."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    total = 0.0
    for number in range(bins):
        inside = index == number
        if inside.any():
            total += float(inside.mean()) * abs(float(right[inside].mean()) - float(confidence[inside].mean()))
    return total


def kept_after_rejection(uncertainty: NDArray[np.float64], rate: float) -> NDArray[np.int64]:
    """Indices of the cases left when the ``rate`` most uncertain are rejected; ties by order."""
    keep = len(uncertainty) - int(np.floor(rate * len(uncertainty) + 1e-9))
    return np.argsort(uncertainty, kind="stable")[:keep]


def rejection_area(
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    uncertainty: NDArray[np.float64],
    rates: Sequence[float],
) -> float:
    """Mean AUC over the shares of the most uncertain that are rejected; NaN as soon as a class is gone.

    Minus the AUC without rejection it is what the uncertainty gains over rejection at random, whose expected curve is
    flat.
    """
    values = []
    for rate in rates:
        kept = kept_after_rejection(uncertainty, float(rate))
        values.append(auc(labels[kept], probabilities[kept]))
    return float(np.mean(values))


def person_resamples(
    persons: tuple[str, ...], repeats: int, generator: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Row indices of bootstrap samples: persons drawn with replacement, each with all of its rows."""
    _, which = np.unique(np.array(persons), return_inverse=True)
    rows = [np.flatnonzero(which == index) for index in range(int(which.max()) + 1)]
    for _ in range(repeats):
        drawn = generator.integers(len(rows), size=len(rows))
        yield np.concatenate([rows[index] for index in drawn])


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    persons: tuple[str, ...],
    repeats: int,
    generator: np.random.Generator,
) -> list[Interval]:
    """Percentile intervals of a vector statistic of row indices, resampling persons.

    Resamples in which an entry is NaN (a class is missing) do not count for that entry.
    """
    value = statistic(np.arange(len(persons)))
    drawn = np.stack([statistic(rows) for rows in person_resamples(persons, repeats, generator)])
    intervals = []
    for index, estimate in enumerate(value):
        column = drawn[:, index][np.isfinite(drawn[:, index])]
        low, high = np.percentile(column, (2.5, 97.5)) if len(column) >= 20 else (np.nan, np.nan)
        intervals.append(Interval(float(estimate), float(low), float(high)))
    return intervals
