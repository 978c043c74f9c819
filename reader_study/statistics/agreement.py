"""Agreement of readers on categories: Cohen's and Fleiss' kappa, Gwet's AC1 and AC2, Krippendorff's alpha."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats
from statsmodels.stats.inter_rater import cohens_kappa, fleiss_kappa

from recon.errors import ReconError

Floats = npt.NDArray[np.float64]
Weighting = Literal["none", "linear", "quadratic"]
Level = Literal["nominal", "ordinal", "interval"]


@dataclass(frozen=True)
class Kappa:
    """Cohen's kappa, NaN where the table has one category, its asymptotic standard error and a 95 % interval.

    The interval is that of the jackknife over the pairs on Fisher's z scale, by Student's t.
    """

    kappa: float
    standard_error: float
    low: float
    high: float
    agreement: float
    pairs: int


def cohen(table: npt.ArrayLike, weighting: Weighting = "none") -> Kappa:
    """Cohen's (weighted) kappa of a square table of counts, rows one reading, columns the other (Fleiss et al. 1969).

    Raises ReconError for a table that is not square or has no counts.
    """
    counts = np.asarray(table, dtype=np.float64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.sum() <= 0:
        raise ReconError(f"kappa needs a square table of counts, got shape {counts.shape}")
    total, agreed = int(counts.sum()), float(np.trace(counts) / counts.sum())
    shares = counts / counts.sum()
    weights = category_weights(counts.shape[0], weighting)
    if np.isclose(shares.sum(axis=1) @ weights @ shares.sum(axis=0), 1.0):
        return Kappa(float("nan"), float("nan"), float("nan"), float("nan"), agreed, total)
    wanted = {"none": None, "linear": "linear", "quadratic": "quadratic"}[weighting]
    with np.errstate(invalid="ignore"):
        found = cohens_kappa(counts, wt=wanted)
    # In nearly degenerate tables the variance is zero up to rounding, and may come out a hair below it.
    error = float(np.sqrt(max(float(found.var_kappa), 0.0)))
    kappa = float(found.kappa)
    return Kappa(kappa, error, *_interval(counts, weights, kappa, error), agreed, total)


def _interval(counts: Floats, weights: Floats, kappa: float, error: float) -> tuple[float, float]:
    """95 % interval on Fisher's z scale, by Student's t, its spread from the jackknife over the pairs.

    The asymptotic ``error`` is too small at 30 to 60 pairs (coverage 91 to 93 %); it stands in only where without one
    pair all agree, or kappa is not defined.
    """
    if error == 0 or abs(kappa) >= 1:
        return kappa, kappa
    pairs, cells = counts.sum(), np.argwhere(counts > 0)
    left_out = np.stack([counts] * len(cells))
    left_out[np.arange(len(cells)), cells[:, 0], cells[:, 1]] -= 1
    rows, columns = left_out.sum(axis=2), left_out.sum(axis=1)
    agreed = (left_out * weights).sum(axis=(1, 2)) / (pairs - 1)
    chance = np.einsum("ki,ij,kj->k", rows, weights, columns) / (pairs - 1) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        places = np.arctanh((agreed - chance) / (1 - chance))
    spread = error / (1 - kappa**2)
    if np.isfinite(places).all():
        often = counts[cells[:, 0], cells[:, 1]]
        away = places - np.average(places, weights=often)
        spread = float(np.sqrt((pairs - 1) / pairs * (often * away**2).sum()))
    half = float(stats.t.ppf(0.975, max(pairs - 1, 1))) * spread
    return float(np.tanh(np.arctanh(kappa) - half)), float(np.tanh(np.arctanh(kappa) + half))


def category_weights(categories: int, weighting: Weighting) -> Floats:
    """Agreement weights `[category, category]`: 1 on the diagonal, falling with the distance of the categories."""
    distance = np.abs(np.subtract.outer(np.arange(categories), np.arange(categories))).astype(np.float64)
    if weighting == "none" or categories == 1:
        return (distance == 0).astype(np.float64)
    scaled = distance / (categories - 1)
    return 1 - (scaled if weighting == "linear" else scaled**2)


def cross_table(first: Floats, second: Floats, categories: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Counts `[first category, second category]` of two readings `[case]`; pairs with a missing score left out."""
    levels = np.asarray(categories, dtype=np.float64)
    both = np.isfinite(first) & np.isfinite(second)
    table = np.zeros((levels.size, levels.size), dtype=np.int64)
    np.add.at(table, (np.searchsorted(levels, first[both]), np.searchsorted(levels, second[both])), 1)
    return table


def category_counts(ratings: Floats, categories: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Readers per category `[case, category]` from ``ratings`` `[reader, case]`; missing scores count nowhere."""
    levels = np.asarray(categories, dtype=np.float64)
    return np.stack([(ratings == level).sum(axis=0) for level in levels], axis=1).astype(np.int64)


def fleiss(ratings: Floats, categories: npt.ArrayLike) -> float:
    """Fleiss' kappa of ``ratings`` `[reader, case]` over the cases that every reader scored; NaN if one category."""
    counts = category_counts(ratings, categories)
    counts = counts[counts.sum(axis=1) == ratings.shape[0]]
    if counts.shape[0] == 0 or np.count_nonzero(counts.sum(axis=0)) < 2:
        return float("nan")
    return float(fleiss_kappa(counts))


@dataclass(frozen=True)
class Gwet:
    """Gwet's coefficient with its standard error over the cases."""

    coefficient: float
    standard_error: float
    agreement: float
    cases: int


def gwet(ratings: Floats, categories: npt.ArrayLike, weighting: Weighting = "none") -> Gwet:
    """Gwet's AC1 (``none``) or AC2 (weighted) of ``ratings`` `[reader, case]`, NaN where missing (Gwet 2008, 2014)."""
    return gwet_from_counts(category_counts(ratings, categories), weighting)


def gwet_from_counts(counts: npt.ArrayLike, weighting: Weighting = "none") -> Gwet:
    """Gwet's coefficient from readers per category `[case, category]`; cases with one reader inform the margins only.

    Raises ReconError where no case has two readers.
    """
    counted = np.asarray(counts, dtype=np.float64)
    counted = counted[counted.sum(axis=1) > 0]
    readers = counted.sum(axis=1)
    paired = readers >= 2
    if not paired.any():
        raise ReconError("agreement needs at least one case scored twice")
    cases, categories = counted.shape
    weights = category_weights(categories, weighting)
    weighted = counted @ weights
    observed = np.zeros(cases)
    observed[paired] = (counted * (weighted - 1)).sum(axis=1)[paired] / (readers * (readers - 1))[paired]
    agreed = float(observed[paired].mean())
    prevalence = (counted / readers[:, None]).mean(axis=0)
    factor = weights.sum() / (categories * (categories - 1))
    chance = float(factor * (prevalence * (1 - prevalence)).sum())
    coefficient = (agreed - chance) / (1 - chance)
    # Gwet's linearised variance: each case's own coefficient, corrected for its share in the chance agreement.
    own = cases / paired.sum() * np.where(paired, observed - chance, 0.0) / (1 - chance)
    own_chance = factor * ((counted / readers[:, None]) * (1 - prevalence)).sum(axis=1)
    star = own - 2 * (1 - coefficient) * (own_chance - chance) / (1 - chance)
    error = float(np.sqrt(((star - coefficient) ** 2).sum() / (cases * (cases - 1)))) if cases > 1 else float("nan")
    return Gwet(float(coefficient), error, agreed, cases)


def krippendorff(ratings: Floats, categories: npt.ArrayLike, level: Level = "ordinal") -> float:
    """Krippendorff's alpha of ``ratings`` `[reader, case]`, NaN where missing (Krippendorff 2011).

    NaN where no case was scored twice or nothing varies.
    """
    levels = np.asarray(categories, dtype=np.float64)
    counts = category_counts(ratings, levels).astype(np.float64)
    readers = counts.sum(axis=1)
    counts = counts[readers >= 2]
    readers = readers[readers >= 2]
    if counts.shape[0] == 0:
        return float("nan")
    coincidence = (counts / (readers - 1)[:, None]).T @ counts - np.diag((counts / (readers - 1)[:, None]).sum(axis=0))
    margins = coincidence.sum(axis=1)
    distance = _distances(levels, margins, level)
    expected = margins @ distance @ margins / (margins.sum() - 1)
    return float(1 - (coincidence * distance).sum() / expected) if expected > 0 else float("nan")


def _distances(levels: Floats, margins: Floats, level: Level) -> Floats:
    """Squared differences between categories: equal or not, on the scale, or counted in ranks between them."""
    if level == "nominal":
        return 1.0 - np.eye(levels.size)
    position = levels if level == "interval" else np.cumsum(margins) - margins / 2
    return np.asarray(np.subtract.outer(position, position) ** 2)
