"""Cumulative-link (proportional odds) models of an ordinal score, with or without a random intercept.

logit P(score <= j) = theta_j - x beta - u, u ~ N(0, sigma^2) for each cluster (McCullagh 1980; Agresti 2010). The
fixed-effects fit is statsmodels' OrderedModel; the mixed fit maximises the likelihood integrated over the random
intercept by adaptive Gauss-Hermite quadrature (Pinheiro and Bates 1995), because statsmodels has none.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats
from statsmodels.miscmodels.ordinal_model import OrderedModel
from statsmodels.tools.numdiff import approx_hess

from recon.errors import ReconError, ReconWarning

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class OrdinalFit:
    """Log odds ratios ``coefficients`` of a HIGHER score, thresholds, and what the fit reached.

    ``random_deviation`` is the standard deviation of the cluster intercepts, 0 in the fixed-effects fit;
    ``standard_errors`` belong to the coefficients (from the observed information).
    """

    names: tuple[str, ...]
    coefficients: Floats
    standard_errors: Floats
    thresholds: Floats
    random_deviation: float
    log_likelihood: float
    observations: int
    clusters: int

    def effect(self, name: str, confidence: float = 0.95) -> dict[str, float]:
        """Odds ratio of one coefficient with its Wald interval and two-sided p value."""
        at = self.names.index(name)
        value, error = float(self.coefficients[at]), float(self.standard_errors[at])
        half = float(stats.norm.ppf(0.5 + confidence / 2)) * error
        return {
            "log_odds_ratio": value,
            "standard_error": error,
            "odds_ratio": float(np.exp(value)),
            "low": float(np.exp(value - half)),
            "high": float(np.exp(value + half)),
            "p_value": float(2 * stats.norm.sf(abs(value / error))) if error > 0 else float("nan"),
        }


def _prepare(scores: npt.ArrayLike, design: npt.ArrayLike, names: tuple[str, ...]) -> tuple[Integers, Floats]:
    """Scores as category numbers 0, 1 ... over the categories that occur, and the design `[observation, effect]`."""
    values, predictors = np.asarray(scores, dtype=np.float64), np.asarray(design, dtype=np.float64)
    if predictors.shape != (values.size, len(names)):
        raise ReconError(
            f"ordinal model: design {predictors.shape} does not fit {values.size} scores, {len(names)} effects"
        )
    if not (np.isfinite(values).all() and np.isfinite(predictors).all()):
        raise ReconError("ordinal model: scores and design must be finite; leave missing scores out")
    levels, category = np.unique(values, return_inverse=True)
    if levels.size < 2:
        raise ReconError("ordinal model: every score is the same, there is nothing to model")
    return category.astype(np.int64).ravel(), predictors


def cumulative_link(scores: npt.ArrayLike, design: npt.ArrayLike, names: tuple[str, ...]) -> OrdinalFit:
    """Proportional odds model without random effects: ``scores`` `[observation]`, ``design`` `[observation, effect]`.

    Raises ReconError for scores without variation, shapes that differ or a fit that does not converge.
    """
    category, predictors = _prepare(scores, design, names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = OrderedModel(category, predictors, distr="logit").fit(method="bfgs", disp=0, maxiter=500, gtol=1e-8)
        errors = np.asarray(found.bse, dtype=np.float64)[: len(names)]
    thresholds = np.asarray(found.model.transform_threshold_params(found.params))[1:-1]
    if not np.isfinite(found.llf):
        raise ReconError("ordinal model: the fit did not converge (an arm may have only one category)")
    return OrdinalFit(
        names,
        np.asarray(found.params)[: len(names)],
        errors,
        thresholds,
        0.0,
        float(found.llf),
        category.size,
        0,
    )


def cumulative_link_mixed(
    scores: npt.ArrayLike, design: npt.ArrayLike, names: tuple[str, ...], cluster: npt.ArrayLike, nodes: int = 10
) -> OrdinalFit:
    """Proportional odds model with a random intercept per ``cluster`` `[observation]` (the case, or the judge).

    ``nodes`` = 1 is the Laplace approximation. Warns (ReconWarning) where the information is not positive definite;
    raises ReconError as ``cumulative_link`` does.
    """
    start = cumulative_link(scores, design, names)
    category, predictors = _prepare(scores, design, names)
    labels, member = np.unique(np.asarray(cluster), return_inverse=True)
    order = np.argsort(member, kind="stable")
    category, predictors, member = category[order], predictors[order], member.ravel()[order]
    first = np.searchsorted(member, np.arange(labels.size))
    effects, cuts = len(names), start.thresholds.size

    def unpack(parameters: Floats) -> tuple[Floats, Floats, float]:
        steps = parameters[effects : effects + cuts]
        thresholds = np.cumsum(np.r_[steps[0], np.exp(np.clip(steps[1:], -30.0, 30.0))])
        return parameters[:effects], thresholds, float(np.exp(np.clip(parameters[-1], -8.0, 5.0)))

    def negative(parameters: Floats) -> float:
        beta, thresholds, deviation = unpack(parameters)
        return -_integrated(category, predictors @ beta, thresholds, deviation, member, first, nodes)

    initial = np.r_[start.coefficients, start.thresholds[0], np.log(np.maximum(np.diff(start.thresholds), 1e-6)), 0.0]
    found = optimize.minimize(negative, initial, method="BFGS", options={"gtol": 1e-4, "maxiter": 200})
    beta, thresholds, deviation = unpack(found.x)
    information = approx_hess(found.x, negative)
    errors = np.full(effects, np.nan)
    # A variance at its lower bound has no curvature: the other parameters keep theirs.
    keep = slice(None) if deviation > 1e-2 else slice(0, effects + cuts)
    try:
        diagonal = np.diag(np.linalg.inv(information[keep, keep]))[:effects]
        errors = np.sqrt(np.where(diagonal > 0, diagonal, np.nan))
    except np.linalg.LinAlgError:
        pass
    if not np.isfinite(errors).all():
        warnings.warn("ordinal mixed model: standard errors could not be computed", ReconWarning, stacklevel=2)
    return OrdinalFit(names, beta, errors, thresholds, deviation, -float(found.fun), category.size, int(labels.size))


def _integrated(
    category: Integers,
    linear: Floats,
    thresholds: Floats,
    deviation: float,
    member: Integers,
    first: Integers,
    nodes: int,
) -> float:
    """Log-likelihood integrated over a standard normal random intercept of each cluster, nodes around its mode."""
    bounds = np.r_[-np.inf, thresholds, np.inf]
    upper, lower = bounds[category + 1] - linear, bounds[category] - linear

    gap = np.log1p(-np.exp(lower - upper))

    def pieces(standard: Floats) -> tuple[Floats, Floats, Floats]:
        """Log probability and its first two derivatives in the linear predictor, at intercepts `[observation]`.

        With F logistic, F(a) - F(b) = F(a) F(-b) (1 - exp(b - a)): no cancellation, and the derivatives
        F(a) + F(b) - 1 and -f(a) - f(b) keep the logarithm concave in floating point too.
        """
        above, below = upper - deviation * standard, lower - deviation * standard
        share_above, share_below = special.expit(above), special.expit(below)
        log_chance = special.log_expit(above) + special.log_expit(-below) + gap
        bend = -share_above * special.expit(-above) - share_below * special.expit(-below)
        return log_chance, share_above + share_below - 1, bend

    mode = np.zeros(first.size)
    curvature = np.ones(first.size)
    for _ in range(30):
        _, slope, bend = pieces(mode[member])
        gradient = deviation * np.add.reduceat(slope, first) - mode
        curvature = 1 - deviation**2 * np.add.reduceat(bend, first)
        step = np.clip(gradient / curvature, -4.0, 4.0)
        mode = mode + step
        if np.abs(step).max() < 1e-10:
            break
    points, weights = np.polynomial.hermite.hermgauss(nodes)
    scale = np.sqrt(2 / curvature)
    terms = []
    for point, weight in zip(points, weights, strict=True):
        standard = mode + scale * point
        log_chance = np.add.reduceat(pieces(standard[member])[0], first)
        terms.append(log_chance - standard**2 / 2 + point**2 + np.log(weight))
    total = special.logsumexp(np.stack(terms), axis=0) + np.log(scale) - 0.5 * np.log(2 * np.pi)
    return float(total.sum())
