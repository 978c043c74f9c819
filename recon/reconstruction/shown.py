"""From solved images to what is shown and stored: magnitudes in the file's units."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recon.acquisition.problem import Problem
from recon.acquisition.sense import adjoint
from recon.reconstruction.preparing import Prepared
from recon.reconstruction.solving import Solution

NEIGHBOURHOOD = 1.5  # pixels: the standard deviation is averaged over about twenty-eight of them


def shown_images(
    prepared: Prepared, solution: Solution, *, keep_samples: bool = False
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """``(slice, images)``: ``reconstruction``, ``zero_filled`` and, of samplers, ``std [readout, phase]`` float32; on
    request ``samples [sample, readout, phase]`` complex64."""
    problem, samples = prepared.problem, solution.samples
    mean = problem.magnitude(solution.image).cpu().numpy()
    zero = problem.magnitude(adjoint(problem.kspace, problem.maps, problem.mask)).cpu().numpy()
    deviation = _deviation(problem, solution)
    deviation = None if deviation is None else deviation * problem.unit
    magnitudes = problem.magnitude(samples) if keep_samples and samples is not None else None
    for position, index in enumerate(problem.slices):
        images = {"reconstruction": mean[position], "zero_filled": zero[position]}
        if deviation is not None:
            images["std"] = deviation[position].cpu().numpy()
        if magnitudes is not None and samples is not None:
            plain = problem.without_guard(samples[position, :, 0])
            phase = plain[..., problem.crop[0], problem.crop[1]].angle()
            images["samples"] = torch.polar(magnitudes[position], phase).cpu().numpy()
        yield index, images


def _deviation(problem: Problem, solution: Solution) -> Tensor | None:
    """Posterior standard deviation of the magnitude ``[slice, readout, phase]`` over the problem's unit; None for fewer
    than two samples.

    Of antithetic pairs half the difference is the deviation: its effect on the magnitude of the image, squared,
    averaged over pairs and over a neighbourhood, since a pair alone knows a pixel's variance to no better than itself.
    """
    samples = solution.samples
    if samples is None or samples.shape[1] < 2:
        return None
    problem = replace(problem, unit=1.0)  # magnitudes that can be squared
    if not solution.pairs:
        return problem.magnitude(samples).std(1)
    count = samples.shape[1] // 2
    half = (samples[:, :count] - samples[:, samples.shape[1] - count :]) / 2
    image = solution.image.unsqueeze(1)
    change = (problem.magnitude(image + half) - problem.magnitude(image - half)) / 2
    return smoothed((change**2).mean(1)).sqrt()


def smoothed(values: Tensor) -> Tensor:
    """``values [slice, readout, phase]`` averaged with a Gaussian of ``NEIGHBOURHOOD`` pixels; edges repeat."""
    reach = math.ceil(3 * NEIGHBOURHOOD)
    position = torch.arange(-reach, reach + 1, device=values.device, dtype=values.dtype)
    kernel = torch.exp(-0.5 * (position / NEIGHBOURHOOD) ** 2)
    kernel = kernel / kernel.sum()
    padded = functional.pad(values.unsqueeze(1), (reach, reach, reach, reach), mode="replicate")
    along = functional.conv2d(padded, kernel.reshape(1, 1, 1, -1))
    return functional.conv2d(along, kernel.reshape(1, 1, -1, 1)).squeeze(1)


def shown_noise(problem: Problem) -> float:
    """Noise standard deviation per real component of a fully sampled image in the file's units, median over pixels."""
    sets, shape = problem.maps.shape[1], problem.maps.shape[-2:]
    level = (problem.sigma / problem.guard_scale).reshape(-1, 1, 1, 1).expand(-1, sets, *shape).to(problem.kspace.dtype)
    return float(problem.magnitude(level).median())
