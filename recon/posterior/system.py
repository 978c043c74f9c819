"""What a sampler asks of the data: starting image, conditional mean and draw, the error of a denoised, the residual.

``HybridSpaceSolver`` answers exactly for 1-D masks, ``IterativeSystem`` by conjugate gradients for any mask.
"""

from typing import Protocol

from torch import Tensor

from recon.posterior.random_streams import Noise

Weights = tuple[float | Tensor, float | Tensor]
"""By what the variances of a conditional draw are multiplied that it owes to the noise of the data and to the error of
the denoised, tensors ``[slice]``: (1, 1) is the exact draw."""


LOOSE = 0.02  # of the noise that is added next: what an intermediate solution may err by


class System(Protocol):
    """Images are ``[slice, sample, set, readout, phase]``; variances ``[slice]`` are per real component."""

    @property
    def sigma(self) -> Tensor: ...
    @property
    def residual_energy(self) -> Tensor: ...
    @property
    def residual_dof(self) -> Tensor: ...
    @property
    def batch(self) -> int: ...
    def with_sigma(self, sigma: Tensor) -> "System": ...
    def zeros(self) -> Tensor: ...
    def start(self, variance: float, noise: Noise) -> Tensor: ...
    def mean(self, denoised: Tensor, denoiser_variance: Tensor) -> Tensor: ...
    def condition(
        self, denoised: Tensor, denoiser_variance: Tensor, noise: Noise, weights: Weights = (1.0, 1.0)
    ) -> tuple[Tensor, Tensor]: ...
    def draw(
        self,
        denoised: Tensor,
        denoiser_variance: Tensor,
        noise: Noise,
        weights: Weights = (1.0, 1.0),
        error: float | None = None,
    ) -> Tensor: ...
    def renoised(self, denoised: Tensor, denoiser_variance: Tensor, sigma: float, noise: Noise) -> Tensor: ...
    def denoised_variance(self, denoised: Tensor) -> Tensor: ...
    def residual(self, image: Tensor) -> Tensor: ...
