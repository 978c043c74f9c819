"""Judging a scan that has no reference: on samples that were measured but withheld from the reconstruction.

A part of the acquired samples outside the calibration region is held out. From the rest an image x is made, and the
kspace that it predicts at the held-out positions, through the same coil maps, is compared with what was measured there:

    error = |A_h x - y_h| / |y_h|        in whitened virtual channels, over all slices

The measured samples carry noise, so even the true image does not reach zero: ``noise_floor`` is what it leaves.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.acquisition.coils import apply_coil_matrix
from recon.acquisition.guard import pad
from recon.acquisition.masks import centre_block
from recon.acquisition.problem import CoilPreprocessing, Problem, calibrate, preprocess_coils
from recon.acquisition.sense import forward
from recon.benchmark.oracle import best_over_weights
from recon.errors import ReconError
from recon.posterior.model_error import noise_inflated_system
from recon.posterior.refinement import refined_problem
from recon.posterior.system import system_of
from recon.prior.store import Prior
from recon.reconstruction import baselines
from recon.reconstruction.pipeline import ReconstructionOptions, plan_for, posterior_mean
from recon.reconstruction.wavelet import default_weight
from recon.scan import Scan
from recon.scans.derived import with_mask
from recon.seeding import numpy_generator


@dataclass(frozen=True)
class HeldOut:
    """A scan without its held-out samples, and which these are (mask of the scan's own form)."""

    scan: Scan
    held: NDArray[np.bool_]


def hold_out(scan: Scan, fraction: float, seed: int) -> HeldOut:
    """Withhold ``fraction`` of the acquired positions outside the calibration region (whole lines for a 1-D mask).

    Raises ReconError when the fraction is out of range or nothing would be left on either side.
    """
    if not 0 < fraction < 0.9:
        raise ReconError(f"the held-out fraction must lie between 0 and 0.9, not {fraction}")
    candidates = scan.mask.copy()
    if scan.calibration_kspace is None:
        blocks = [centre_block(size, width) for size, width in zip(scan.shape[2:], scan.calibration, strict=True)]
        candidates[tuple(blocks[2 - scan.mask.ndim :])] = False
    places = np.flatnonzero(candidates)
    count = round(fraction * places.size)
    if not 0 < count < places.size:
        raise ReconError(f"{scan.path}: {places.size} samples outside the calibration are too few to hold some out")
    held = np.zeros(scan.mask.shape, bool)
    held.flat[numpy_generator(seed, scan.digest, "held out").choice(places, count, replace=False)] = True
    return HeldOut(with_mask(scan, scan.mask & ~held), held)


@dataclass(frozen=True)
class Withheld:
    """The problem of some slices, and the withheld ``kspace [slice, coil, readout, phase]`` in its units."""

    problem: Problem
    mask: Tensor
    kspace: Tensor

    def predict(self, image: Tensor) -> Tensor:
        """Kspace at the held-out positions that ``image [slice, set, readout, phase]`` predicts, zero elsewhere."""
        return forward(image, self.problem.maps, self.mask)

    def error(self, image: Tensor) -> float:
        """``|A_h x - y_h| / |y_h|``."""
        return float((self.predict(image) - self.kspace).norm() / self.kspace.norm())

    def noise_floor(self) -> float:
        """The expected error of the true image: sqrt(2 m) sigma / |y_h|."""
        each = 2 * self.problem.kspace.shape[1] * self._positions() * self.problem.sigma**2
        return math.sqrt(float(each.sum())) / float(self.kspace.norm())

    def _positions(self) -> int:
        readout, phase = self.kspace.shape[-2:]
        return int(torch.broadcast_to(self.mask, (readout, phase)).sum())


def withheld_problem(
    whole: Scan,
    part: HeldOut,
    preprocessing: CoilPreprocessing,
    slices: range,
    device: torch.device | str = "cpu",
    map_sets: int = 1,
    *,
    refine: bool = False,
) -> Withheld:
    """Calibrate ``part`` for some slices and bring the samples that it lacks into the same channels and units.

    ``refine`` gives the problem that posterior samplers solve, see ``recon.posterior.refinement``.

    Raises ReconError for a 1-D mask with readout oversampling, which calibration removes.
    """
    if whole.mask.ndim == 1 and whole.image_shape[0] < whole.shape[2]:
        raise ReconError(f"{whole.path}: holding out lines needs a scan without readout oversampling")
    if refine:
        problem, _ = refined_problem(part.scan, preprocessing, slices, map_sets=map_sets, device=device)
    else:
        problem = calibrate(part.scan, preprocessing, slices, map_sets=map_sets, device=device)
    mask = torch.from_numpy(part.held).to(device)
    measured = torch.stack([torch.from_numpy(whole.read_kspace(index) * part.held) for index in slices]).to(device)
    kspace = pad(apply_coil_matrix(preprocessing.whiten_compress.to(device), measured), problem.guard)
    return Withheld(
        problem, pad(mask, problem.guard), kspace * (problem.guard_scale / problem.scale)[:, None, None, None]
    )


def score_held_out(
    scan: Scan,
    prior: Prior,
    options: ReconstructionOptions,
    *,
    fraction: float = 0.15,
    oracle: bool = True,
    device: torch.device | str = "cpu",
    report: Callable[[str, float], None] = lambda stage, done: None,
) -> list[dict[str, Any]]:
    """Held-out errors of the prior's posterior mean and of SENSE and L1-wavelet, with their default weights and, as an
    ``oracle``, with the weights that do best on the held-out samples themselves.

    One row a method: ``method``, ``oracle``, ``weight``, ``held_out_nrmse``, ``noise_floor``, ``fraction``. Raises
    ReconError as ``hold_out`` does.
    """
    part = hold_out(scan, fraction, options.seed)
    preprocessing = preprocess_coils(part.scan, coils=options.coils, noise_sigma=options.noise_sigma, device=device)
    slices = range(scan.shape[0])
    report("calibrating", 0.0)
    data = withheld_problem(scan, part, preprocessing, slices, device, options.map_sets)
    problem, system = data.problem, system_of(data.problem)
    rows: list[dict[str, Any]] = []

    def add(method: str, image: Tensor, weight: float | None = None, tuned: bool = False) -> None:
        rows.append(
            {
                "method": method,
                "oracle": tuned,
                "weight": weight,
                "held_out_nrmse": data.error(image),
                "noise_floor": data.noise_floor(),
                "fraction": fraction,
            }
        )

    add("zero-filled", baselines.zero_filled(problem))
    report("SENSE", 0.05)
    add("sense", baselines.cg_sense(system))
    report("L1-wavelet", 0.1)
    add("l1-wavelet", baselines.l1_wavelet(problem))
    if oracle:
        report("SENSE, tuned", 0.2)
        tuned = _tune(
            data, lambda weight: baselines.cg_sense(system, weight), np.geomspace(1e-5, 1, 9).astype(np.float64)
        )
        add("sense", tuned[0], tuned[1], True)
        report("L1-wavelet, tuned", 0.3)
        centre = default_weight(float(problem.sigma.median()))
        tuned = _tune(data, lambda weight: baselines.l1_wavelet(problem, weight), centre * 2.0 ** np.arange(-4.0, 6.0))
        add("l1-wavelet", tuned[0], tuned[1], True)
    report("posterior", 0.5)
    data = withheld_problem(scan, part, preprocessing, slices, device, options.map_sets, refine=True)
    problem = data.problem
    explained = noise_inflated_system(problem)[0]
    plan = plan_for(options, part.scan.acceleration, preprocessing.sigma)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        report("posterior", 0.5 + 0.5 * min(done / plan.schedule.steps, 1))

    add("posterior", posterior_mean(part.scan, problem, explained, options, plan, prior, device=device, report=step))
    return rows


def _tune(data: Withheld, solve: Callable[[float], Tensor], weights: NDArray[np.float64]) -> tuple[Tensor, float]:
    """The image and weight of least held-out error: the oracle's search with predicted against measured samples."""
    place = torch.broadcast_to(data.mask, data.kspace.shape)

    def flat(kspace: Tensor) -> NDArray[np.float64]:
        values = torch.view_as_real(kspace[place]).double().cpu().numpy()
        return values.reshape(1, -1, 2)

    best = best_over_weights(
        lambda weight: flat(data.predict(solve(weight))),
        flat(data.kspace),
        [float(w) for w in weights],
    )
    return solve(best.weight), best.weight
