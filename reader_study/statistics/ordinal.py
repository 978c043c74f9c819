"""The cumulative-link (proportional odds) model of an ordinal score with random effects of each cluster.

logit P(score <= j) = theta_j - x beta - u, u normal for each cluster (McCullagh 1980; Agresti 2010). The fit maximises
the integrated likelihood of ``ordinal_likelihood``; statsmodels has none with random effects.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from reader_study.arrays import Floats
from reader_study.statistics.hypothesis_test import CONFIDENCE
from reader_study.statistics.ordinal_likelihood import clustered, unpack
from reader_study.statistics.ordinal_maximum import Summit, climb
from recon.errors import ReconError


@dataclass(frozen=True)
class OrdinalFit:
    """Log odds ratios ``coefficients`` of a HIGHER score, thresholds, and what the fit reached.

    ``deviations`` are the standard deviations of the cluster intercepts and, where there are any, of the clusters'
    slopes; ``standard_errors`` belong to the coefficients (from the observed information).
    """

    names: tuple[str, ...]
    coefficients: Floats
    standard_errors: Floats
    thresholds: Floats
    deviations: Floats
    summit: Summit

    def effect(self, name: str) -> dict[str, float]:
        """Odds ratio of one coefficient by the likelihood ratio: profile interval and two-sided p value.

        An end that no odds ratio reaches is 0 or infinite. Wald's z claims too often where cases are few, because the
        deviations are estimated; Student's t with clusters - 1 degrees of freedom claims too little. Raises ReconError
        where the maximum without the effect is not reached.
        """
        at = self.names.index(name)
        value, error = float(self.coefficients[at]), float(self.standard_errors[at])
        critical = float(stats.norm.ppf(0.5 + CONFIDENCE / 2))
        low, high = (self.summit.crossing(at, sign * critical, error) for sign in (-1, 1))
        with np.errstate(over="ignore"):
            ratio, low, high = np.exp([value, low, high]).tolist()
        return {
            "log_odds_ratio": value,
            "standard_error": error,
            "odds_ratio": ratio,
            "low": low,
            "high": high,
            "p_value": self.p_value(name),
        }

    def p_value(self, name: str, log_odds_ratio: float = 0.0) -> float:
        """Two-sided p value of the likelihood ratio test of one coefficient. Raises ReconError as ``effect`` does."""
        return float(2 * stats.norm.sf(abs(self.summit.signed_root(self.names.index(name), log_odds_ratio))))


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
    values, predictors = np.asarray(scores, dtype=np.float64), np.asarray(design, dtype=np.float64)
    if predictors.shape != (values.size, len(names)):
        raise ReconError(
            f"ordinal model: design {predictors.shape} does not fit {values.size} scores, {len(names)} effects"
        )
    if not (np.isfinite(values).all() and np.isfinite(predictors).all()):
        raise ReconError("ordinal model: scores and design must be finite; leave missing scores out")
    levels, category = np.unique(values.ravel(), return_inverse=True)
    if levels.size < 2:
        raise ReconError("ordinal model: every score is the same, there is nothing to model")
    random = np.stack([np.ones(category.size)] if slope is None else [np.ones(category.size), slope], axis=1)
    data = clustered(category, predictors, random, cluster)
    # From no effect at all: the thresholds of the scores' own shares.
    thresholds = special.logit(np.bincount(category).cumsum()[:-1] / category.size)
    start = (np.zeros(len(names)), thresholds[:1], np.log(np.diff(thresholds)), np.full(random.shape[1], 0.8))
    summit = climb(data, np.concatenate(start))
    beta, thresholds, deviations = unpack(summit.parameters, data)
    errors = np.sqrt(np.diag(summit.covariance)[: len(names)])
    return OrdinalFit(names, beta, errors, thresholds, np.abs(deviations), summit)
