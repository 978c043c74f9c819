"""From solved images to what is shown and stored: magnitudes in the file's units."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from recon.acquisition.problem import Problem
from recon.acquisition.sense import adjoint
from recon.quality.deviations import (
    autocorrelation,
    contrasts,
    head_of,
    neighbourhood_std,
    pixel_degrees_of_freedom,
)
from recon.reconstruction.preparing import Prepared
from recon.reconstruction.solving import Solution


def shown_images(
    prepared: Prepared, solution: Solution, *, keep_samples: bool = False
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """``(slice, images)``: ``reconstruction``, ``zero_filled`` and, of samplers, ``std [readout, phase]`` and
    ``deviations [draw, readout, phase]`` float32; on request ``samples [sample, readout, phase]`` complex64."""
    problem, samples = prepared.problem, solution.samples
    mean = problem.magnitude(solution.image).cpu().numpy()
    zero = problem.magnitude(adjoint(problem.kspace, problem.maps, problem.mask)).cpu().numpy()
    deviations = _deviations(problem, solution)
    magnitudes = problem.magnitude(samples) if keep_samples and samples is not None else None
    for position, index in enumerate(problem.slices):
        images = {"reconstruction": mean[position], "zero_filled": zero[position]}
        if deviations is not None:
            drawn = deviations[position]
            spread = neighbourhood_std(drawn) if solution.pairs else np.sqrt((drawn**2).mean(0))
            images |= {"std": spread * np.float32(problem.unit), "deviations": drawn * np.float32(problem.unit)}
        if magnitudes is not None and samples is not None:
            plain = problem.without_guard(samples[position, :, 0])
            phase = plain[..., problem.crop[0], problem.crop[1]].angle()
            images["samples"] = torch.polar(magnitudes[position], phase).cpu().numpy()
        yield index, images


def std_degrees_of_freedom(images: dict[str, np.ndarray], pairs: bool) -> list[float]:
    """With how many degrees of freedom the standard deviation of one of ``shown_images`` is known, in a list: empty
    where there is none. Its relative standard error is ``1 / sqrt(2 degrees of freedom)``."""
    if "deviations" not in images:
        return []
    draws = len(images["deviations"])
    if not pairs:
        return [float(draws)]
    drawn: NDArray[np.float32] = images["deviations"]
    drawn = drawn / np.float32(max(float(np.abs(drawn).max()), 1e-30))  # single precision may not hold its square
    found = autocorrelation(drawn, head_of(images["reconstruction"]))
    return [pixel_degrees_of_freedom(found, draws)]


def _deviations(problem: Problem, solution: Solution) -> NDArray[np.float32] | None:
    """Independent draws of the magnitude's deviation from the posterior mean ``[slice, draw, readout, phase]`` over the
    problem's unit, None for fewer than two samples.

    Of an antithetic pair half the difference is the deviation: its effect on the magnitude of the image. Independent
    samples deviate from their own mean.
    """
    samples = solution.samples
    if samples is None or samples.shape[1] < 2:
        return None
    problem = replace(problem, unit=1.0)  # magnitudes that can be squared
    if not solution.pairs:
        return np.stack([contrasts(one) for one in problem.magnitude(samples).cpu().numpy()])
    count = samples.shape[1] // 2
    half = (samples[:, :count] - samples[:, samples.shape[1] - count :]) / 2
    image = solution.image.unsqueeze(1)
    change: NDArray[np.float32] = (
        ((problem.magnitude(image + half) - problem.magnitude(image - half)) / 2).cpu().numpy()
    )
    return change if solution.spread is None else change * solution.spread.cpu().numpy()[:, None, None, None]


def shown_noise(problem: Problem) -> float:
    """Noise standard deviation per real component of a fully sampled image in the file's units, median over the pixels
    that a coil sees: where the maps are masked the image is zero, and that may be most of it."""
    sets, shape = problem.maps.shape[1], problem.maps.shape[-2:]
    level = (problem.sigma / problem.guard_scale).reshape(-1, 1, 1, 1).expand(-1, sets, *shape).to(problem.kspace.dtype)
    found = problem.magnitude(level)
    seen = found[found > 0]
    return float(seen.median()) if seen.numel() else 0.0
