"""Raising the noise to what the model of coils and noise leaves unexplained.

With imperfect coil maps or motion no image fits the data to the noise level. A sampler that is told the scanner's noise
then fits the model's error as if it were anatomy. The least-squares image tells how much is left over, before any prior
is asked: line by line for 1-D masks, since coil maps err where the signal is strong, else over the whole slice.
"""

import torch
from torch import Tensor

from recon.acquisition.problem import Problem
from recon.posterior.hybrid_space import hybrid_space_solver
from recon.posterior.iterative import iterative_system
from recon.posterior.least_squares import LeastSquares, least_squares
from recon.posterior.line_noise import line_noise
from recon.posterior.system import System

LINE_NOISE_THRESHOLD = 1.2  # below this factor the lines are alike and one level serves, as the scanner's noise is one


def system_of(problem: Problem) -> System:
    """The exact row solver for a mask ``[phase]``, conjugate gradients for ``[readout, phase]``."""
    return hybrid_space_solver(problem) if problem.mask.dim() == 1 else iterative_system(problem)


def noise_inflated_system(problem: Problem, fit: LeastSquares | None = None) -> tuple[System, Tensor]:
    """The system of a problem with its noise raised, and the factor ``[slice]`` by which it was (root mean square over
    the acquired lines, at least one). What is done for a slice depends on that slice alone. ``fit`` is the problem's
    least-squares image, if it is known already."""
    raised = torch.ones_like(problem.sigma)
    system: System
    if problem.mask.dim() == 1:
        lines = line_noise(problem, fit or least_squares(problem))
        lines = torch.where((lines.amax(-1) > LINE_NOISE_THRESHOLD).unsqueeze(-1), lines, torch.ones_like(lines))
        raised = (lines[:, problem.mask] ** 2).mean(-1).sqrt()
        # Lines that all lie far above the noise raise it as a whole: as weights alone they would push the eigenvalues
        # of A^H A below what counts as measured. A power of four leaves every rounding as it is.
        level = 4.0 ** (lines[:, problem.mask].amin(-1).log2() / 2).floor()
        system = hybrid_space_solver(problem, lines / level.unsqueeze(-1)).with_sigma(problem.sigma * level)
    else:
        system = iterative_system(problem)
    inflation = noise_inflation(system)
    return system.with_sigma(system.sigma * inflation), raised * inflation


def noise_inflation(system: System) -> Tensor:
    """Factor ``[slice]`` by which the noise must be raised for the data to be explained by any image at all.

    What the least-squares image leaves over has an expectation of 2 sigma^2 a degree of residual_dof. Never below one;
    one where too few degrees of residual_dof are left to tell.
    """
    ratio = system.residual_energy / (2 * system.residual_dof.clamp_min(1) * system.sigma**2)
    return torch.where(system.residual_dof > 200, ratio, torch.ones_like(ratio)).clamp_min(1.0).sqrt()
