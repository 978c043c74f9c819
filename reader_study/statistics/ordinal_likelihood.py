"""The likelihood of a cumulative-link model integrated over independent normal effects of each cluster.

logit P(score <= j) = theta_j - x beta - sum_k sigma_k w_k z_k, z ~ N(0, 1). The integral is a trapezoidal sum over a
fixed grid of z: for a Gaussian times an analytic function its error falls exponentially with the step (Trefethen and
Weideman 2014), where few Gauss-Hermite nodes fail on the flat-topped likelihood of a case whose scores all agree. The
grid does not move, so that value and gradient belong to one smooth function and an optimiser can go to its very top.
Rows that are alike (arm, reader, score) are evaluated once.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import special
from scipy.stats.contingency import crosstab
from statsmodels.tools.numdiff import approx_fprime

from reader_study.arrays import Floats, Integers

_FARTHEST = 5.5  # standard deviations
_LARGEST = 300.0  # log odds; two such odds multiplied are still a number
_STEPS = {1: 0.1, 2: 0.2}  # by number of random effects; 0.2 is off by 2e-4 at deviations of 7, 0.3 and 0.25 by 1e-3


@dataclass(frozen=True)
class ClusteredScores:
    """Distinct rows of the data, and how often each occurs in each cluster.

    ``category`` `[row]` from 0, fixed ``design`` `[row, effect]`, ``loadings`` `[row, random effect]`, ``counts``
    `[cluster, row]`; ``places`` `[random effect, node]` and ``log_weights`` `[node]` are the grid.
    """

    category: Integers
    design: Floats
    loadings: Floats
    counts: Floats
    places: Floats
    log_weights: Floats

    def coarse(self) -> "ClusteredScores":
        """The same on a grid of twice the step: for the way up, not for the maximum."""
        places, log_weights = _grid(self.loadings.shape[1], 2)
        return replace(self, places=places, log_weights=log_weights)


def clustered(category: Integers, design: Floats, loadings: Floats, cluster: npt.ArrayLike) -> ClusteredScores:
    """Gather observations: ``category`` and ``cluster`` `[observation]`, ``design`` and ``loadings`` by columns."""
    rows, row = np.unique(np.column_stack([category, design, loadings]), axis=0, return_inverse=True)
    counts = crosstab(np.asarray(cluster), row.ravel()).count.astype(np.float64)
    level, effects, random = np.split(rows, [1, 1 + design.shape[1]], axis=1)
    return ClusteredScores(level.ravel().astype(np.int64), effects, random, counts, *_grid(random.shape[1]))


def _grid(random: int, coarseness: int = 1) -> tuple[Floats, Floats]:
    """Places `[random effect, node]` and log weights `[node]`."""
    line = np.arange(-_FARTHEST, _FARTHEST + 1e-9, _STEPS[random] * coarseness)
    places = np.stack([axis.ravel() for axis in np.meshgrid(*[line] * random, indexing="ij")])
    places = places[:, (places**2).sum(axis=0) <= _FARTHEST**2]
    log_weights = -(places**2).sum(axis=0) / 2
    return places, np.asarray(log_weights - special.logsumexp(log_weights))


def unpack(parameters: Floats, data: ClusteredScores) -> tuple[Floats, Floats, Floats]:
    """Coefficients, thresholds and deviations from one vector: beta, first threshold, log steps, deviations.

    The likelihood does not know the sign of a deviation, so that zero is an inner point of its range.
    """
    effects, random = data.design.shape[1], data.loadings.shape[1]
    beta, steps, deviations = np.split(parameters, [effects, parameters.size - random])
    thresholds = np.cumsum(np.r_[steps[0], np.exp(np.clip(steps[1:], -30.0, 30.0))])
    return beta, thresholds, deviations


def negative_log_likelihood(parameters: Floats, data: ClusteredScores) -> tuple[float, Floats]:
    """Minus the integrated log-likelihood, and its gradient in ``parameters``.

    With F logistic, F(a) - F(b) = F(a) F(-b) (1 - exp(b - a)): no cancellation.
    """
    beta, thresholds, deviations = unpack(parameters, data)
    edges = np.r_[-np.inf, thresholds, np.inf]
    upper, lower = edges[data.category + 1, None], edges[data.category, None]
    shift = (data.design @ beta)[:, None] + (data.loadings * deviations) @ data.places  # [row, node]
    # exp(-a) and exp(b): what the logarithm and its derivatives need, so that there are three slow functions only.
    odds_above = np.exp(np.clip(shift - upper, -_LARGEST, _LARGEST))
    odds_below = np.exp(np.clip(lower - shift, -_LARGEST, _LARGEST))
    log_chance = np.log1p(-np.exp(lower - upper)) - np.log((1 + odds_above) * (1 + odds_below))
    terms = data.counts @ log_chance + data.log_weights
    highest = terms.max(axis=1, keepdims=True)
    chances = np.exp(terms - highest)
    integral = chances.sum(axis=1, keepdims=True)
    share = data.counts.T @ (chances / integral)  # [row, node]: each node's part in the integrals, over the clusters
    with np.errstate(over="ignore", divide="ignore"):
        between = 1 / np.expm1(upper - lower)  # what comes of 1 - exp(b - a) is the same at every node
    in_upper = share * (odds_above / (1 + odds_above) + between)
    in_lower = -share * (odds_below / (1 + odds_below) + between)
    in_shift = -in_upper - in_lower
    in_thresholds = np.bincount(data.category, in_upper.sum(axis=1))[:-1]
    in_thresholds += np.bincount(data.category, in_lower.sum(axis=1))[1:]
    steps = np.r_[1.0, np.diff(thresholds)]  # a step moves every threshold above it
    gradient = (
        in_shift.sum(axis=1) @ data.design,
        np.cumsum(in_thresholds[::-1])[::-1] * steps,
        ((in_shift @ data.places.T) * data.loadings).sum(axis=0),
    )
    return -float((highest + np.log(integral)).sum()), -np.concatenate(gradient)


def information(parameters: Floats, data: ClusteredScores) -> Floats:
    """Second derivatives of minus the integrated log-likelihood `[parameter, parameter]`, from its gradient."""
    bend = approx_fprime(parameters, lambda moved: negative_log_likelihood(moved, data)[1], centered=True)
    return np.asarray(bend + bend.T) / 2
