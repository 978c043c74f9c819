"""By how much the noise of each phase-encoding line is exceeded by what no image explains.

That is more than noise where coil maps are imperfect or the patient moved, and it is so mostly in the strong central
lines.
"""

import torch
from torch import Tensor

from recon.acquisition.problem import Problem
from recon.posterior.least_squares import LeastSquares

LEAST_DOF = 50  # degrees of residual_dof that a line must keep to tell anything


def line_noise(problem: Problem, fit: LeastSquares) -> Tensor:
    """Factor ``[slice, phase]`` by which the noise of each line is exceeded, at least one.

    The ratio of a line's residual_energy to what noise leaves over in it is the square of the factor; one where a line
    has too few degrees of residual_dof to tell.
    """
    ratio = fit.residual_energy / (2 * fit.residual_dof * (problem.sigma**2).unsqueeze(-1)).clamp_min(1e-30)
    return torch.where(fit.residual_dof > LEAST_DOF, ratio, torch.ones_like(ratio)).clamp_min(1.0).sqrt()
