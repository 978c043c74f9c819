"""The maximum of a cumulative-link model's likelihood, and the profile of the likelihood around it.

BFGS finds the place on a coarse grid of the random effects, and from there, in coordinates in which the likelihood is
about as steep in every direction, the top on the fine one.
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize

from reader_study.arrays import Floats
from reader_study.statistics.ordinal_likelihood import ClusteredScores, information, negative_log_likelihood
from recon.errors import ReconError

_FARTHEST = 25.0  # log odds: nothing but separated scores leads there
_LEVEL = 1e-4  # gradient at the top, in standard errors: half its square, 1e-8 log-likelihood units, is what is left
_ROOT = 1e-4  # of a standard error: how near an end of a profile interval is found
_SECANTS = 12
_NOT_REACHED = "ordinal mixed model: the maximum of the likelihood was not reached; no odds ratio is given"


@dataclass(frozen=True)
class Summit:
    """The maximum: ``parameters`` as ``ordinal_likelihood.unpack`` takes them, their ``covariance``."""

    data: ClusteredScores
    parameters: Floats
    covariance: Floats
    log_likelihood: float

    def signed_root(self, at: int, value: float) -> float:
        """Signed root of the likelihood ratio of parameter ``at`` being ``value``.

        Raises ReconError where the maximum of the other parameters is not reached.
        """
        along = self.covariance[:, at] / self.covariance[at, at]
        away = value - self.parameters[at]
        spread, axes = np.linalg.eigh(self.covariance - np.outer(along, self.covariance[at]))
        others = (axes * np.sqrt(np.maximum(spread, 0.0)))[:, 1:]
        # Not from the place itself: where a deviation is 0 its gradient is 0 too, be there a maximum or a saddle.
        start = self.parameters + along * away + 0.1 * others.sum(axis=1)
        lost = float(_climbed(self.data, start, others).fun) + self.log_likelihood
        return float(np.sign(away) * np.sqrt(2 * max(lost, 0.0)))

    def crossing(self, at: int, root: float, error: float) -> float:
        """Value of parameter ``at`` whose signed root is ``root``; infinite where there is none."""

        def excess(value: float) -> float:
            return self.signed_root(at, value) - root

        start, step = float(self.parameters[at]), root * error
        try:
            found = optimize.root_scalar(excess, x0=start, x1=start + step, xtol=_ROOT * error, maxiter=_SECANTS)
        except ReconError:  # so flat out there that the others run away
            return float(np.copysign(np.inf, root))
        return float(found.root) if found.converged else float(np.copysign(np.inf, root))


def climb(data: ClusteredScores, start: Floats) -> Summit:
    """The maximum from ``start``. Raises ReconError where none is reached or the information is not positive there."""
    for _ in range(2):
        near = _climbed(data.coarse(), start, np.eye(start.size), to_the_top=False)
        top = _climbed(data, near.x, np.linalg.cholesky(near.hess_inv))
        bend = information(top.x, data)
        if np.linalg.eigvalsh(bend)[0] > 1e-8:
            return Summit(data, top.x, np.asarray(np.linalg.inv(bend), np.float64), -float(top.fun))
        start = top.x + 1e-3  # off a saddle
    raise ReconError(_NOT_REACHED)


def _climbed(data: ClusteredScores, start: Floats, axes: Floats, *, to_the_top: bool = True) -> optimize.OptimizeResult:
    """Where BFGS comes from ``start`` along ``axes`` `[parameter, direction]`: parameters ``x``, ``jac`` along these.

    Raises ReconError far out, and where it does not come ``to_the_top``.
    """

    def value(moved: Floats) -> tuple[float, Floats]:
        found, gradient = negative_log_likelihood(start + axes @ moved, data)
        return found, gradient @ axes

    def refuse_far_out(intermediate_result: optimize.OptimizeResult) -> None:
        if np.abs(start + axes @ intermediate_result.x).max() > _FARTHEST:
            raise ReconError("ordinal mixed model: the scores are separated, the likelihood has no maximum")

    still = np.zeros(axes.shape[1])
    options = {"gtol": _LEVEL / 100}
    found = optimize.minimize(value, still, method="BFGS", jac=True, callback=refuse_far_out, options=options)
    if to_the_top and not np.abs(found.jac).max() < _LEVEL:
        raise ReconError(_NOT_REACHED)
    found.x = start + axes @ found.x
    return found
