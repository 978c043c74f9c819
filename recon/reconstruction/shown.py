"""From solved images to what is shown and stored: magnitudes in the file's units."""

from collections.abc import Iterator

import numpy as np
import torch

from recon.acquisition.problem import Problem
from recon.acquisition.sense import adjoint
from recon.reconstruction.preparing import Prepared
from recon.reconstruction.solving import Solution


def shown_images(
    prepared: Prepared, solution: Solution, *, keep_samples: bool = False
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """``(slice, images)``: ``reconstruction``, ``zero_filled`` and, of samplers, ``std [readout, phase]`` float32; on
    request ``samples [sample, readout, phase]`` complex64."""
    problem, samples = prepared.problem, solution.samples
    mean = problem.magnitude(solution.image).cpu().numpy()
    zero = problem.magnitude(adjoint(problem.kspace, problem.maps, problem.mask)).cpu().numpy()
    magnitudes = None if samples is None else problem.magnitude(samples)
    for position, index in enumerate(problem.slices):
        images = {"reconstruction": mean[position], "zero_filled": zero[position]}
        if magnitudes is not None and samples is not None:
            if magnitudes.shape[1] > 1:
                images["std"] = magnitudes[position].std(0).cpu().numpy()
            if keep_samples:
                plain = problem.without_guard(samples[position, :, 0])
                phase = plain[..., problem.crop[0], problem.crop[1]].angle()
                images["samples"] = torch.polar(magnitudes[position], phase).cpu().numpy()
        yield index, images


def shown_noise(problem: Problem) -> float:
    """Noise standard deviation per real component of a fully sampled image in the file's units, median over pixels."""
    sets, shape = problem.maps.shape[1], problem.maps.shape[-2:]
    level = (problem.sigma / problem.guard_scale).reshape(-1, 1, 1, 1).expand(-1, sets, *shape).to(problem.kspace.dtype)
    return float(problem.magnitude(level).median())
