"""The cumulative-link (proportional odds) model of an ordinal score with random effects of each cluster.

logit P(score <= j) = theta_j - x beta - u, u normal for each cluster (McCullagh 1980; Agresti 2010). The fit maximises
the integrated likelihood of ``ordinal_likelihood``; statsmodels has none with random effects.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

from reader_study.statistics.ordinal_likelihood import ClusteredScores, clustered, negative_log_likelihood, unpack
from recon.errors import ReconError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
_FARTHEST = 25.0  # log odds: nothing but separated scores leads there
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
        """Odds ratio of one coefficient with its Wald interval and two-sided p value, from the normal distribution.

        Student's t with clusters - 1 degrees of freedom would claim too little: 3.7 % instead of 5 % of 2000 studies.
        """
        reference = stats.norm()
        at = self.names.index(name)
        value, error = float(self.coefficients[at]), float(self.standard_errors[at])
        half = float(reference.ppf(0.5 + confidence / 2)) * error
        with np.errstate(over="ignore"):  # where nearly nothing is known, infinity is the right end
            ratio, low, high = np.exp([value, value - half, value + half]).tolist()
        return {
            "log_odds_ratio": value,
            "standard_error": error,
            "odds_ratio": ratio,
            "low": low,
            "high": high,
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


def cumulative_link_mixed(
    scores: npt.ArrayLike,
    design: npt.ArrayLike,
    names: tuple[str, ...],
    cluster: npt.ArrayLike,
    slope: npt.ArrayLike | None = None,
) -> OrdinalFit:
    """Proportional odds model with a random intercept per ``cluster`` `[observation]` (the case, or the judge).

    ``design`` `[observation, effect]`, ``names`` of its effects; ``slope`` `[observation]`, centred, adds an
    independent random slope of each cluster along it. Raises ReconError for scores without variation, shapes that
    differ, and where the maximum was not reached: there the gradient vanishes and the information is positive definite.
    """
    category, predictors = _prepare(scores, design, names)
    loadings = np.ones((category.size, 1)) if slope is None else np.column_stack([np.ones(category.size), slope])
    data = clustered(category, predictors, loadings.astype(np.float64), cluster)
    # From no effect at all: the thresholds of the scores' own shares.
    thresholds = special.logit(np.bincount(category).cumsum()[:-1] / category.size)
    fixed = np.r_[np.zeros(len(names)), thresholds[:1], np.log(np.diff(thresholds))]
    reached, information = _climb(np.r_[fixed, np.full(loadings.shape[1], 0.8)], data)
    errors = np.sqrt(np.diag(np.linalg.inv(information))[: len(names)])
    beta, thresholds, deviations = unpack(reached, data)
    value, _ = negative_log_likelihood(reached, data)
    both, clusters = np.abs(np.r_[deviations, 0.0]), data.counts.shape[0]
    return OrdinalFit(
        names, beta, errors, thresholds, float(both[0]), float(both[1]), -value, category.size, int(clusters)
    )


def _climb(parameters: Floats, data: ClusteredScores) -> tuple[Floats, Floats]:
    """The maximum and the observed information there: BFGS, then Newton's steps until the next one promises nothing.

    Raises ReconError where no maximum is reached.
    """
    for _ in range(2):
        parameters = optimize.minimize(
            negative_log_likelihood, parameters, (data,), method="BFGS", jac=True, callback=_stop_far_out
        ).x
        for _ in range(4):
            if np.abs(parameters).max() > _FARTHEST:
                raise ReconError("ordinal mixed model: the scores are separated, the likelihood has no maximum")
            value, gradient = negative_log_likelihood(parameters, data)
            information = _information(parameters, data)
            bends, axes = np.linalg.eigh(information)
            # Where the function is not convex: downhill along the axes, never towards a saddle.
            step = -axes @ ((axes.T @ gradient) / np.maximum(np.abs(bends), 1e-3))
            if bends[0] > 1e-8 and -float(gradient @ step) / 2 < _SUMMIT:
                return parameters, information
            if not negative_log_likelihood(parameters + step, data)[0] < value:
                break
            parameters = parameters + step
        parameters = parameters + 1e-3  # off a saddle
    raise ReconError("ordinal mixed model: the maximum of the likelihood was not reached; no odds ratio is given")


def _stop_far_out(intermediate_result: optimize.OptimizeResult) -> None:
    if np.abs(intermediate_result.x).max() > _FARTHEST:
        raise StopIteration


def _information(parameters: Floats, data: ClusteredScores) -> Floats:
    """Second derivatives of minus the log-likelihood, by central differences of its gradient."""
    rows = []
    for shift in np.eye(parameters.size) * 1e-4:
        (_, after), (_, before) = (negative_log_likelihood(parameters + moved, data) for moved in (shift, -shift))
        rows.append((after - before) / 2e-4)
    return np.asarray((np.array(rows) + np.array(rows).T) / 2)
