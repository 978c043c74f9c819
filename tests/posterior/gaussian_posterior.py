"""A multi-coil problem whose posterior is known in closed form: the yardstick of every sampler.

The prior is Gaussian and diagonal in kspace, x = F^H sqrt(lambda) n, so its exact denoiser is a Wiener filter and its
posterior given y = A x + noise is Gaussian with

    P = (A^H A / sigma^2 + F^H diag(1 / lambda) F)^-1,    mu = P A^H y / sigma^2

for complex noise of ``sigma`` per real component; the pixel covariance per real component is P. Also a prior of two
such Gaussians with different means, whose denoiser and posterior weights are closed forms too.
"""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from recon.acquisition import sense
from recon.acquisition.fourier import fourier_matrix, to_image
from recon.acquisition.problem import Problem
from recon.posterior.random_streams import NoiseStreams
from recon.posterior.sampler import DiffusionPrior


def complex_normal(generator: torch.Generator, *shape: int) -> Tensor:
    """complex64 of unit variance per real component."""
    return torch.view_as_complex(torch.randn((*shape, 2), generator=generator))


def smooth_maps(size: int, coils: int) -> Tensor:
    """``[set, coil, readout, phase]`` with sum_c |S_c|^2 = 1 everywhere."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    maps = []
    for index in range(coils):
        angle = 2 * math.pi * index / coils
        magnitude = torch.exp(-((y - math.cos(angle)) ** 2 + (x - math.sin(angle)) ** 2) / 1.5)
        maps.append(magnitude * torch.exp(1j * (y * math.cos(angle + 1) + x * math.sin(angle + 2))))
    stacked = torch.stack(maps).to(torch.complex64)
    return (stacked / stacked.norm(dim=0))[None]


@dataclass(frozen=True)
class GaussianCase:
    """Maps, mask, noise and the prior's variance per real component in kspace ``[readout, phase]``."""

    maps: Tensor
    mask: Tensor
    sigma: float
    spectrum: Tensor
    acceleration: int = 4

    @property
    def size(self) -> int:
        return int(self.mask.shape[-1])

    @cached_property
    def covariance(self) -> Tensor:
        """Posterior covariance per real component, complex128 ``[pixel, pixel]``; it does not depend on y."""
        size, like = self.size, torch.zeros(1, dtype=torch.complex128)
        transform = fourier_matrix(size, like=like)
        maps = self.maps[0].to(like.dtype)
        if self.mask.dim() == 1:
            spread = transform.mH @ (self.mask.to(like.dtype)[:, None] * transform)
            normal = torch.zeros((size**2, size**2), dtype=like.dtype)
            for row in range(size):
                block = slice(row * size, (row + 1) * size)
                normal[block, block] = (maps[:, row].mH @ maps[:, row]) * spread
        else:
            whole = torch.kron(transform, transform)
            spread = whole.mH @ (self.mask.flatten().to(like.dtype)[:, None] * whole)
            flat = maps.flatten(1)
            normal = (flat.mH @ flat) * spread
        whole = torch.kron(transform, transform)
        precision = whole.mH @ ((1 / self.spectrum.flatten().to(like.dtype))[:, None] * whole)
        return torch.linalg.inv(normal / self.sigma**2 + precision)

    def mean(self, problem: Problem, covariance: Tensor) -> Tensor:
        """Posterior mean ``[pixel]`` complex128 for the kspace of ``problem``."""
        back = sense.adjoint(problem.kspace, problem.maps, problem.mask)
        return covariance @ back.flatten().to(covariance.dtype) / self.sigma**2

    def truth(self, generator: torch.Generator) -> Tensor:
        """An image ``[slice, set, readout, phase]`` from the prior."""
        return to_image(self.spectrum.sqrt() * complex_normal(generator, self.size, self.size))[None, None]

    def problem(self, image: Tensor, generator: torch.Generator) -> Problem:
        """The problem of ``image`` with fresh noise."""
        noise = complex_normal(generator, 1, self.maps.shape[1], self.size, self.size) * self.mask
        kspace = sense.forward(image, self.maps[None], self.mask) + self.sigma * noise
        return Problem(
            slices=(0,),
            kspace=kspace,
            mask=self.mask,
            maps=self.maps[None],
            scale=torch.ones(1),
            sigma=torch.full((1,), self.sigma),
            restore_coils=torch.eye(self.maps.shape[1], dtype=torch.complex64),
            crop=(slice(0, self.size), slice(0, self.size)),
        )

    def denoise(self, image: Tensor, sigma: float) -> Tensor:
        """The exact denoiser E[x | x + sigma n]: a Wiener filter. A filter commutes with shifts of the image, so that
        neither transform needs its origin in the middle."""
        filtered = self.wrapped_spectrum / (self.wrapped_spectrum + sigma**2) * torch.fft.fft2(image)
        return torch.fft.ifft2(filtered)

    @cached_property
    def wrapped_spectrum(self) -> Tensor:
        """``spectrum`` with the origin in the corner."""
        return torch.fft.ifftshift(self.spectrum)

    def denoiser_variance(self, sigma: float) -> float:
        """The exact denoising error per pixel and real component."""
        return float((self.spectrum * sigma**2 / (self.spectrum + sigma**2)).mean())

    def prior(self) -> DiffusionPrior:
        """As samplers see it."""
        return DiffusionPrior(self.denoise, self.denoiser_variance, 0.5)


@lru_cache
def gaussian_case(
    size: int = 24,
    coils: int = 4,
    acceleration: int = 4,
    calibration: int = 6,
    sigma: float = 0.05,
    dimensions: int = 1,
) -> GaussianCase:
    """The usual case: a smooth prior of standard deviation 0.5 per real component."""
    index = torch.arange(size) - size // 2
    radius = (index[:, None] ** 2 + index[None] ** 2).float().sqrt()
    spectrum = 1 / (1 + (radius / (0.1 * size)) ** 2) ** 1.5
    spectrum = spectrum / spectrum.mean() * 0.25
    centre = (index.abs() <= calibration // 2) & (index < calibration // 2)
    if dimensions == 1:
        mask = torch.zeros(size, dtype=torch.bool)
        mask[::acceleration] = True
        mask = mask | centre
    else:
        chosen = torch.rand((size, size), generator=torch.Generator().manual_seed(5)) < 1 / acceleration
        mask = chosen | (centre[:, None] & centre[None])
    return GaussianCase(smooth_maps(size, coils), mask, sigma, spectrum, acceleration)


@dataclass(frozen=True)
class Score:
    """How samples compare with the closed form: bias^2 over the trace (Monte Carlo part removed), that of the
    Rao-Blackwell mean, variance ratio, and chi2 a measurement."""

    bias: float
    bias_of_means: float
    variance: float
    chi2: float


def score(case: GaussianCase, problem: Problem, covariance: Tensor, samples: Tensor, means: Tensor) -> Score:
    """Compare ``samples`` and ``means [1, sample, 1, readout, phase]`` with the posterior."""
    exact = case.mean(problem, covariance)
    count = samples.shape[1]
    flat = samples[0, :, 0].flatten(1).to(torch.complex128)
    trace = 2 * covariance.diagonal().real.sum()
    # The variance of a complex tensor sums both real components.
    bias = (flat.mean(0) - exact).abs().pow(2).sum() - flat.var(0).sum() / count
    conditional = means[0, :, 0].flatten(1).to(torch.complex128)
    of_means = (conditional.mean(0) - exact).abs().pow(2).sum() - conditional.var(0).sum() / count
    gap = problem.kspace[:, None] - sense.forward(samples, problem.maps[:, None], problem.mask)
    positions = int(problem.mask.sum()) * (case.size if problem.mask.dim() == 1 else 1)
    expected = 2 * positions * problem.maps.shape[2] * case.sigma**2
    return Score(
        float(bias / trace),
        float(of_means / trace),
        float(flat.var(0).sum() / trace),
        float(gap.abs().pow(2).sum((2, 3, 4)).mean() / expected),
    )


def average(scores: list[Score]) -> Score:
    """Mean over realisations of the data."""
    columns = zip(*((s.bias, s.bias_of_means, s.variance, s.chi2) for s in scores), strict=True)
    return Score(*(sum(column) / len(scores) for column in columns))


class BulkNoise(NoiseStreams):
    """Noise for one slice and many samples from a single generator: faster than a stream for each."""

    def __init__(self, samples: int, seed: int = 0) -> None:
        super().__init__(seed, "certification", [], [])
        self.samples = samples
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int) -> Tensor:
        return complex_normal(self._generator, 1, self.samples, *shape)


@dataclass(frozen=True)
class TwoModes:
    """Prior ``weight N(+mode, C) + (1 - weight) N(-mode, C)`` with the Gaussian case's covariance C.

    ``mode [readout, phase]`` is an image, e.g. of a lesion that is there or is not.
    """

    case: GaussianCase
    mode: Tensor
    weight: float

    def logit(self, image: Tensor, sigma: float) -> Tensor:
        """log odds of the + mode given ``image = x + sigma n``."""
        total = self.case.wrapped_spectrum + sigma**2
        mode, seen = (torch.fft.fft2(one, norm="ortho") for one in (self.mode, image))
        product = (mode.conj() * seen).real / total
        return math.log(self.weight / (1 - self.weight)) + 2 * product.sum((-2, -1))

    def denoise(self, image: Tensor, sigma: float) -> Tensor:
        """The exact denoiser of the mixture."""
        odds = self.logit(image, sigma).sigmoid()[..., None, None]
        shifted = (2 * odds - 1) * self.mode
        return self.case.denoise(image, sigma) + shifted - self.case.denoise(shifted, sigma)

    def denoiser_variance(self, sigma: float) -> float:
        """A denoising error by Monte Carlo over the prior, as a validation set would give it."""
        generator = torch.Generator().manual_seed(0)
        size = self.case.size
        clean = to_image(self.case.spectrum.sqrt() * complex_normal(generator, 200, size, size))
        signs = torch.where(torch.rand((200, 1, 1), generator=generator) < self.weight, 1.0, -1.0)
        clean = clean + signs * self.mode
        denoised = self.denoise(clean + sigma * complex_normal(generator, 200, size, size), sigma)
        return float((denoised - clean).abs().pow(2).mean() / 2)

    def prior(self) -> DiffusionPrior:
        """As samplers see it."""
        return DiffusionPrior(self.denoise, self.denoiser_variance, 0.5)

    def posterior_weight(self, problem: Problem) -> float:
        """Exact posterior probability of the + mode."""
        size, case = self.case.size, self.case
        units = torch.eye(size**2, dtype=torch.complex64).reshape(-1, 1, size, size)
        columns = sense.forward(units, problem.maps, problem.mask)
        acquired = (problem.mask.expand(size, size))[None].expand(case.maps.shape[1], size, size)
        matrix = columns[:, acquired].mT.to(torch.complex128)  # sample, pixel
        whole = fourier_matrix(size, like=matrix)
        whole = torch.kron(whole, whole)
        prior = whole.mH @ (case.spectrum.flatten().to(matrix.dtype)[:, None] * whole)
        total = matrix @ prior @ matrix.mH + case.sigma**2 * torch.eye(matrix.shape[0], dtype=matrix.dtype)
        data = problem.kspace[0][acquired].to(matrix.dtype)
        signal = matrix @ self.mode.flatten().to(matrix.dtype)
        product = torch.vdot(signal, torch.linalg.solve(total, data)).real
        return float((math.log(self.weight / (1 - self.weight)) + 2 * product).sigmoid())
