"""Exact data consistency for 1-D masks: one eigendecomposition a slice, then any weight at the cost of two products.

With a mask ``[phase]`` the rows along the fully sampled readout decouple. For one row, A^H A is the matrix

    M[p, p'] = K[p - p'] sum_c conj(S_c[p]) S_c[p'],    K = the point-spread function of the mask,

of size sets x phase. With M = U diag(e) U^H every conditional mean and every conditional draw of

    p(x | y, d) ~ exp(-|y - A x|^2 / (2 sigma^2) - |x - d|^2 / (2 denoiser_variance))

is a product with U^H, a division, and a product with U: no iteration and no truncation error.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recon.acquisition.problem import Problem
from recon.posterior.hybrid_data import hybrid_data
from recon.posterior.hybrid_modes import HybridModes, hybrid_modes
from recon.posterior.random_streams import Noise
from recon.posterior.system import Denoised, Seen, Weights

SMALLEST_EIGENVALUE = 1e-3  # eigenvalue of A^H A, which has none above 1, below which a mode counts as hardly measured


@dataclass(frozen=True)
class HybridSpaceSolver:
    """The eigensystem of A^H A for a batch of slices; see the module's docstring.

    Images and their coefficients are ``[slice, sample, set, readout, phase]``, values and data = U^H A^H y ``[slice, 1,
    set, readout, phase]``; modes are U.
    """

    modes: HybridModes
    values: Tensor
    data: Tensor
    sigma: Tensor  # [slice]: noise standard deviation per real component
    residual_energy: Tensor  # [slice]: |y - A x|^2 of the least-squares x, what no image explains
    residual_dof: Tensor  # [slice]: complex degrees of residual_dof of the residual_energy

    @property
    def batch(self) -> int:
        """Slices in this system."""
        return self.values.shape[0]

    def with_sigma(self, sigma: Tensor) -> "HybridSpaceSolver":
        """The same system under another noise level; the eigensystem does not depend on it."""
        return replace(self, sigma=sigma)

    def coefficients(self, image: Tensor) -> Tensor:
        """``U^H x``, in the shape of the image."""
        return self.modes.coefficients(image)

    def image(self, coefficients: Tensor) -> Tensor:
        """``U c``: the inverse of ``coefficients``."""
        return self.modes.images(coefficients)

    def seen(self, denoised: Tensor, noise: Noise | None = None) -> Seen:
        """``U^H`` of the image and of the noise that will be added to it, in one pass over the eigenvectors.

        The noise is drawn in the image and transformed: U f(e) U^H n is a function of A^H A alone, whereas noise drawn
        mode by mode would follow eigenvectors whose sign and order hang on a rounding."""
        if noise is None:
            return Seen(denoised, self.coefficients(denoised))
        pixels = noise.distinct(*denoised.shape[2:]).to(denoised.dtype)
        both = self.coefficients(torch.cat((denoised, pixels), 1))
        samples = denoised.shape[1]
        return Seen(denoised, both[:, :samples], noise.completed(both[:, samples:]))

    def start(self, variance: float, noise: Noise) -> Tensor:
        """An image drawn from p(x | y) under the prior N(0, variance) for each sample."""
        zero = self.zeros().expand(-1, noise.samples, -1, -1, -1)
        return self.draw(zero, torch.full_like(self.sigma, variance), noise)

    def zeros(self) -> Tensor:
        """One image of zeros a slice."""
        return torch.zeros_like(self.data)

    def mean(self, denoised: Denoised, denoiser_variance: Tensor) -> Tensor:
        """The conditional mean of the image around ``denoised [slice, sample, set, readout, phase]``, whose error
        variance is ``denoiser_variance [slice]`` per real component."""
        return self.image(self._mean(self._coefficients(denoised), denoiser_variance))

    def condition(
        self, denoised: Denoised, denoiser_variance: Tensor, noise: Noise, weights: Weights = (1.0, 1.0)
    ) -> tuple[Tensor, Tensor]:
        """The conditional mean around ``denoised`` and a conditional draw.

        With other ``weights`` than (1, 1) the draw is not that of p(x | y, denoised), see ``recon.posterior.system``.
        """
        mean, drawn = self._mean_and_draw(denoised, denoiser_variance, noise, weights)
        both = self.image(torch.cat((mean, drawn), 1))  # one pass over the eigenvectors for both
        samples = mean.shape[1]
        return both[:, :samples], both[:, samples:]

    def draw(
        self,
        denoised: Denoised,
        denoiser_variance: Tensor,
        noise: Noise,
        weights: Weights = (1.0, 1.0),
        error: float | None = None,
    ) -> Tensor:
        """The conditional draw of ``condition`` without the mean, which only the last step of a sampler needs. It is
        exact whatever ``error`` is allowed."""
        return self.image(self._mean_and_draw(denoised, denoiser_variance, noise, weights)[1])

    def renoised(self, denoised: Denoised, denoiser_variance: Tensor, sigma: float, noise: Noise) -> Tensor:
        """The conditional mean with just as much noise as makes its distance from the truth ``sigma``.

        The mean itself errs by the conditional covariance, sigma_y^2 v / (v e + sigma_y^2) in the mode of eigenvalue e;
        what is missing to sigma^2 is added, nothing where nothing is missing."""
        seen, drawn = self._with_noise(denoised, noise)
        variance, trusted = _wide(self.sigma**2), _wide(denoiser_variance)
        error = variance * trusted / (trusted * self.values + variance)
        return self.image(self._mean(seen, denoiser_variance) + (sigma**2 - error).clamp_min(0).sqrt() * drawn)

    def denoised_variance(self, denoised: Denoised) -> Tensor:
        """Maximum-likelihood error variance ``[slice]`` per real component of ``denoised``, from the data alone.

        In mode k the data say x_k = data_k / e_k with variance sigma^2 / e_k, so the difference from the denoised has
        variance denoiser_variance + sigma^2 / e_k; denoiser_variance follows by Fisher scoring, in which modes that
        were hardly measured weigh nothing. This estimates the error where something was measured and never trusts the
        rest less than that.
        """
        values = self.values.clamp_min(SMALLEST_EIGENVALUE)
        gap = self.data / values - self._coefficients(denoised)
        difference = (gap * gap.conj()).real.mean(1, keepdim=True) / 2  # samples share the weight of a mode
        floor = (_wide(self.sigma**2) / values).flatten(1)
        measured = (self.values > SMALLEST_EIGENVALUE).flatten(1)
        excess = difference.flatten(1) - floor
        denoiser_variance = difference.flatten(1).mean(1).clamp_min(1e-12)
        for _ in range(12):
            weight = measured / (denoiser_variance.unsqueeze(1) + floor) ** 2
            update = (weight * excess).sum(1) / weight.sum(1)
            denoiser_variance = update.clamp_min(1e-12)
        return denoiser_variance

    def residual(self, image: Tensor) -> Tensor:
        """``|y - A x|^2``: ``[slice, sample]``, as residual_energy + sum_k e_k |x_k - data_k / e_k|^2, which does not
        cancel.

        The residual_energy holds the term |data_k|^2 / e_k of the hardly measured modes, which its fit left out.
        """
        values, data, coefficients = self.values, self.data, self.coefficients(image)
        measured = (values * coefficients - data).abs() ** 2 / values.clamp_min(SMALLEST_EIGENVALUE)
        hardly = values * coefficients.abs() ** 2 - 2 * (coefficients.conj() * data).real
        left = torch.where(values > SMALLEST_EIGENVALUE, measured, hardly).sum((2, 3, 4))
        return self.residual_energy.unsqueeze(-1) + left

    def _mean(self, denoised: Tensor, denoiser_variance: Tensor) -> Tensor:
        variance, trusted = _wide(self.sigma**2), _wide(denoiser_variance)
        return (trusted * self.data + variance * denoised) / (trusted * self.values + variance)

    def _deviation(self, denoiser_variance: Tensor, weights: Weights = (1.0, 1.0)) -> Tensor:
        variance, trusted = _wide(self.sigma**2), _wide(denoiser_variance)
        measured = trusted * self.values
        of_data, of_denoised = (_wide(w) if isinstance(w, Tensor) else w for w in weights)
        return (variance * trusted * (of_data * measured + of_denoised * variance)).sqrt() / (measured + variance)

    def _mean_and_draw(
        self, denoised: Denoised, denoiser_variance: Tensor, noise: Noise, weights: Weights = (1.0, 1.0)
    ) -> tuple[Tensor, Tensor]:
        """Their coefficients."""
        seen, drawn = self._with_noise(denoised, noise)
        mean = self._mean(seen, denoiser_variance)
        return mean, mean + self._deviation(denoiser_variance, weights) * drawn

    def _coefficients(self, denoised: Denoised) -> Tensor:
        if isinstance(denoised, Seen) and denoised.coefficients is not None:
            return denoised.coefficients
        return self.coefficients(denoised.image if isinstance(denoised, Seen) else denoised)

    def _with_noise(self, denoised: Denoised, noise: Noise) -> tuple[Tensor, Tensor]:
        """Coefficients of the denoised and of noise: that which was drawn for it, or the next."""
        if not (isinstance(denoised, Seen) and denoised.coefficients is not None and denoised.noise is not None):
            denoised = self.seen(denoised.image if isinstance(denoised, Seen) else denoised, noise)
        assert denoised.coefficients is not None
        assert denoised.noise is not None
        return denoised.coefficients, denoised.noise


def _wide(value: Tensor) -> Tensor:
    """``value [slice]`` for images."""
    return value.reshape(-1, 1, 1, 1, 1)


def hybrid_space_solver(problem: Problem, line_noise: Tensor | None = None) -> HybridSpaceSolver:
    """Set up the exact solver. ``problem.mask`` must be ``[phase]``.

    ``line_noise [slice, phase]`` multiplies the noise level of each phase-encoding line; such a weight keeps the rows
    apart, so the solution stays exact. The residuals of the system are then those of the weighted lines.
    """
    weight = problem.mask.to(problem.scale.dtype).expand(problem.kspace.shape[0], -1)
    if line_noise is not None:
        weight = weight / line_noise
    modes, values = hybrid_modes(problem.maps, weight)
    values = values.unsqueeze(1)
    data = hybrid_data(problem, weight)
    coefficients = modes.coefficients(data.adjoint())
    inverse = torch.where(values > SMALLEST_EIGENVALUE, 1 / values.clamp_min(SMALLEST_EIGENVALUE), 0.0)
    of_data, of_probe = coefficients[:, :1].contiguous(), coefficients[:, 1:]
    energy = data.residual_energy(modes.images(inverse * of_data)).sum((1, 2))
    explained = (inverse * (of_probe * of_probe.conj()).real).sum((1, 2, 3, 4))
    samples = (weight > 0).sum(1) * problem.kspace.shape[1:3].numel()
    return HybridSpaceSolver(modes, values, of_data, problem.sigma, energy, samples - explained)
