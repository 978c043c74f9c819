"""Judging a scan that has no reference: on samples that were measured but withheld from the reconstruction.

A part of the acquired samples outside the calibration region is held out. From the rest an image x is made, and the
kspace that it predicts at the held-out positions, through the same coil maps, is compared with what was measured there:

    error = |A_h x - y_h| / |y_h|        in whitened virtual channels, over all slices

The measured samples carry noise, so even the true image does not reach zero: ``noise_floor`` is what it leaves.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.acquisition.coils import apply_coil_matrix
from recon.acquisition.guard import pad
from recon.acquisition.masks import centre_block
from recon.acquisition.problem import Problem, in_unit
from recon.acquisition.sense import forward
from recon.benchmark.oracle import best_over_weights
from recon.errors import ReconError
from recon.prior.store import Prior
from recon.progress import Report, silent
from recon.reconstruction.methods import METHODS, Method, options_of
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import Solver, solver_for
from recon.reconstruction.preparing import Measurement, Prepared
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
    held.flat[numpy_generator(seed, scan.identity, "held out").choice(places, count, replace=False)] = True
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


def withheld(whole: Scan, part: HeldOut, measurement: Measurement, prepared: Prepared) -> Withheld:
    """The samples that ``part`` lacks, in the channels, units and grid of its ``prepared`` slices.

    Raises ReconError for a 1-D mask with readout oversampling, which calibration removes.
    """
    if whole.mask.ndim == 1 and whole.image_shape[0] < whole.shape[2]:
        raise ReconError(f"{whole.path}: holding out lines needs a scan without readout oversampling")
    problem, device = prepared.problem, measurement.device
    mask = torch.from_numpy(part.held).to(device)
    slices = [torch.from_numpy(whole.read_kspace(index) * part.held) for index in problem.slices]
    measured = in_unit(torch.stack(slices).to(device), problem.unit)
    mixed = apply_coil_matrix(measurement.preprocessing.whiten_compress.to(device), measured)
    kspace = pad(mixed, problem.guard) * (problem.guard_scale / problem.scale)[:, None, None, None]
    return Withheld(problem, pad(mask, problem.guard), kspace)


def score_held_out(
    scan: Scan,
    prior: Prior,
    options: ReconstructionOptions,
    methods: Sequence[str] | None = None,
    *,
    fraction: float = 0.15,
    oracle: bool = True,
    device: torch.device | str = "cpu",
    report: Report = silent,
) -> list[dict[str, Any]]:
    """Held-out errors of some methods with their default weights and, as an ``oracle``, of those that have a weight
    with the one that does best on the held-out samples themselves.

    One row a method: ``method``, ``oracle``, ``weight``, ``held_out_nrmse``, ``noise_floor``, ``fraction``,
    ``seconds``, ``network_calls``. ``options`` are those of every method; each reads its own.
    Without ``methods`` all that have a default for such a mask are compared. Raises ReconError as
    ``hold_out`` does.
    """
    part = hold_out(scan, fraction, options.seed)
    rows: list[dict[str, Any]] = []
    chosen = [METHODS[name] for name in methods or METHODS if methods or _works_untuned(METHODS[name], scan)]
    costs = [method.duration(ReconstructionOptions(method=method.name), part.scan.acceleration) for method in chosen]
    for number, method in enumerate(chosen):
        behind, share = sum(costs[:number]) / sum(costs), costs[number] / sum(costs)
        report(method.name, behind)
        began = time.perf_counter()
        solver = solver_for(part.scan, options_of(method, options), prior, device=device)
        prepared = solver.prepare(range(scan.shape[0]))
        data = withheld(scan, part, solver.measurement, prepared)
        steps = solver.plan.steps if solver.plan else 1
        done = 0

        def step(name: str = method.name, behind: float = behind, share: float = share, steps: int = steps) -> None:
            nonlocal done
            done += 1
            report(name, behind + share * min(done / steps, 1.0))

        solution = solver.solve(prepared, step)
        common = {"method": method.name, "noise_floor": data.noise_floor(), "fraction": fraction}
        rows.append(
            {
                **common,
                "oracle": False,
                "weight": solver.options.weight,
                "held_out_nrmse": data.error(solution.image),
                "seconds": time.perf_counter() - began,
                "network_calls": solution.network_calls,
            }
        )
        if oracle and method.tuning is not None:
            report(f"{method.name}, tuned", behind)
            weight, error = _tune(data, solver, prepared)
            rows.append({**common, "oracle": True, "weight": weight, "held_out_nrmse": error})
    return rows


def _works_untuned(method: Method, scan: Scan) -> bool:
    """Whether a method has a default for this scan: what is compared unless methods are named."""
    return not (method.tuning is not None and method.tuning.always) and (scan.mask.ndim in method.masks)


def _tune(data: Withheld, solver: Solver, prepared: Prepared) -> tuple[float, float]:
    """The weight of least held-out error and that error: the oracle's search with predicted against measured
    samples."""
    assert solver.method.tuning is not None
    place = torch.broadcast_to(data.mask, data.kspace.shape)

    def flat(kspace: Tensor) -> NDArray[np.float64]:
        values = torch.view_as_real(kspace[place]).double().cpu().numpy()
        return values.reshape(1, -1, 2)

    def predicted(weight: float) -> NDArray[np.float64]:
        tried = replace(solver, options=replace(solver.options, weight=weight))
        return flat(data.predict(tried.solve(prepared).image))

    best = best_over_weights(predicted, flat(data.kspace), list(solver.method.tuning.weights(prepared)))
    return best.weight, best.nrmse
