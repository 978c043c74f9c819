"""What a sampler asks of the data: starting image, conditional mean and draw, the error of a guess, the residual.

``RowSystem`` answers exactly for 1-D masks, ``IterativeSystem`` by conjugate gradients for any mask.
"""

from typing import Protocol

from torch import Tensor

from recon.acquisition.problem import Problem
from recon.posterior.noise import Noise

Weights = tuple[float | Tensor, float | Tensor]
"""By what the variances of a conditional draw are multiplied that it owes to the noise of the data and to the error of
the guess, tensors ``[slice]``: (1, 1) is the exact draw."""


class System(Protocol):
    """Images are ``[slice, sample, set, readout, phase]``; variances ``[slice]`` are per real component."""

    @property
    def sigma(self) -> Tensor: ...
    @property
    def misfit(self) -> Tensor: ...
    @property
    def freedom(self) -> Tensor: ...
    @property
    def batch(self) -> int: ...
    def with_sigma(self, sigma: Tensor) -> "System": ...
    def zeros(self) -> Tensor: ...
    def start(self, variance: float, noise: Noise) -> Tensor: ...
    def mean(self, guess: Tensor, r2: Tensor) -> Tensor: ...
    def condition(
        self, guess: Tensor, r2: Tensor, noise: Noise, weights: Weights = (1.0, 1.0)
    ) -> tuple[Tensor, Tensor]: ...
    def draw(self, guess: Tensor, r2: Tensor, noise: Noise, weights: Weights = (1.0, 1.0)) -> Tensor: ...
    def guess_error(self, guess: Tensor) -> Tensor: ...
    def residual(self, image: Tensor) -> Tensor: ...


def system_of(problem: Problem) -> System:
    """The exact row solver for a mask ``[phase]``, conjugate gradients for ``[readout, phase]``."""
    from recon.posterior.iterative import iterative_system
    from recon.posterior.rows import row_system

    return row_system(problem) if problem.mask.dim() == 1 else iterative_system(problem)
