"""Cumulative-link (proportional odds) models of an ordinal score, with or without random effects.

logit P(score <= j) = theta_j - x beta - u, u normal for each cluster (McCullagh 1980; Agresti 2010). The fixed-effects
fit is statsmodels' OrderedModel; the mixed fit maximises the integrated likelihood of ``ordinal_likelihood``, because
statsmodels has none.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats
from statsmodels.miscmodels.ordinal_model import OrderedModel

from reader_study.statistics.ordinal_likelihood import ClusteredScores, negative_log_likelihood, place_nodes, unpack
from recon.errors import ReconError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
_ROUNDS = 60  # of placing the nodes and climbing
_FARTHEST = 40.0  # log odds: nothing but separated scores leads there
_SUMMIT = 1e-6  # log-likelihood units that one more Newton step may promise at the maximum


@dataclass(frozen=True)
class OrdinalFit:
    """Log odds ratios ``coefficients`` of a HIGHER score, thresholds, and what the fit reached.

    ``random_deviation`` is the standard deviation of the cluster intercepts, ``slope_deviation`` that of the clusters'
    slopes, 0 where there are none; ``standard_errors`` belong to the coefficients (from the observed information).
    """

    names: tuple[str, ...]
    coefficients: Floats
    standard_errors: Floats
    thresholds: Floats
    random_deviation: float
    slope_deviation: float
    log_likelihood: float
    observations: int
    clusters: int

    def effect(self, name: str, confidence: float = 0.95) -> dict[str, float]:
        """Odds ratio of one coefficient with its Wald interval and two-sided p value.

        Of a mixed model by Student's t with one degree of freedom less than there are clusters: a deviation estimated
        from thirty clusters is not known.
        """
        reference = stats.t(self.clusters - 1) if self.clusters > 1 else stats.norm()
        at = self.names.index(name)
        value, error = float(self.coefficients[at]), float(self.standard_errors[at])
        half = float(reference.ppf(0.5 + confidence / 2)) * error
        return {
            "log_odds_ratio": value,
            "standard_error": error,
            "odds_ratio": float(np.exp(value)),
            "low": float(np.exp(value - half)),
            "high": float(np.exp(value + half)),
            "p_value": float(2 * reference.sf(abs(value / error))) if error > 0 else float("nan"),
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
        0.0,
        float(found.llf),
        category.size,
        0,
    )


def cumulative_link_mixed(
    scores: npt.ArrayLike,
    design: npt.ArrayLike,
    names: tuple[str, ...],
    cluster: npt.ArrayLike,
    slope: npt.ArrayLike | None = None,
    nodes: int = 10,
) -> OrdinalFit:
    """Proportional odds model with a random intercept per ``cluster`` `[observation]` (the case, or the judge).

    ``slope`` `[observation]`, centred, adds an independent random slope of each cluster along it. ``nodes`` along each
    random effect; 1 is the Laplace approximation. Raises ReconError as ``cumulative_link`` does, and where the maximum
    was not reached: there the gradient vanishes and the information is positive definite.
    """
    start = cumulative_link(scores, design, names)
    category, predictors = _prepare(scores, design, names)
    labels, member = np.unique(np.asarray(cluster), return_inverse=True)
    order = np.argsort(member.ravel(), kind="stable")
    loadings = np.ones((category.size, 1)) if slope is None else np.column_stack([np.ones(category.size), slope])
    member = member.ravel()[order].astype(np.int64)
    first = np.searchsorted(member, np.arange(labels.size))
    data = ClusteredScores(category[order], predictors[order], loadings[order].astype(np.float64), member, first)
    steps = np.log(np.maximum(np.diff(start.thresholds), 1e-6))
    fixed = np.r_[start.coefficients, start.thresholds[:1], steps]
    if not np.isfinite(fixed).all():
        raise ReconError("ordinal mixed model: the scores are separated, the likelihood has no maximum")
    reached = _climb(np.r_[fixed, np.full(loadings.shape[1], 0.8)], data, nodes)
    information, promised = _summit(reached, data, nodes)
    if not promised < _SUMMIT:
        raise ReconError("ordinal mixed model: the maximum of the likelihood was not reached; no odds ratio is given")
    errors = np.sqrt(np.diag(np.linalg.inv(information))[: len(names)])
    beta, thresholds, deviations = unpack(reached, data)
    value, _ = negative_log_likelihood(reached, data, place_nodes(reached, data, nodes))
    both = np.abs(np.r_[deviations, 0.0])
    return OrdinalFit(
        names, beta, errors, thresholds, float(both[0]), float(both[1]), -value, category.size, int(labels.size)
    )


def _climb(parameters: Floats, data: ClusteredScores, nodes: int) -> Floats:
    """Place the nodes, climb on the smooth function that they define, place them again; until nothing moves.

    A climb that the fresh nodes do not confirm is halved until they do: far from where they were placed nodes mislead.
    """
    held = place_nodes(parameters, data, nodes)
    value, _ = negative_log_likelihood(parameters, data, held)
    inverse = np.eye(parameters.size)
    for _ in range(_ROUNDS):
        options = {"gtol": 1e-6, "maxiter": 15, "hess_inv0": inverse}
        found = optimize.minimize(
            negative_log_likelihood, parameters, (data, held), method="BFGS", jac=True, options=options
        )
        step = found.x - parameters
        for _ in range(20):
            fresh = place_nodes(parameters + step, data, nodes)
            reached, slope = negative_log_likelihood(parameters + step, data, fresh)
            if reached <= value + 1e-4:
                break
            step = step / 2
        parameters, value, gradient, held = parameters + step, reached, slope, fresh
        if np.abs(parameters).max() > _FARTHEST:
            raise ReconError("ordinal mixed model: the scores are separated, the likelihood has no maximum")
        inverse = (found.hess_inv + found.hess_inv.T) / 2
        if np.linalg.eigvalsh(inverse)[0] <= 0:
            inverse = np.eye(parameters.size)
        if np.abs(step).max() < 1e-6 or np.abs(gradient).max() < 1e-5:
            break
    return parameters


def _summit(parameters: Floats, data: ClusteredScores, nodes: int) -> tuple[Floats, float]:
    """The observed information, and how much log-likelihood Newton's next step promises; infinite off a maximum."""
    held = place_nodes(parameters, data, nodes)
    _, gradient = negative_log_likelihood(parameters, data, held)
    rows = []
    for index in range(parameters.size):
        shift = np.zeros(parameters.size)
        shift[index] = 1e-4
        (_, after), (_, before) = (negative_log_likelihood(parameters + sign * shift, data, held) for sign in (1, -1))
        rows.append((after - before) / 2e-4)
    information = (np.array(rows) + np.array(rows).T) / 2
    if not np.isfinite(information).all() or np.linalg.eigvalsh(information)[0] <= 1e-8:
        return information, float("inf")
    return information, float(gradient @ np.linalg.solve(information, gradient)) / 2
