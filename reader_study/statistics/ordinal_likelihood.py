"""The likelihood of a cumulative-link model integrated over independent normal effects of each cluster.

logit P(score <= j) = theta_j - x beta - sum_k sigma_k w_k z_k, z ~ N(0, 1). The integral is a trapezoidal sum over a
fixed grid of z: for a Gaussian times an analytic function its error falls exponentially with the step (Trefethen and
Weideman 2014), where few Gauss-Hermite nodes fail on the flat-topped likelihood of a case whose scores all agree. The
grid does not move, so that value and gradient belong to one smooth function and an optimiser can go to its very top.
Rows that are alike (arm, reader, score) are evaluated once.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
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

    @property
    def thresholds(self) -> int:
        """Number of thresholds: categories less one."""
        return int(self.category.max())


def clustered(category: Integers, design: Floats, loadings: Floats, cluster: npt.ArrayLike) -> ClusteredScores:
    """Gather observations: ``category`` and ``cluster`` `[observation]`, ``design`` and ``loadings`` by columns."""
    rows, row = np.unique(np.column_stack([category, design, loadings]), axis=0, return_inverse=True)
    labels, member = np.unique(np.asarray(cluster), return_inverse=True)
    counts = np.zeros((labels.size, rows.shape[0]))
    np.add.at(counts, (member.ravel(), row.ravel()), 1.0)
    effects, random = design.shape[1], loadings.shape[1]
    line = np.arange(-_FARTHEST, _FARTHEST + 1e-9, _STEPS[random])
    places = np.stack([axis.ravel() for axis in np.meshgrid(*[line] * random, indexing="ij")])
    places = places[:, (places**2).sum(axis=0) <= _FARTHEST**2]
    log_weights = -(places**2).sum(axis=0) / 2
    return ClusteredScores(
        rows[:, 0].astype(np.int64),
        rows[:, 1 : 1 + effects],
        rows[:, 1 + effects :],
        counts,
        places,
        log_weights - special.logsumexp(log_weights),
    )


def unpack(parameters: Floats, data: ClusteredScores) -> tuple[Floats, Floats, Floats]:
    """Coefficients, thresholds and deviations from one vector: beta, first threshold, log steps, deviations.

    The likelihood does not know the sign of a deviation, so that zero is an inner point of its range.
    """
    effects, cuts = data.design.shape[1], data.thresholds
    steps = parameters[effects : effects + cuts]
    thresholds = np.cumsum(np.r_[steps[0], np.exp(np.clip(steps[1:], -30.0, 30.0))])
    return parameters[:effects], thresholds, parameters[effects + cuts :]


def negative_log_likelihood(parameters: Floats, data: ClusteredScores) -> tuple[float, Floats]:
    """Minus the integrated log-likelihood, and its gradient in ``parameters``.

    With F logistic, F(a) - F(b) = F(a) F(-b) (1 - exp(b - a)): no cancellation.
    """
    beta, thresholds, deviations = unpack(parameters, data)
    edges = np.r_[-np.inf, thresholds, np.inf]
    upper, lower = edges[data.category + 1], edges[data.category]
    shift = (data.design @ beta)[:, None] + (data.loadings * deviations) @ data.places  # [row, node]
    # exp(-a) and exp(b): what the logarithm and every derivative need, so that there are three slow functions only.
    odds_above = np.exp(np.clip(shift - upper[:, None], -_LARGEST, _LARGEST))
    odds_below = np.exp(np.clip(lower[:, None] - shift, -_LARGEST, _LARGEST))
    log_chance = np.log1p(-np.exp(lower - upper))[:, None] - np.log((1 + odds_above) * (1 + odds_below))
    terms = data.counts @ log_chance + data.log_weights
    highest = terms.max(axis=1, keepdims=True)
    chances = np.exp(terms - highest)
    integral = chances.sum(axis=1, keepdims=True)
    by_cluster = highest + np.log(integral)
    share = data.counts.T @ (chances / integral)  # [row, node], summed over the clusters
    share_above, share_below = share * odds_above / (1 + odds_above), share * odds_below / (1 + odds_below)
    slope = share_below - share_above  # derivative in the linear predictor: F(a) + F(b) - 1 = F(b) - F(-a)
    # Derivatives in a and in b; what comes of 1 - exp(b - a) is the same at every node.
    with np.errstate(over="ignore", divide="ignore"):
        between = share.sum(axis=1) / np.expm1(upper - lower)
    in_upper, in_lower = share_above.sum(axis=1) + between, -share_below.sum(axis=1) - between
    cuts = data.thresholds
    in_cuts = np.bincount(data.category, in_upper, cuts + 1)[:cuts] + np.bincount(data.category, in_lower, cuts + 1)[1:]
    in_steps = in_cuts[::-1].cumsum()[::-1]  # a step moves every threshold above it
    in_steps[1:] *= np.exp(np.clip(parameters[beta.size + 1 : beta.size + cuts], -30.0, 30.0))
    in_deviations = (data.loadings * (slope @ data.places.T)).sum(axis=0)
    return -float(by_cluster.sum()), -np.concatenate([data.design.T @ slope.sum(axis=1), in_steps, in_deviations])
