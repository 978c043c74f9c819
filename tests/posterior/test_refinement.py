"""The model of a posterior sampler: a guard band around kspace, and coil maps refined by all acquired lines."""

import dataclasses

import pytest
import torch
from torch import Tensor

from recon.acquisition import sense
from recon.acquisition.fourier import centre_slice, to_image, to_kspace
from recon.acquisition.guard import WIDTH, Guard, guard_for, guard_scale, pad, unpad
from recon.acquisition.problem import Problem
from recon.posterior.iterative import conjugate_gradients
from recon.posterior.refinement import refined

FINE, GRID, COILS = (120, 112), (64, 60), 6


@pytest.mark.parametrize("shape", [(8, 7), (9, 8)])
@pytest.mark.parametrize("guard", [(0, 0), (0, 2), (3, 1)])
def test_a_guard_band_is_added_and_taken_away(shape: tuple[int, int], guard: Guard) -> None:
    generator = torch.Generator().manual_seed(0)
    kspace = torch.randn((2, *shape), generator=generator, dtype=torch.complex64)
    larger = pad(kspace, guard)
    assert larger.shape[-2:] == (shape[0] + 2 * guard[0], shape[1] + 2 * guard[1])
    assert torch.equal(unpad(larger, guard), kspace)
    # The centre of kspace stays the centre, and images keep their values: a constant image is the same constant.
    flat = to_image(pad(to_kspace(torch.ones(shape, dtype=torch.complex64)), guard) * guard_scale(shape, guard))
    assert torch.allclose(flat, torch.ones_like(flat), atol=1e-5)
    lines = pad(torch.ones(shape[1], dtype=torch.bool), guard)
    assert lines.shape[0] == shape[1] + 2 * guard[1]
    assert int(lines.sum()) == shape[1]


def test_only_phase_encoded_axes_get_a_band() -> None:
    assert guard_for(torch.ones(8, dtype=torch.bool)) == (0, WIDTH)
    assert guard_for(torch.ones((8, 8), dtype=torch.bool)) == (WIDTH, WIDTH)
    assert guard_for(torch.ones((230, 180), dtype=torch.bool)) == (5, 6), "240 x 192"


def smooth_maps(shape: tuple[int, int], seed: int, strength: float = 1.0) -> Tensor:
    """``[coil, readout, phase]``: a constant and a few Fourier coefficients, not normalised."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = ((torch.arange(size) - size // 2) / size for size in shape)
    turns = torch.arange(COILS) * (2 * torch.pi / COILS)
    maps = strength * 3 * torch.polar(torch.ones(COILS), turns)[:, None, None].expand(COILS, *shape)
    for a in range(-2, 3):
        for b in range(-2, 3):
            wave = torch.polar(torch.ones(shape), 2 * torch.pi * (a * rows[:, None] + b * columns))
            weight = torch.randn(COILS, generator=generator, dtype=torch.complex64) / (1 + a * a + b * b)
            maps = maps + strength * weight[:, None, None] * wave
    return maps


def head(shape: tuple[int, int]) -> Tensor:
    """An ellipse with sharp edges and three holes: its kspace is far from zero at the edge of ``GRID``."""
    rows, columns = ((torch.arange(size) - size // 2) / size for size in shape)
    radius = (rows[:, None] / 0.38) ** 2 + (columns / 0.36) ** 2
    image = (radius < 1) + 0.7 * (radius < 0.8)
    for y, x in ((-0.15, 0.1), (0.1, 0.12), (0.05, -0.15)):
        image = image - 0.8 * ((rows[:, None] - y) ** 2 + (columns - x) ** 2 < 0.003)
    return image


def scan_of_a_finer_head(guard: Guard, noise: float = 0.0, acceleration: int = 1) -> tuple[Problem, Tensor]:
    """The problem that a scanner poses which samples ``GRID`` of a head's continuous kspace, with the true maps, and
    those before they were normalised; the continuum is a finer grid."""
    maps = smooth_maps(FINE, 1)
    rows, columns = (centre_slice(fine, size) for fine, size in zip(FINE, GRID, strict=True))
    factor = (GRID[0] * GRID[1] / (FINE[0] * FINE[1])) ** 0.5
    kspace = to_kspace(maps * head(FINE))[:, rows, columns] * factor
    generator = torch.Generator().manual_seed(3)
    kspace = kspace + noise * 2**0.5 * torch.randn(kspace.shape, generator=generator, dtype=torch.complex64)
    mask = torch.zeros(GRID[1], dtype=torch.bool)
    mask[::acceleration] = True
    mask[centre_slice(GRID[1], 16)] = True
    larger = (GRID[0] + 2 * guard[0], GRID[1] + 2 * guard[1])
    true = smooth_maps(larger, 1)
    y, x = ((torch.arange(size) - size // 2) / size for size in larger)
    inside = ((y[:, None] / 0.42) ** 2 + (x / 0.4) ** 2 < 1).float()
    true = true / true.norm(dim=0) * inside
    bigger = guard_scale(GRID, guard)
    return (
        Problem(
            slices=(0,),
            kspace=(pad(kspace * mask, guard) * bigger)[None],
            mask=pad(mask, guard),
            maps=true[None, None],
            scale=torch.ones(1),
            sigma=torch.tensor([max(noise, 1e-3) * bigger]),
            restore_coils=torch.eye(COILS, dtype=torch.complex64),
            crop=(slice(0, GRID[0]), slice(0, GRID[1])),
            guard=guard,
        ),
        inside,
    )


def unexplained(problem: Problem) -> Tensor:
    """What the best image leaves over of the kspace on the scanner's grid: ``[coil, readout, phase]``."""
    maps, mask = problem.maps, problem.mask
    back = sense.adjoint(problem.kspace, maps, mask)
    image, _ = conjugate_gradients(
        lambda x: sense.normal(x, maps, mask) + 1e-5 * x, back, torch.zeros_like(back), 1e-4, 100
    )
    left = problem.kspace - sense.forward(image, maps, mask)
    return unpad(left[0], problem.guard) / problem.guard_scale


def test_without_a_band_no_image_explains_the_edge_of_kspace() -> None:
    without, along_phase, around = (unexplained(scan_of_a_finer_head(guard)[0]) for guard in ((0, 0), (0, 4), (4, 4)))
    for edge in (0, -1):
        assert float(along_phase[..., edge].norm()) < 0.4 * float(without[..., edge].norm())
        assert float(around[:, edge].norm()) < 0.7 * float(without[:, edge].norm())
    assert float(around.norm()) < float(along_phase.norm()) < float(without.norm())


def test_what_is_shown_does_not_know_of_the_band() -> None:
    """The magnitude of an image on the larger grid is the root sum of squares of its coils' acquired kspace."""
    problem, _ = scan_of_a_finer_head((2, 4))
    coils = torch.randn(problem.maps.shape[-2:], generator=torch.Generator().manual_seed(5)).to(torch.complex64)
    shown = problem.magnitude(coils[None, None])
    kspace = unpad(to_kspace(problem.maps[0, 0] * coils), problem.guard) / problem.guard_scale
    assert shown.shape == (1, *GRID)
    assert torch.allclose(shown[0], to_image(kspace).norm(dim=0), atol=1e-5)
    plain = problem.without_guard(coils)
    assert plain.shape == GRID
    assert torch.allclose(to_kspace(plain), unpad(to_kspace(coils), problem.guard) / problem.guard_scale, atol=1e-5)


def with_wrong_maps(problem: Problem, inside: Tensor, strength: float) -> Problem:
    """The problem with a smooth error added to its maps."""
    wrong = problem.maps[0, 0] + strength * smooth_maps((inside.shape[0], inside.shape[1]), 9) * inside
    wrong = wrong / wrong.norm(dim=0).clamp_min(1e-6) * inside
    return dataclasses.replace(problem, maps=wrong[None, None])


def map_error(problem: Problem, true: Problem) -> float:
    """Root mean square sine of the angle between the maps of two problems."""
    overlap = (problem.maps[0, 0].conj() * true.maps[0, 0]).sum(0).abs()
    seen = pad(head(GRID), true.guard) > 0.5
    return float((1 - overlap[seen].clamp_max(1) ** 2).mean().sqrt())


@pytest.mark.parametrize("mask", ["lines", "points"])
def test_all_acquired_lines_correct_the_maps(mask: str) -> None:
    true, inside = scan_of_a_finer_head((4, 4) if mask == "points" else (0, 4), 1e-3, 2)
    if mask == "points":
        true = dataclasses.replace(
            true, mask=true.mask.expand(true.maps.shape[-2:]) & pad(torch.ones(GRID) > 0, (4, 4))
        )
    wrong = with_wrong_maps(true, inside, 0.03)
    better, _ = refined(wrong)
    assert map_error(wrong, true) > 0.02
    assert map_error(better, true) < 0.3 * map_error(wrong, true)
    assert float(unexplained(better).norm()) < 0.3 * float(unexplained(wrong).norm())


def test_refined_maps_keep_support_norm_and_phase() -> None:
    true, inside = scan_of_a_finer_head((0, 4), 1e-3, 2)
    wrong = with_wrong_maps(true, inside, 0.03)
    better = refined(wrong)[0].maps[0, 0]
    assert torch.allclose(better.norm(dim=0), inside, atol=1e-4)
    seen = (wrong.maps[0, 0].conj() * better).sum(0)[inside > 0]
    assert float(seen.angle().abs().max()) < 1e-3


@pytest.mark.parametrize("noise", [0.2, 0.5])
def test_noise_does_not_spoil_the_maps(noise: float) -> None:
    true, inside = scan_of_a_finer_head((0, 4), noise, 2)
    wrong = with_wrong_maps(true, inside, 0.01)
    assert map_error(refined(wrong)[0], true) < 1.25 * map_error(wrong, true)


def test_a_slice_is_refined_alone_and_scale_does_not_matter() -> None:
    true, inside = scan_of_a_finer_head((0, 4), 1e-3, 2)
    wrong = with_wrong_maps(true, inside, 0.03)
    alone = refined(wrong)[0].maps
    louder = dataclasses.replace(wrong, kspace=7 * wrong.kspace, sigma=wrong.sigma)
    other = refined(louder)[0].maps
    two = dataclasses.replace(
        wrong,
        slices=(0, 1),
        kspace=torch.cat([wrong.kspace, 7 * wrong.kspace]),
        maps=wrong.maps.expand(2, -1, -1, -1, -1),
        scale=torch.ones(2),
        sigma=wrong.sigma.expand(2),
    )
    together = refined(two)[0].maps
    assert torch.allclose(together[:1], alone, atol=1e-5)
    assert torch.allclose(together[1:], other, atol=1e-5)


def test_two_map_sets_come_back_as_they_are() -> None:
    true, _ = scan_of_a_finer_head((0, 4), 1e-3, 2)
    both = dataclasses.replace(true, maps=true.maps.repeat(1, 2, 1, 1, 1))
    assert refined(both)[0] is both
