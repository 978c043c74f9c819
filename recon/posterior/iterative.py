"""Data consistency by conjugate gradients: any mask, any number of map sets.

    (A^H A + lambda) x = A^H y + lambda d + noise,    lambda = sigma^2 / denoiser_variance

Noise of covariance sigma^2 (A^H A + lambda) in the right-hand side makes the solution an exact conditional draw
(perturb and solve). The iteration stops on the true residual |b - (A^H A + lambda) x| / |b|, recomputed, not on the
recursion's own estimate, and not after a fixed number of steps: a truncated solve biases a sampler more than a worse
network does.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recon.acquisition.problem import Problem
from recon.acquisition.sense import adjoint, forward, inner, normal
from recon.posterior.random_streams import Noise
from recon.posterior.system import LOOSE, Denoised, Seen, Weights

TOLERANCE = 1e-4
MOST_STEPS = 200
RESTART = 10  # steps after which the residual is recomputed


def conjugate_gradients(
    operator: Callable[[Tensor], Tensor],
    right: Tensor,
    start: Tensor,
    tolerance: float | Tensor = TOLERANCE,
    most_steps: int = MOST_STEPS,
) -> tuple[Tensor, int]:
    """Solve ``operator(x) = right`` for a Hermitian positive definite operator, from ``start``.

    The last three axes are one unknown, those before are a batch. Each batch entry stops for itself when its true
    relative residual is below ``tolerance`` (one number, or one for each entry), so its solution does not depend on
    what it is batched with; all stop at the latest after ``most_steps`` steps. Returns the solution and the steps
    taken.
    """

    def product(left: Tensor, other: Tensor) -> Tensor:
        return inner(left, other).real[..., None, None, None]

    goal = (tolerance**2 * product(right, right)).clamp_min(1e-30)
    solution = start
    steps = 0
    while steps < most_steps:
        residual = right - operator(solution)
        power = product(residual, residual)
        done = power <= goal
        if _all(done):
            break
        direction = residual
        for _ in range(min(RESTART, most_steps - steps)):
            image = operator(direction)
            step = power / product(direction, image).clamp_min(1e-30)
            solution = solution + torch.where(done, 0.0, step) * direction
            residual = residual - step * image
            following = product(residual, residual)
            direction = residual + following / power.clamp_min(1e-30) * direction
            power = following
            steps += 1
            done = done | (power <= 0.25 * goal)
            if _all(done):
                break
    return solution, steps


def _all(done: Tensor) -> bool:
    """The one place where the processor waits for the device: a true stopping rule cannot do without."""
    return bool(done.all())


@dataclass(frozen=True)
class IterativeSystem:
    """The problem with its backprojection; see ``recon.posterior.system.System``."""

    kspace: Tensor  # [slice, 1, coil, readout, phase]
    maps: Tensor  # [slice, 1, set, coil, readout, phase]
    mask: Tensor
    data: Tensor  # A^H y: [slice, 1, set, readout, phase]
    sigma: Tensor
    residual_energy: Tensor
    residual_dof: Tensor
    trace: Tensor  # [slice]: tr(A^H A)

    @property
    def batch(self) -> int:
        """Slices in this system."""
        return self.kspace.shape[0]

    def with_sigma(self, sigma: Tensor) -> "IterativeSystem":
        """The same system under another noise level."""
        return replace(self, sigma=sigma)

    def start(self, variance: float, noise: Noise) -> Tensor:
        """An image drawn from p(x | y) under the prior N(0, variance) for each sample."""
        denoised = self.data.new_zeros((self.batch, noise.samples, *self.data.shape[2:]))
        return self.draw(denoised, torch.full_like(self.sigma, variance), noise)

    def seen(self, denoised: Tensor, noise: Noise | None = None) -> Seen:
        """The image alone: here nothing of one question serves another, and noise is drawn when it is asked for."""
        return Seen(denoised)

    def zeros(self) -> Tensor:
        """One image of zeros a slice."""
        return torch.zeros_like(self.data)

    def mean(self, denoised: Denoised, denoiser_variance: Tensor) -> Tensor:
        """Conditional mean around ``denoised [slice, sample, set, readout, phase]`` of error variance
        ``denoiser_variance [slice]``."""
        image, weight = _image_of(denoised), self._weight(denoiser_variance)
        return self._solve(self.data + weight * image, weight, image)

    def condition(
        self, denoised: Denoised, denoiser_variance: Tensor, noise: Noise, weights: Weights = (1.0, 1.0)
    ) -> tuple[Tensor, Tensor]:
        """The conditional mean around ``denoised`` and a conditional draw; ``weights``: see
        ``recon.posterior.system``."""
        perturbation = self._perturbation(_image_of(denoised), denoiser_variance, noise, weights)
        mean = self.mean(denoised, denoiser_variance)
        deviation = self._solve(perturbation, self._weight(denoiser_variance), torch.zeros_like(mean))
        return mean, mean + deviation

    def draw(
        self,
        denoised: Denoised,
        denoiser_variance: Tensor,
        noise: Noise,
        weights: Weights = (1.0, 1.0),
        error: float | None = None,
    ) -> Tensor:
        """The conditional draw of ``condition`` without the mean: one solution instead of two. ``error`` per real
        component may be left where noise of more will be added anyway."""
        image, weight = _image_of(denoised), self._weight(denoiser_variance)
        right = self.data + weight * image + self._perturbation(image, denoiser_variance, noise, weights)
        return self._solve(right, weight, image, error)

    def renoised(self, denoised: Denoised, denoiser_variance: Tensor, sigma: float, noise: Noise) -> Tensor:
        """The conditional mean with about as much noise as makes its distance from the truth ``sigma``; see
        ``recon.posterior.hybrid_space``.

        One solution gives both: noise sigma A^H A n in the right-hand side becomes sigma H / (H + lambda) n, which is
        sigma where much was measured and nothing where nothing was."""
        image, weight = _image_of(denoised), self._weight(denoiser_variance)
        added = sigma * normal(noise(*image.shape[2:]), self.maps, self.mask)
        return self._solve(self.data + weight * image + added, weight, image, LOOSE * sigma)

    def denoised_variance(self, denoised: Denoised) -> Tensor:
        """Error variance ``[slice]`` per real component of ``denoised`` from the scan's own residual:
        (|y - A d|^2 - 2 m sigma^2) / (2 tr(A^H A)), where only the part of the noise that an image explains counts."""
        excess = self.residual(_image_of(denoised)).mean(-1) - self._expected()
        return (excess / (2 * self.trace)).clamp_min(1e-12)

    def residual(self, image: Tensor) -> Tensor:
        """``|y - A x|^2``: ``[slice, sample]``."""
        gap = self.kspace - forward(image, self.maps, self.mask)
        return (gap.abs() ** 2).sum((-3, -2, -1))

    def _perturbation(self, denoised: Tensor, denoiser_variance: Tensor, noise: Noise, weights: Weights) -> Tensor:
        """Noise of the right-hand side: that of the data and that of the denoised image."""
        weight, sigma = self._weight(denoiser_variance), self._wide(self.sigma)
        of_data = adjoint(noise(*self.kspace.shape[2:]) * sigma, self.maps, self.mask)
        of_denoised = noise(*denoised.shape[2:]) * sigma * weight.sqrt()
        for_data, for_denoised = (self._wide(w) if isinstance(w, Tensor) else w for w in weights)
        return for_data**0.5 * of_data + for_denoised**0.5 * of_denoised

    def _expected(self) -> Tensor:
        samples = (self.kspace[0] != 0).sum()
        return 2 * samples * self.sigma**2

    def _solve(self, right: Tensor, weight: Tensor, start: Tensor, error: float | None = None) -> Tensor:
        """To ``TOLERANCE`` of the right-hand side, or until the solution errs by about ``error`` per real component.

        A residual r is an error of at most r / weight, and of r / (weight + 1) in what was fully measured; half of one
        stands for the eigenvalues between."""
        tolerance: float | Tensor = TOLERANCE
        if error is not None:
            pixels = 2 * start[0, 0].numel()
            norm = inner(right, right).real[..., None, None, None].clamp_min(1e-30)
            allowed = (error * (weight + 0.5)) ** 2 * pixels
            tolerance = (allowed / norm).sqrt().clamp_min(TOLERANCE)
        return conjugate_gradients(lambda x: normal(x, self.maps, self.mask) + weight * x, right, start, tolerance)[0]

    def _weight(self, denoiser_variance: Tensor) -> Tensor:
        return self._wide(self.sigma**2 / denoiser_variance)

    @staticmethod
    def _wide(value: Tensor) -> Tensor:
        return value.reshape(-1, 1, 1, 1, 1)


def _image_of(denoised: Denoised) -> Tensor:
    return denoised.image if isinstance(denoised, Seen) else denoised


def iterative_system(problem: Problem) -> IterativeSystem:
    """Set up conjugate gradients for a problem with any mask."""
    kspace, maps = problem.kspace.unsqueeze(1), problem.maps.unsqueeze(1)
    data = adjoint(kspace, maps, problem.mask)
    trace = problem.mask.float().mean() * _power(problem.maps)

    # A lightly damped least-squares fit tells what no image explains; one random probe tells how many
    # degrees of freedom that has.
    damping = 1e-3

    def damped(image: Tensor) -> Tensor:
        return normal(image, maps, problem.mask) + damping * image

    fit, _ = conjugate_gradients(damped, data, torch.zeros_like(data), 1e-3, 60)
    residual_energy = _power(kspace - forward(fit, maps, problem.mask))
    # The same probe for every slice, so that none depends on the others of its batch.
    signs = torch.randint(0, 2, kspace.shape[2:], generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    probe = signs.to(kspace.device) * problem.mask
    back = adjoint(probe.to(kspace.dtype).expand_as(kspace), maps, problem.mask)
    explained, _ = conjugate_gradients(damped, back, torch.zeros_like(back), 1e-3, 60)
    rank = inner(back, explained).real.sum(1)
    samples = probe.abs().sum()
    residual_dof = (samples - rank).clamp_min(0)
    return IterativeSystem(kspace, maps, problem.mask, data, problem.sigma, residual_energy, residual_dof, trace)


def _power(values: Tensor) -> Tensor:
    """Sum of |v|^2 ``[slice]``, each slice summed by itself: otherwise its rounding depends on its batch, and bf16
    makes 1e-3 of that."""
    return torch.stack([(entry.abs() ** 2).sum() for entry in values])
