"""The maximum of a cumulative-link model's likelihood, and the profile of the likelihood around it.

BFGS on a coarse grid of the random effects finds the place, Newton's steps on the fine one its very top.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize

from reader_study.statistics.ordinal_likelihood import ClusteredScores, information, negative_log_likelihood
from recon.errors import ReconError

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
_FARTHEST = 25.0  # log odds: nothing but separated scores leads there
_SUMMIT = 1e-8  # log-likelihood units that one more Newton step may promise at the maximum
_NEWTON, _QUICK, _HALVINGS = 15, 4, 6  # steps, two or three are usual; of these coarse; of one that leads nowhere
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

    def signed_root(self, at: int, value: float, start: Floats | None = None) -> tuple[float, Floats]:
        """Signed root of the likelihood ratio of parameter ``at`` being ``value``, and the maximum under it.

        ``start`` is a maximum nearby. Raises ReconError where that of the others is not reached.
        """
        start = self.parameters if start is None else start
        start = start + self.covariance[:, at] / self.covariance[at, at] * (value - start[at])
        reached = _top(self.data, start, np.arange(start.size) != at)
        lost = negative_log_likelihood(reached, self.data)[0] + self.log_likelihood
        return float(np.sign(value - self.parameters[at]) * np.sqrt(2 * max(lost, 0.0))), reached

    def crossing(self, at: int, root: float, error: float) -> float:
        """Value of parameter ``at`` whose signed root is ``root``; infinite where there is none."""
        known, known_root, start = float(self.parameters[at]), 0.0, self.parameters
        value = known + root * error
        for _ in range(_SECANTS):
            if abs(value) > _FARTHEST:
                return float(np.copysign(np.inf, root))
            try:
                found, start = self.signed_root(at, value, start)
            except ReconError:  # so flat out there that the others run away
                return float(np.copysign(np.inf, root))
            slope = (found - known_root) / (value - known)
            if not slope > 0:
                return float(np.copysign(np.inf, root))
            known, known_root, value = value, found, value + float(np.clip((root - found) / slope, -5.0, 5.0))
            if abs(value - known) < _ROOT * error:
                return value
        return float(np.copysign(np.inf, root))


def climb(data: ClusteredScores, start: Floats) -> Summit:
    """The maximum from ``start``. Raises ReconError where none is reached or the information is not positive there."""
    free = np.ones(start.size, dtype=bool)
    for _ in range(2):
        reached = _top(data, _near(data, start, free), free)
        bend = information(reached, data)
        if np.linalg.eigvalsh(bend)[0] > 1e-8:
            return Summit(
                data, reached, np.asarray(np.linalg.inv(bend), np.float64), -negative_log_likelihood(reached, data)[0]
            )
        start = reached + 1e-3  # off a saddle
    raise ReconError(_NOT_REACHED)


def _top(data: ClusteredScores, parameters: Floats, free: Booleans) -> Floats:
    """The maximum in the ``free`` parameters. Raises ReconError where it is not reached."""
    for _ in range(3):
        reached, there = _newton(data, parameters, free)
        if there:
            return reached
        parameters = _near(data, reached + 1e-3 * free, free)
    raise ReconError(_NOT_REACHED)


def _near(data: ClusteredScores, parameters: Floats, free: Booleans) -> Floats:
    """Where BFGS comes on the coarse grid."""
    coarse, whole = data.coarse(), parameters.copy()

    def value(moved: Floats) -> tuple[float, Floats]:
        whole[free] = moved
        found, gradient = negative_log_likelihood(whole, coarse)
        return found, gradient[free]

    whole[free] = optimize.minimize(value, parameters[free], method="BFGS", jac=True, callback=_stop_far_out).x
    return whole


def _newton(data: ClusteredScores, parameters: Floats, free: Booleans) -> tuple[Floats, bool]:
    """Newton's steps until the next one promises nothing; and did they come to that?

    Value and gradient are those of the fine grid, so that its top is reached; the curvature of the first steps is the
    coarse one's, which suffices unless deviations are large. Raises ReconError far out.
    """
    coarse = data.coarse()
    value, gradient = negative_log_likelihood(parameters, data)
    for number in range(_NEWTON):
        if np.abs(parameters).max() > _FARTHEST:
            raise ReconError("ordinal mixed model: the scores are separated, the likelihood has no maximum")
        bends, axes = np.linalg.eigh(information(parameters, coarse if number < _QUICK else data)[np.ix_(free, free)])
        # Where the function is not convex: downhill along the axes, never towards a saddle.
        step = np.zeros(parameters.size)
        step[free] = -axes @ ((axes.T @ gradient[free]) / np.maximum(np.abs(bends), 1e-3))
        promised = -float(gradient @ step)
        if promised / 2 < _SUMMIT:
            return parameters, True
        for _ in range(_HALVINGS):
            lower, there = negative_log_likelihood(parameters + step, data)
            if lower < value - 1e-4 * promised:
                break
            step, promised = step / 2, promised / 2
        else:
            break
        parameters, value, gradient = parameters + step, lower, there
    return parameters, False


def _stop_far_out(intermediate_result: optimize.OptimizeResult) -> None:
    if np.abs(intermediate_result.x).max() > _FARTHEST:
        raise StopIteration
