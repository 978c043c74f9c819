"""What a sampler asks of the data: starting image, conditional mean and draw, the error of a denoised, the residual.

``HybridSpaceSolver`` answers exactly for 1-D masks, ``IterativeSystem`` by conjugate gradients for any mask.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from recon.posterior.random_streams import Noise

Weights = tuple[float | Tensor, float | Tensor]
"""By what the variances of a conditional draw are multiplied that it owes to the noise of the data and to the error of
the denoised, tensors ``[slice]``: (1, 1) is the exact draw."""


LOOSE = 0.02  # of the noise that is added next: what an intermediate solution may err by


@dataclass(frozen=True)
class Seen:
    """A denoised image as a system sees it: what the error of the denoised and the step after it have in common.

    ``image [slice, sample, set, readout, phase]``; of an exact system also its ``coefficients``, in the same shape, and
    those of the ``noise`` that the next draw around this image adds, where one was announced.
    """

    image: Tensor
    coefficients: Tensor | None = None
    noise: Tensor | None = None


Denoised = Tensor | Seen
"""A denoised image, alone or as ``System.seen`` gave it."""


class System(Protocol):
    """Images are ``[slice, sample, set, readout, phase]``; variances ``[slice]`` are per real component.

    ``seen(denoised, noise)`` draws the noise for the one draw (``condition``, ``draw``, ``renoised``) that follows, so
    that it is transformed together with the image where the system can do so."""

    @property
    def sigma(self) -> Tensor: ...
    @property
    def residual_energy(self) -> Tensor: ...
    @property
    def residual_dof(self) -> Tensor: ...
    @property
    def batch(self) -> int: ...
    def with_sigma(self, sigma: Tensor) -> "System": ...
    def seen(self, denoised: Tensor, noise: Noise | None = None) -> Seen: ...
    def zeros(self) -> Tensor: ...
    def start(self, variance: float, noise: Noise) -> Tensor: ...
    def mean(self, denoised: Denoised, denoiser_variance: Tensor) -> Tensor: ...
    def condition(
        self, denoised: Denoised, denoiser_variance: Tensor, noise: Noise, weights: Weights = (1.0, 1.0)
    ) -> tuple[Tensor, Tensor]: ...
    def draw(
        self,
        denoised: Denoised,
        denoiser_variance: Tensor,
        noise: Noise,
        weights: Weights = (1.0, 1.0),
        error: float | None = None,
    ) -> Tensor: ...
    def renoised(self, denoised: Denoised, denoiser_variance: Tensor, sigma: float, noise: Noise) -> Tensor: ...
    def denoised_variance(self, denoised: Denoised) -> Tensor: ...
    def residual(self, image: Tensor) -> Tensor: ...
