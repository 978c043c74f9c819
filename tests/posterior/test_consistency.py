"""Data consistency: the exact row solver and conjugate gradients against dense algebra and against each other."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from recon.acquisition import sense
from recon.acquisition.problem import Problem
from recon.posterior.hybrid_space import hybrid_space_solver
from recon.posterior.iterative import conjugate_gradients, iterative_system
from recon.posterior.random_streams import AntitheticNoise, NoiseStreams
from recon.posterior.setup import system_of
from recon.posterior.system import System, Weights
from tests.posterior.gaussian_posterior import BulkNoise, complex_normal, gaussian_case, smooth_maps


def small_problem(
    size: int = 16, coils: int = 4, sets: int = 1, dimensions: int = 1, sigma: float = 0.1, slices: int = 1
) -> tuple[Problem, Tensor]:
    """A problem with noise, zero maps outside an ellipse as ESPIRiT gives, and the image it was made from."""
    generator = torch.Generator().manual_seed(0)
    case = gaussian_case(size=size, coils=coils, sigma=sigma, dimensions=dimensions, acceleration=3, calibration=4)
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    inside = (y / 0.9) ** 2 + (x / 0.8) ** 2 < 1
    maps = torch.cat([smooth_maps(size, coils), smooth_maps(size, coils).flip(-1).conj()])[:sets] * inside
    maps = maps.expand(slices, *maps.shape).contiguous()
    image = complex_normal(generator, slices, sets, size, size)
    noise = complex_normal(generator, slices, coils, size, size) * case.mask
    problem = case.problem(case.truth(generator), generator)
    kspace = sense.forward(image, maps, case.mask) + sigma * noise
    changed = dataclasses.replace(
        problem,
        slices=tuple(range(slices)),
        kspace=kspace,
        maps=maps,
        scale=torch.ones(slices),
        sigma=torch.full((slices,), sigma),
    )
    return changed, image


def in_double(problem: Problem) -> Problem:
    return dataclasses.replace(
        problem,
        kspace=problem.kspace.to(torch.complex128),
        maps=problem.maps.to(torch.complex128),
        scale=problem.scale.double(),
        sigma=problem.sigma.double(),
    )


def relative(left: Tensor, right: Tensor) -> float:
    return float((left - right).norm() / right.norm())


@pytest.mark.parametrize("sets", [1, 2])
@pytest.mark.parametrize("denoiser_variance", [1e-3, 0.25])
def test_the_row_solver_agrees_with_converged_conjugate_gradients(sets: int, denoiser_variance: float) -> None:
    problem, _ = small_problem(size=24, sets=sets)
    double = in_double(problem)
    denoised = complex_normal(torch.Generator().manual_seed(3), 1, 2, sets, 24, 24).to(torch.complex128)
    weight = float(double.sigma) ** 2 / denoiser_variance
    maps = double.maps.unsqueeze(1)
    right = sense.adjoint(double.kspace.unsqueeze(1), maps, double.mask) + weight * denoised
    solved, steps = conjugate_gradients(
        lambda x: sense.normal(x, maps, double.mask) + weight * x, right, denoised, 1e-10, 2000
    )
    assert steps < 2000
    exact = hybrid_space_solver(double).mean(denoised, torch.full((1,), denoiser_variance, dtype=torch.float64))
    assert relative(exact, solved) < 1e-8
    single = hybrid_space_solver(problem).mean(denoised.to(torch.complex64), torch.full((1,), denoiser_variance))
    assert relative(single, solved) < 1e-5
    assert len(hybrid_space_solver(problem).modes.blocks) > 1  # rows of several widths, and of none
    iterative = iterative_system(problem).mean(denoised.to(torch.complex64), torch.full((1,), denoiser_variance))
    assert relative(iterative, solved) < 1e-3  # its documented tolerance of 1e-4 on the residual


@pytest.mark.parametrize("sets", [1, 2])
@pytest.mark.parametrize("hole", [False, True])
def test_rows_without_an_edge_and_with_a_hole_are_solved(sets: int, hole: bool) -> None:
    """Supports that fill the field of view, in every map set, and such as are not in one piece."""
    problem, image = small_problem(size=24, sets=sets)
    maps = torch.cat([smooth_maps(24, 4), smooth_maps(24, 4).roll(9, -1)])[None, :sets].contiguous()
    if hole:
        maps[..., 8:12] = 0
    problem = dataclasses.replace(problem, maps=maps)
    trusted, denoised = torch.full((1,), 0.25), image.unsqueeze(1)
    by_rows = hybrid_space_solver(problem).mean(denoised, trusted)
    assert relative(iterative_system(problem).mean(denoised, trusted), by_rows) < 1e-3


@pytest.mark.parametrize("solver", ["rows", "iterative"])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.6, 1.5), (1.0, torch.tensor([0.3]))])
def test_conditional_draws_have_the_right_mean_and_covariance(solver: str, weights: Weights) -> None:
    """Against the dense normal distribution; with weights (a, b) its covariance is P (a A^H A / s^2 + b /
    denoiser_variance) P."""
    size, denoiser_variance, sigma, count = 6, 0.3, 0.2, 20_000 if solver == "rows" else 5_000
    problem, _ = small_problem(size=size, coils=3, sigma=sigma)
    system: System = hybrid_space_solver(problem) if solver == "rows" else iterative_system(problem)
    denoised = complex_normal(torch.Generator().manual_seed(3), 1, 1, 1, size, size)
    units = torch.eye(size**2, dtype=torch.complex64).reshape(-1, 1, size, size)
    normal = sense.normal(units, problem.maps, problem.mask).reshape(size**2, -1).mT.to(torch.complex128)
    unit = torch.eye(size**2, dtype=normal.dtype)
    covariance = torch.linalg.inv(normal / sigma**2 + unit / denoiser_variance)
    back = sense.adjoint(problem.kspace, problem.maps, problem.mask).flatten()
    exact_mean = covariance @ (back / sigma**2 + denoised.flatten() / denoiser_variance).to(normal.dtype)
    wanted = covariance @ (weights[0] * normal / sigma**2 + weights[1] * unit / denoiser_variance) @ covariance
    mean, drawn = system.condition(
        denoised.expand(1, count, 1, size, size), torch.full((1,), denoiser_variance), BulkNoise(count), weights
    )
    assert relative(mean[0, 0].flatten().to(normal.dtype), exact_mean) < 1e-3
    gap = drawn[0, :, 0].flatten(1).to(normal.dtype) - exact_mean
    trace = wanted.diagonal().real.sum()
    assert float(gap.mean(0).norm() ** 2 / trace) < 4 / count * 2  # a mean of ``count`` draws
    found = gap.mT @ gap.conj() / count / 2  # per real component
    assert float((found - wanted).norm() / wanted.norm()) < 0.1
    assert float(found.diagonal().real.sum() / trace) == pytest.approx(1, abs=0.02)
    assert float((gap.mT @ gap / count).norm() / (2 * wanted.norm())) < 0.1  # circular: E[z z^T] = 0


@pytest.mark.parametrize("dimensions", [1, 2])
def test_a_draw_alone_is_the_draw_beside_the_mean(dimensions: int) -> None:
    """The same numbers of the same streams, from one solution instead of two."""
    problem, image = small_problem(dimensions=dimensions, slices=2)
    system, denoiser_variance, denoised = (
        system_of(problem),
        torch.tensor([0.05, 0.3]),
        image.unsqueeze(1).expand(-1, 3, -1, -1, -1),
    )
    beside, alone = (NoiseStreams(0, "draw", [0, 1], [0, 1, 2]) for _ in range(2))
    weights = (1.0, torch.tensor([0.5, 1.0]))
    difference = relative(
        system.draw(denoised, denoiser_variance, alone, weights),
        system.condition(denoised, denoiser_variance, beside, weights)[1],
    )
    assert difference < (1e-6 if dimensions == 1 else 1e-3)  # conjugate gradients: their tolerance, twice


@pytest.mark.parametrize(("dimensions", "sets"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_the_residual_is_the_direct_one(dimensions: int, sets: int) -> None:
    problem, _ = small_problem(sets=sets, dimensions=dimensions)
    image = complex_normal(torch.Generator().manual_seed(1), 1, 3, sets, 16, 16)
    direct = problem.kspace.unsqueeze(1) - sense.forward(image, problem.maps.unsqueeze(1), problem.mask)
    expected = direct.abs().pow(2).sum((-3, -2, -1))
    assert torch.allclose(system_of(problem).residual(image), expected, rtol=1e-4)


@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize("denoiser_variance", [0.02, 0.2])
def test_the_error_of_a_guess_is_found_from_the_scan(dimensions: int, denoiser_variance: float) -> None:
    problem, image = small_problem(size=32, dimensions=dimensions, sigma=0.05, slices=2)
    generator = torch.Generator().manual_seed(4)
    denoised = image.unsqueeze(1) + math.sqrt(denoiser_variance) * complex_normal(generator, 2, 3, 1, 32, 32)
    inside = (problem.maps.abs().sum((1, 2)) > 0).float().mean()
    estimate = system_of(problem).denoised_variance(denoised)
    assert estimate.shape == (2,)
    assert float(estimate.mean()) == pytest.approx(denoiser_variance, rel=0.15), float(inside)


@pytest.mark.parametrize("dimensions", [1, 2])
def test_what_no_image_explains_has_the_expected_size(dimensions: int) -> None:
    """Pure noise leaves 2 sigma^2 a degree of residual_dof, so no inflation is found; wrong coil maps leave more."""
    from recon.posterior.setup import noise_inflation

    problem, _ = small_problem(size=32, coils=6, dimensions=dimensions, sigma=0.05)
    assert float(noise_inflation(system_of(problem))) == pytest.approx(1, abs=0.05)
    wrong = dataclasses.replace(problem, maps=problem.maps.roll(5, -1))
    assert float(noise_inflation(system_of(wrong))) > 2


@pytest.mark.parametrize("understated", [3, 30, 300])
def test_noise_far_above_what_is_stated_is_found_and_nothing_more(understated: float) -> None:
    """Scans of very high SNR, whose maps explain them less well than the noise would allow: the noise is raised by what
    is missing. It once was by that many times again, until the image was not finite."""
    from recon.posterior.setup import noise_inflated_system

    problem, image = small_problem(size=64, coils=6, sigma=0.05)
    stated = dataclasses.replace(problem, sigma=problem.sigma / understated)
    system, raised = noise_inflated_system(stated)
    assert float(raised) == pytest.approx(understated, rel=0.05)
    true, _ = noise_inflated_system(problem)
    variance, denoised = torch.full((1,), 0.02), 0.9 * image.unsqueeze(1)
    assert relative(system.mean(denoised, variance), true.mean(denoised, variance)) < 0.01


@pytest.mark.parametrize("dimensions", [1, 2])
def test_a_slice_does_not_depend_on_its_batch(dimensions: int) -> None:
    problem, image = small_problem(size=16, dimensions=dimensions, slices=3)
    scale = torch.tensor([1.0, 5.0, 0.2]).reshape(3, 1, 1, 1)
    problem = dataclasses.replace(problem, kspace=problem.kspace * scale)
    alone = dataclasses.replace(
        problem, slices=(1,), kspace=problem.kspace[1:2], maps=problem.maps[1:2], scale=problem.scale[1:2],
        sigma=problem.sigma[1:2],
    )  # fmt: skip
    denoised = image.unsqueeze(1)
    together, single = system_of(problem), system_of(alone)
    denoiser_variance = torch.full((3,), 0.1)
    assert (
        relative(together.mean(denoised, denoiser_variance)[1:2], single.mean(denoised[1:2], denoiser_variance[:1]))
        < 1e-6
    )
    assert torch.allclose(together.residual_energy[1], single.residual_energy[0], rtol=1e-5)
    assert torch.allclose(together.residual_dof[1], single.residual_dof[0], rtol=1e-5)


def test_conjugate_gradients_stop_on_the_true_residual() -> None:
    problem, _ = small_problem(dimensions=2, slices=2)
    weight = 1e-3

    def operator(x: Tensor) -> Tensor:
        return sense.normal(x, problem.maps, problem.mask) + weight * x

    right = sense.adjoint(problem.kspace, problem.maps, problem.mask)
    solution, steps = conjugate_gradients(operator, right, torch.zeros_like(right))
    assert 5 < steps < 200
    gap = right - operator(solution)
    assert bool((gap.flatten(1).norm(dim=1) <= 1.0001e-4 * right.flatten(1).norm(dim=1)).all())
    zero, none = conjugate_gradients(operator, torch.zeros_like(right), torch.zeros_like(right))
    assert none == 0
    assert not zero.any()
    _, cut = conjugate_gradients(operator, right, torch.zeros_like(right), 1e-4, 3)
    assert cut == 3


@pytest.mark.parametrize("samples", [1, 3, 4])
@pytest.mark.parametrize("dimensions", [1, 2])
def test_what_was_seen_at_once_answers_as_if_asked_apart(dimensions: int, samples: int) -> None:
    """Coefficients handed on and noise transformed in pairs give what each question by itself gives."""

    def noise() -> AntitheticNoise:
        return AntitheticNoise(NoiseStreams(5, "pairs", [0, 1], range(samples)), samples)

    problem, image = small_problem(dimensions=dimensions, slices=2)
    system = system_of(problem)
    denoised = image.unsqueeze(1) + 0.1 * complex_normal(torch.Generator().manual_seed(6), 2, samples, 1, 16, 16)
    trusted = torch.tensor([0.02, 0.3])
    at_once, drawn = noise(), noise()
    seen = system.seen(denoised, at_once)
    assert torch.allclose(system.denoised_variance(seen), system.denoised_variance(denoised), rtol=1e-5)
    assert relative(system.mean(seen, trusted), system.mean(denoised, trusted)) < 1e-6
    assert relative(system.draw(seen, trusted, at_once), system.draw(denoised, trusted, drawn)) < 1e-5
    assert torch.equal(at_once(4), drawn(4))  # as many numbers were drawn
    again = system.seen(denoised, at_once)
    assert (
        relative(system.renoised(again, trusted, 0.2, at_once), system.renoised(denoised, trusted, 0.2, drawn)) < 1e-5
    )
    assert torch.equal(at_once(4), drawn(4))
    if dimensions == 1:
        pixels = NoiseStreams(5, "pairs", [0, 1], range(samples))(1, 16, 16)[:, : (samples + 1) // 2]
        whole = torch.cat((pixels, -pixels[:, : samples // 2]), 1)
        expected = system.coefficients(whole)
        found = system.seen(denoised, noise()).noise
        assert found is not None
        assert relative(found, expected) < 1e-6
