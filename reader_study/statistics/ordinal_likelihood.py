"""The likelihood of a cumulative-link model integrated over independent normal effects of each cluster.

logit P(score <= j) = theta_j - x beta - sum_k sigma_k w_k z_k, z ~ N(0, 1). The integral over a cluster's z is a
Gauss-Hermite rule around its mode (Pinheiro and Bates 1995). With the nodes held where they are, value and gradient
belong to one smooth function, so that an optimiser can go to its very top.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClusteredScores:
    """Observations sorted by cluster: ``category`` `[observation]` from 0, the fixed ``design`` `[observation, effect]`,
    the ``loadings`` `[observation, random effect]`, each one's cluster, and the clusters' ``first`` observations."""

    category: Integers
    design: Floats
    loadings: Floats
    member: Integers
    first: Integers

    @property
    def thresholds(self) -> int:
        """Number of thresholds: categories less one."""
        return int(self.category.max())


@dataclass(frozen=True)
class Nodes:
    """Where the integrand is evaluated: ``places`` `[node, cluster, random effect]`, ``log_weights`` `[node, cluster]`."""

    places: Floats
    log_weights: Floats


def unpack(parameters: Floats, data: ClusteredScores) -> tuple[Floats, Floats, Floats]:
    """Coefficients, thresholds and deviations from one vector: beta, first threshold, log steps, deviations.

    The likelihood does not know the sign of a deviation, so that zero is an inner point of its range.
    """
    effects, cuts = data.design.shape[1], data.thresholds
    steps = parameters[effects : effects + cuts]
    thresholds = np.cumsum(np.r_[steps[0], np.exp(np.clip(steps[1:], -30.0, 30.0))])
    return parameters[:effects], thresholds, parameters[effects + cuts :]


@dataclass(frozen=True)
class _Bounds:
    """Each observation's upper and lower threshold less its fixed effects, and log(1 - exp(lower - upper))."""

    upper: Floats
    lower: Floats
    gap: Floats


def _bounds(data: ClusteredScores, beta: Floats, thresholds: Floats) -> _Bounds:
    edges, linear = np.r_[-np.inf, thresholds, np.inf], data.design @ beta
    upper, lower = edges[data.category + 1], edges[data.category]
    return _Bounds(upper - linear, lower - linear, np.log1p(-np.exp(lower - upper)))


def _chance(bounds: _Bounds, shift: Floats) -> tuple[Floats, Floats, Floats]:
    """Log probability, F(upper) and F(lower) at a shift `[..., observation]` of the linear predictor.

    F(a) - F(b) = F(a) F(-b) (1 - exp(b - a)) for the logistic F: no cancellation.
    """
    above, below = bounds.upper - shift, bounds.lower - shift
    log_chance = special.log_expit(above) + special.log_expit(-below) + bounds.gap
    return log_chance, special.expit(above), special.expit(below)


def place_nodes(parameters: Floats, data: ClusteredScores, nodes: int) -> Nodes:
    """``nodes`` Gauss-Hermite points along each random effect, around every cluster's mode and scaled by its curvature.

    Newton's method finds the modes: the integrand is log-concave.
    """
    beta, thresholds, deviations = unpack(parameters, data)
    bounds, loadings = _bounds(data, beta, thresholds), data.loadings * deviations
    clusters, effects = data.first.size, loadings.shape[1]
    mode = np.zeros((clusters, effects))
    curvature = np.broadcast_to(np.eye(effects), (clusters, effects, effects))
    for _ in range(60):
        _, above, below = _chance(bounds, (loadings * mode[data.member]).sum(axis=1))
        slope = np.add.reduceat(loadings * (above + below - 1)[:, None], data.first)
        bend = above * (1 - above) + below * (1 - below)
        outer = loadings[:, :, None] * loadings[:, None, :] * bend[:, None, None]
        curvature = np.eye(effects) + np.add.reduceat(outer, data.first)
        step = np.linalg.solve(curvature, (slope - mode)[..., None])[..., 0]
        mode = mode + np.clip(step, -4.0, 4.0)
        if np.abs(step).max() < 1e-10:
            break
    points, weights = np.polynomial.hermite.hermgauss(nodes)
    grid = np.array(list(product(points, repeat=effects)))
    log_weights = np.log(np.array(list(product(weights, repeat=effects)))).sum(axis=1) + (grid**2).sum(axis=1)
    root = np.linalg.inv(np.linalg.cholesky(curvature))  # H = L L', and L^-T points have covariance H^-1
    places = mode + np.sqrt(2) * np.einsum("cji,nj->nci", root, grid)
    volume = np.log(np.abs(np.linalg.det(root))) + effects / 2 * np.log(2)
    prior = -(places**2).sum(axis=2) / 2 - effects / 2 * np.log(2 * np.pi)
    return Nodes(places, log_weights[:, None] + volume + prior)


def negative_log_likelihood(parameters: Floats, data: ClusteredScores, nodes: Nodes) -> tuple[float, Floats]:
    """Minus the integrated log-likelihood, and its gradient in ``parameters``, at fixed nodes."""
    beta, thresholds, deviations = unpack(parameters, data)
    bounds = _bounds(data, beta, thresholds)
    at = nodes.places[:, data.member]  # [node, observation, random effect]
    log_chance, above, below = _chance(bounds, (data.loadings * deviations * at).sum(axis=2))
    terms = np.add.reduceat(log_chance, data.first, axis=1) + nodes.log_weights
    by_cluster = special.logsumexp(terms, axis=0)
    share = np.exp(terms - by_cluster)[:, data.member]  # posterior weight of each node
    slope = share * (above + below - 1)
    # Derivatives of log[F(a) - F(b)] in a and in b; the gap's part is the same at every node.
    with np.errstate(over="ignore", divide="ignore"):
        between = 1 / np.expm1(bounds.upper - bounds.lower)
    in_upper = (share * (1 - above)).sum(axis=0) + between
    in_lower = -(share * below).sum(axis=0) - between
    cuts = data.thresholds
    in_cuts = np.bincount(data.category, in_upper, cuts + 1)[:cuts] + np.bincount(data.category, in_lower, cuts + 1)[1:]
    steps = np.exp(np.clip(parameters[beta.size + 1 : beta.size + cuts], -30.0, 30.0))
    in_steps = in_cuts[::-1].cumsum()[::-1]  # a step moves every threshold above it
    in_steps[1:] *= steps
    in_beta = data.design.T @ slope.sum(axis=0)
    in_deviations = np.einsum("no,nok,ok->k", slope, at, data.loadings)
    return -float(by_cluster.sum()), -np.concatenate([in_beta, in_steps, in_deviations])
