"""Coil maps refined by the data that they must explain, as in joint estimation of image and sensitivities.

ESPIRiT knows the calibration lines alone. Once there is a first image, every acquired line says something about the
maps: with X = F x, the Fourier transform of the image, a smooth correction of the map of coil c predicts

    y_c(k) - (A x)_c(k) = sum_b a_cb X(k - b),    |b| <= ORDER cycles over the field of view,

which is linear in the few coefficients a_cb, and has the same small Gram matrix for all coils. Ying and Sheng (JSENSE,
Magn Reson Med 57:1196 (2007)) solve for image and maps in turn; here a second turn gained nothing. The ridge on the
coefficients is chosen by generalised cross-validation (Golub, Heath and Wahba, Technometrics 21:215 (1979)).
Cross-validation takes X as known, which in noise it is not: maps are refined only where the image leaves clearly more
unexplained than noise would.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from recon.acquisition.fourier import to_kspace, waves
from recon.acquisition.guard import guard_for
from recon.acquisition.problem import CoilPreprocessing, Problem, calibrate
from recon.acquisition.sense import adjoint, forward, normal
from recon.posterior.iterative import conjugate_gradients
from recon.posterior.least_squares import LeastSquares, least_squares
from recon.scan import Scan

ORDER = 8  # cycles over the field of view; the maps of head coil arrays have hardly any structure beyond
RESIDUAL_THRESHOLD = 2.0  # power left unexplained, over that of the noise, above which errors of the maps dominate
STEPS = 20  # conjugate gradient steps for an image that cannot be solved for row by row
LOWEST, HIGHEST, STEP = -8.0, 2.0, 0.25  # decimal logarithms of the penalties, in units of the mean eigenvalue


def refined_problem(
    scan: Scan,
    preprocessing: CoilPreprocessing,
    slices: Sequence[int],
    *,
    map_sets: int = 1,
    device: torch.device | str = "cpu",
    stage: Callable[[str], AbstractContextManager[None]] = lambda name: nullcontext(),
) -> tuple[Problem, LeastSquares | None]:
    """The problem that posterior samplers solve, calibrated on a grid with a guard band, its maps refined; and its
    least-squares image, see ``refined``.

    ``stage(name)`` surrounds each of the two, to time them. Baselines solve the problem of ``calibrate``, with the maps
    of the calibration lines, as is usual.
    """
    mask = torch.from_numpy(scan.mask)
    with stage("calibration"):
        problem = calibrate(scan, preprocessing, slices, map_sets=map_sets, device=device, guard=guard_for(mask))
    with stage("map refinement"):
        return refined(problem)


def refined(problem: Problem, order: int = ORDER) -> tuple[Problem, LeastSquares | None]:
    """The problem with its maps refined; a problem of two map sets comes back unchanged. Its least-squares image comes
    along where it was computed and the maps stayed as they were.

    The maps keep their support, unit norm and phase convention. What is done for a slice depends on it alone.
    """
    if problem.maps.shape[1] != 1:
        return problem, None
    fit = least_squares(problem) if problem.mask.dim() == 1 else None
    if fit is None:
        image = _image(problem)
        excess = _unexplained(problem, problem.kspace - forward(image, problem.maps, problem.mask))
    else:
        image, excess = fit.image, _excess(problem, fit.residual_energy.sum(-1))
    wrong = (excess > RESIDUAL_THRESHOLD).tolist()
    if not any(wrong):
        return problem, fit
    where = problem.mask.expand(problem.maps.shape[-2:]).flatten().nonzero().flatten()
    maps = problem.maps.clone()
    for index, (entry, old) in enumerate(zip(wrong, problem.maps[:, 0], strict=True)):
        if entry:
            residual = problem.kspace[index] - forward(image[index], problem.maps[index], problem.mask)
            found = _corrected(residual, image[index, 0], old, where, order)
            turned = (old.conj() * found).sum(0)
            maps[index, 0] = found * torch.polar(torch.ones_like(turned.real), -turned.angle())
    return replace(problem, maps=maps), None


def _image(problem: Problem) -> Tensor:
    """The image ``[slice, set, readout, phase]`` that explains the data best, for masks along both axes."""
    weight = (problem.sigma**2).reshape(-1, 1, 1, 1)
    back = adjoint(problem.kspace, problem.maps, problem.mask)

    def damped(image: Tensor) -> Tensor:
        return normal(image, problem.maps, problem.mask) + weight * image

    return conjugate_gradients(damped, back, torch.zeros_like(back), 1e-3, STEPS)[0]


def _unexplained(problem: Problem, residual: Tensor) -> Tensor:
    """``[slice]``: the power left over in each degree of residual_dof, over that of the noise; 0 where few are left."""
    return _excess(problem, residual.abs().pow(2).sum((1, 2, 3)))


def _excess(problem: Problem, energy: Tensor) -> Tensor:
    """``_unexplained`` of what is left over of each slice in all, ``energy [slice]``."""
    samples = problem.mask.expand(problem.kspace.shape[-2:]).sum() * problem.kspace.shape[1]
    unknowns = (problem.maps.abs().sum((1, 2)) > 0).sum((1, 2))
    residual_dof = samples - unknowns
    ratio = energy / (2 * residual_dof.clamp_min(1) * problem.sigma**2)
    return torch.where(residual_dof > 0.1 * samples, ratio, torch.zeros_like(ratio))


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
    rows, phases = (waves(size, order, like=maps) for size in maps.shape[-2:])
    found = maps + torch.einsum("ra,cab,pb->crp", rows, grid, phases)
    return found / found.norm(dim=0).clamp_min(1e-6) * (maps.norm(dim=0) > 0)


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
