"""By how much the noise of each phase-encoding line is exceeded by what no image explains.

That is more than noise where coil maps are imperfect or the patient moved, and it is so mostly in the strong central
lines.
"""

import torch
from torch import Tensor

from recon.acquisition.problem import Problem
from recon.posterior.least_squares import LeastSquares

FREEDOM = 50  # degrees of freedom that a line must keep to tell anything


def line_noise(problem: Problem, fit: LeastSquares) -> Tensor:
    """Factor ``[slice, phase]`` by which the noise of each line is exceeded, at least one.

    The ratio of a line's misfit to what noise leaves over in it is the square of the factor; one where a line has too
    few degrees of freedom to tell.
    """
    ratio = fit.misfit / (2 * fit.freedom * (problem.sigma**2).unsqueeze(-1)).clamp_min(1e-30)
    return torch.where(fit.freedom > FREEDOM, ratio, torch.ones_like(ratio)).clamp_min(1.0).sqrt()
