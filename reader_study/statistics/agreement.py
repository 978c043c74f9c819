"""Agreement of readers on categories: Cohen's and Fleiss' kappa, Gwet's AC1 and AC2, Krippendorff's alpha."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats
from statsmodels.stats.inter_rater import cohens_kappa, fleiss_kappa

from reader_study.arrays import Floats, Integers
from reader_study.statistics.hypothesis_test import CONFIDENCE
from recon.errors import ReconError

Weighting = Literal["none", "quadratic"]


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
    shares, weights = counts / counts.sum(), category_weights(counts.shape[0], weighting)
    if np.isclose(shares.sum(axis=1) @ weights @ shares.sum(axis=0), 1.0):
        return Kappa(np.nan, np.nan, np.nan, np.nan, agreed, total)
    with np.errstate(invalid="ignore"):
        found = cohens_kappa(counts, weights=1 - weights)
    # In nearly degenerate tables the variance is zero up to rounding, and may come out a hair below it.
    kappa, error = float(found.kappa), float(np.sqrt(max(found.var_kappa, 0.0)))
    return Kappa(kappa, error, *_interval(counts, weights, kappa, error), agreed, total)


def _interval(counts: Floats, weights: Floats, kappa: float, error: float) -> tuple[float, float]:
    """95 % interval on Fisher's z scale, by Student's t, its spread from the jackknife over the pairs.

    The asymptotic ``error`` is too small at 30 to 60 pairs (coverage 91 to 93 %); it stands in only where without one
    pair all agree, or kappa is not defined.
    """
    if error == 0 or abs(kappa) >= 1:
        return kappa, kappa
    pairs, often = counts.sum(), counts[counts > 0]
    left_out = counts - np.eye(counts.size)[counts.ravel() > 0].reshape(-1, *counts.shape)
    agreed = (left_out * weights).sum(axis=(1, 2)) / (pairs - 1)
    chance = np.einsum("ki,ij,kj->k", left_out.sum(axis=2), weights, left_out.sum(axis=1)) / (pairs - 1) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        places = np.arctanh((agreed - chance) / (1 - chance))
    spread = error / (1 - kappa**2)
    if np.isfinite(places).all():
        away = places - np.average(places, weights=often)
        spread = float(np.sqrt((pairs - 1) / pairs * (often * away**2).sum()))
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, max(pairs - 1, 1))) * spread
    low, high = np.tanh(np.arctanh(kappa) + np.array([-half, half]))
    return float(low), float(high)


def category_weights(categories: int, weighting: Weighting) -> Floats:
    """Agreement weights `[category, category]`: 1 on the diagonal, falling with the distance of the categories."""
    if weighting == "none":
        return np.eye(categories)
    places = np.arange(categories) / max(categories - 1, 1)
    return np.asarray(1 - np.subtract.outer(places, places) ** 2)


def cross_table(first: Floats, second: Floats, categories: npt.ArrayLike) -> Integers:
    """Counts `[first category, second category]` of two readings `[case]`; pairs with a missing score left out."""
    levels = np.asarray(categories, dtype=np.float64)[:, None]
    return np.asarray((first == levels).astype(np.int64) @ (second == levels).T)


def category_counts(ratings: Floats, categories: npt.ArrayLike) -> Integers:
    """Readers per category `[case, category]` from ``ratings`` `[reader, case]`; missing scores count nowhere."""
    levels = np.asarray(categories, dtype=np.float64)
    return np.stack([(ratings == level).sum(axis=0) for level in levels], axis=1).astype(np.int64)


def fleiss(ratings: Floats, categories: npt.ArrayLike) -> float:
    """Fleiss' kappa of ``ratings`` `[reader, case]` over the cases that every reader scored; NaN if one category."""
    counts = category_counts(ratings, categories)
    counts = counts[counts.sum(axis=1) == ratings.shape[0]]
    if np.count_nonzero(counts.sum(axis=0)) < 2:
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
    """Gwet's AC1 (``none``) or AC2 (weighted) of ``ratings`` `[reader, case]`, NaN where missing (Gwet 2008, 2014).

    Cases with one reader inform the margins only. Raises ReconError where no case has two readers.
    """
    counts = category_counts(ratings, categories)
    counts = counts[counts.sum(axis=1) > 0]
    readers = counts.sum(axis=1)
    paired = readers >= 2
    if not paired.any():
        raise ReconError("agreement needs at least one case scored twice")
    cases, levels = counts.shape
    weights, shares = category_weights(levels, weighting), counts / readers[:, None]
    observed = (counts * (counts @ weights - 1)).sum(axis=1) / np.maximum(readers * (readers - 1), 1)
    agreed, prevalence = float(observed[paired].mean()), shares.mean(axis=0)
    factor = weights.sum() / (levels * (levels - 1))
    chance = float(factor * (prevalence * (1 - prevalence)).sum())
    coefficient = (agreed - chance) / (1 - chance)
    # Gwet's linearised variance: each case's own coefficient, corrected for its share in the chance agreement.
    own = cases / paired.sum() * np.where(paired, observed - chance, 0.0) / (1 - chance)
    own_chance = factor * (shares * (1 - prevalence)).sum(axis=1)
    star = own - 2 * (1 - coefficient) * (own_chance - chance) / (1 - chance)
    error = float(np.sqrt(((star - coefficient) ** 2).sum() / (cases * (cases - 1)))) if cases > 1 else float("nan")
    return Gwet(float(coefficient), error, agreed, cases)


def krippendorff(ratings: Floats, categories: npt.ArrayLike) -> float:
    """Krippendorff's ordinal alpha of ``ratings`` `[reader, case]`, NaN where missing (Krippendorff 2011).

    NaN where no case was scored twice or nothing varies.
    """
    counts = category_counts(ratings, categories)
    counts = counts[counts.sum(axis=1) >= 2]
    weighted = counts / (counts.sum(axis=1, keepdims=True) - 1)
    coincidence = weighted.T @ counts - np.diag(weighted.sum(axis=0))
    margins = coincidence.sum(axis=1)
    places = np.cumsum(margins) - margins / 2  # in ranks
    distance = np.subtract.outer(places, places) ** 2
    expected = margins @ distance @ margins
    return float(1 - (coincidence * distance).sum() * (margins.sum() - 1) / expected) if expected > 0 else float("nan")
