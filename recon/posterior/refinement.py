"""Coil maps refined by the data that they must explain, as in joint estimation of image and sensitivities.

ESPIRiT knows the calibration lines alone. Once there is a first image, every acquired line says something about the
maps: with X = F x, the Fourier transform of the image, a smooth correction of the map of coil c predicts

    y_c(k) - (A x)_c(k) = sum_b a_cb X(k - b),    |b| <= ORDER cycles over the field of view,

which is linear in the few coefficients a_cb, and has the same small Gram matrix for all coils. Image and maps are
solved for in turn (Ying and Sheng, JSENSE, Magn Reson Med 57:1196 (2007)). The ridge on the coefficients is chosen by
generalised cross-validation (Golub, Heath and Wahba, Technometrics 21:215 (1979)). Cross-validation takes X as known,
which in noise it is not: maps are refined only where the image leaves clearly more unexplained than noise would.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from recon.acquisition.fourier import to_kspace
from recon.acquisition.guard import guard_for
from recon.acquisition.problem import Problem, Receiver, calibrate
from recon.acquisition.sense import adjoint, forward, normal
from recon.posterior.iterative import conjugate_gradients
from recon.scan import Scan

ORDER = 8  # cycles over the field of view; the maps of head coil arrays have hardly any structure beyond
ROUNDS = 2
WORTHWHILE = 2.0  # power left unexplained, over that of the noise, above which errors of the maps dominate
STEPS = 20  # conjugate gradient steps for the image of a round
LOWEST, HIGHEST, STEP = -8.0, 2.0, 0.25  # decimal logarithms of the penalties, in units of the mean eigenvalue


def refined_problem(
    scan: Scan,
    receiver: Receiver,
    slices: Sequence[int],
    *,
    map_sets: int = 1,
    device: torch.device | str = "cpu",
) -> Problem:
    """The problem that posterior samplers solve: calibrated on a grid with a guard band, its maps refined.

    Baselines solve the problem of ``calibrate``, with the maps of the calibration lines, as is usual.
    """
    mask = torch.from_numpy(scan.mask)
    return refined(calibrate(scan, receiver, slices, map_sets=map_sets, device=device, guard=guard_for(mask)))


def refined(problem: Problem, order: int = ORDER, rounds: int = ROUNDS) -> Problem:
    """The problem with its maps refined; a problem of two map sets comes back unchanged.

    The maps keep their support, unit norm and phase convention. What is done for a slice depends on it alone.
    """
    if problem.maps.shape[1] != 1:
        return problem
    maps = problem.maps
    where = problem.mask.expand(maps.shape[-2:]).flatten().nonzero().flatten()
    weight = (problem.sigma**2).reshape(-1, 1, 1, 1)
    image = torch.zeros_like(maps[:, :, 0])
    wrong = torch.ones_like(problem.sigma, dtype=torch.bool)
    for _ in range(rounds):
        current = maps

        def damped(x: Tensor, current: Tensor = current) -> Tensor:
            return normal(x, current, problem.mask) + weight * x

        image, _ = conjugate_gradients(damped, adjoint(problem.kspace, maps, problem.mask), image, 1e-3, STEPS)
        residual = problem.kspace - forward(image, maps, problem.mask)
        pairs = zip(residual, image, maps, strict=True)
        found = torch.stack([_corrected(left, x[0], old[0], where, order).unsqueeze(0) for left, x, old in pairs])
        wrong = wrong & (_unexplained(problem, residual) > WORTHWHILE)
        maps = torch.where(wrong.reshape(-1, 1, 1, 1, 1), found, maps)
    turned = (problem.maps.conj() * maps).sum(2, True)
    return replace(problem, maps=maps * torch.polar(torch.ones_like(turned.real), -turned.angle()))


def _unexplained(problem: Problem, residual: Tensor) -> Tensor:
    """``[slice]``: the power left over in each degree of freedom, over that of the noise; 0 where few are left."""
    samples = problem.mask.expand(residual.shape[-2:]).sum() * residual.shape[1]
    unknowns = (problem.maps.abs().sum((1, 2)) > 0).sum((1, 2))
    freedom = samples - unknowns
    ratio = residual.abs().pow(2).sum((1, 2, 3)) / (2 * freedom.clamp_min(1) * problem.sigma**2)
    return torch.where(freedom > 0.1 * samples, ratio, torch.zeros_like(ratio))


def _corrected(residual: Tensor, image: Tensor, maps: Tensor, where: Tensor, order: int) -> Tensor:
    """``maps [coil, readout, phase]`` with the smooth correction that explains most of what they left over.

    ``where`` holds the acquired positions in flattened kspace."""
    span = range(-order, order + 1)
    shifts = [(a, b) for a in span for b in span if a * a + b * b <= order * order]
    spectrum = to_kspace(image)
    columns = torch.stack([spectrum.roll(shift, (0, 1)).flatten()[where] for shift in shifts], 1)  # [sample, shift]
    coefficients = _ridge(columns, residual.flatten(1)[:, where].mT)
    grid = maps.new_zeros((maps.shape[0], len(span), len(span)))
    for (a, b), values in zip(shifts, coefficients, strict=True):
        grid[:, a + order, b + order] = values
    rows, phases = (_waves(size, order, maps) for size in maps.shape[-2:])
    found = maps + torch.einsum("ra,cab,pb->crp", rows, grid, phases)
    return found / found.norm(dim=0).clamp_min(1e-6) * (maps.norm(dim=0) > 0)


def _waves(size: int, order: int, like: Tensor) -> Tensor:
    """exp(2 pi i b r / size), ``[position, frequency]``, r from the centre: what a shift of kspace by b becomes."""
    position = (torch.arange(size, device=like.device) - size // 2) / size
    angle = 2 * torch.pi * torch.outer(position, torch.arange(-order, order + 1, device=like.device))
    return torch.polar(torch.ones_like(angle), angle).to(like.dtype)


def _ridge(columns: Tensor, targets: Tensor) -> Tensor:
    """Ridge regression ``[column, target]`` with the penalty of least generalised cross-validation score."""
    values, vectors = torch.linalg.eigh((columns.mH @ columns).to(torch.complex128))
    values = values.clamp_min(0)
    projected = vectors.mH @ (columns.mH @ targets).to(torch.complex128)
    energy, power = targets.abs().double().pow(2).sum(), projected.abs().pow(2).sum(1)
    logarithms = torch.arange(LOWEST, HIGHEST + STEP, STEP, dtype=torch.float64, device=values.device)
    penalties = 10 ** logarithms.unsqueeze(1) * values.mean().clamp_min(1e-30)
    shrunk = values + penalties
    residual = energy - (power * (values + 2 * penalties) / shrunk**2).sum(1)
    score = residual.clamp_min(0) / (columns.shape[0] - (values / shrunk).sum(1)) ** 2
    penalty = penalties.index_select(0, score.argmin().reshape(1))[0]  # an index in a tensor would wait for a GPU
    return (vectors @ (projected / (values + penalty).unsqueeze(1))).to(targets.dtype)
