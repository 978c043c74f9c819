"""Every sampler and baseline side by side on one fully sampled scan, retrospectively undersampled.

Each method runs through ``recon.reconstruction.pipeline.reconstruct``, as for any user, and its images are compared
with the root sum of squares of the fully sampled scan. Two kinds of help are granted on request, and marked in the
table:

    oracle   SENSE and L1-wavelet with the weight of least error against the reference, for each case anew. No real
             reconstruction can have it; it makes the comparison as hard as it can be.
    tuned    DPS, which has a weight that must be found by hand, gets the best of three on the reference.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from recon.acquisition.masks import draw_mask
from recon.acquisition.problem import calibrate, preprocess_coils
from recon.acquisition.rss import reference_image
from recon.benchmark.oracle import best_over_weights
from recon.errors import ReconError
from recon.images.result import read_result
from recon.posterior.system import system_of
from recon.prior.store import Prior
from recon.quality.metrics import evaluate
from recon.reconstruction import baselines
from recon.reconstruction.pipeline import Method, ReconstructionOptions, Sampler, plan_for, reconstruct
from recon.reconstruction.wavelet import default_weight
from recon.scan import Scan
from recon.scans.derived import require_fully_sampled, with_axes_swapped, with_mask, with_noise
from recon.seeding import numpy_generator

Axis = Literal["phase", "readout"]
CLASSICAL: tuple[Method, ...] = ("zero-filled", "grappa", "sense", "l1-wavelet")
SENSE_WEIGHTS = tuple(float(w) for w in np.geomspace(1e-5, 1.0, 11))
WAVELET_OCTAVES = range(-4, 5)  # around the default weight


@dataclass(frozen=True)
class BenchmarkOptions:
    """What to compare. ``axes``: along which image axis of the file lines are left out. ``noise_snr``: see
    ``recon.scans.derived.with_noise``. ``samples`` and ``steps`` replace the samplers' own; DPS draws as many
    samples as the first of the other samplers, so that means of as many are compared."""

    accelerations: tuple[float, ...] = (2, 3, 4, 5)
    axes: tuple[Axis, ...] = ("phase",)
    calibration_lines: int = 16
    mask: str = "equispaced"
    classical: tuple[Method, ...] = CLASSICAL
    samplers: tuple[Sampler, ...] = ("stochastic-dds", "pula", "dps")
    dps_weights: tuple[float, ...] = (0.3, 1.0, 3.0)
    noise_snr: float | None = None
    oracle: bool = False
    samples: int | None = None
    steps: int | None = None
    coils: int = 16
    seed: int = 0


@dataclass(frozen=True)
class Case:
    """One undersampled scan and what it is compared with."""

    axis: Axis
    acceleration: float
    scan: Scan
    reference: NDArray[np.float32]  # [slice, readout, phase]


@dataclass(frozen=True)
class Benchmark:
    """What ``benchmark`` returns.

    ``rows``: one a case and method, with the keys axis, acceleration, net_acceleration, method, oracle, weight, nrmse,
    psnr, ssim, hfen, seconds, network_calls, chi2. ``images``: the magnitudes ``[slice, readout, phase]`` by axis,
    acceleration and label. ``time_ratio``: DPS over the first sampler, the median of the cases; None without either."""

    rows: tuple[dict[str, Any], ...]
    images: dict[Axis, dict[float, dict[str, NDArray[np.float32]]]]
    references: dict[Axis, NDArray[np.float32]]
    scans: dict[Axis, Scan]
    time_ratio: float | None


def cases(scan: Scan, options: BenchmarkOptions, device: torch.device | str = "cpu") -> Iterator[Case]:
    """The undersampled scans of the benchmark. Masks depend on the seed, the scan and the axis alone. Raises ReconError
    for scans that are undersampled themselves."""
    require_fully_sampled(scan)
    for axis in options.axes:
        turned = with_axes_swapped(scan) if axis == "readout" else scan
        reference = np.stack([reference_image(turned, index) for index in range(turned.shape[0])])
        data = turned
        if options.noise_snr is not None:
            noise = preprocess_coils(turned, device=device).noise
            data = with_noise(turned, options.noise_snr, options.seed, noise.whitening().cpu().numpy())
        for rate in options.accelerations:
            generator = numpy_generator(options.seed, turned.digest, "mask")
            shape = (turned.shape[2], turned.shape[3])
            mask = draw_mask(options.mask, shape, rate, options.calibration_lines, generator, turned.phase_limits)
            yield Case(axis, float(rate), with_mask(data, mask), reference)


def benchmark(
    scan: Scan,
    prior: Prior,
    options: BenchmarkOptions,
    folder: Path | None = None,
    *,
    device: torch.device | str = "cpu",
    report: Callable[[str, float], None] = lambda stage, done: None,
) -> Benchmark:
    """Run every method on every case; results are kept in ``folder`` where one is given.

    ``report(stage, done)`` says what is run and which fraction of the runs is behind. Raises ReconError when the scan
    is undersampled or a method cannot be run on it.
    """
    for sampler in options.samplers:
        if sampler not in ("stochastic-dds", "pula", "dps"):
            raise ReconError(f"unknown sampler '{sampler}'; choose from stochastic-dds, pula, dps")
    rows: list[dict[str, Any]] = []
    images: dict[Axis, dict[float, dict[str, NDArray[np.float32]]]] = {}
    references: dict[Axis, NDArray[np.float32]] = {}
    scans: dict[Axis, Scan] = {}
    ratios: list[float] = []
    each = len(options.classical) + len(options.samplers) + (2 if options.oracle else 0)
    whole = each * len(options.accelerations) * len(options.axes)
    with _place(folder) as place:
        for case in cases(scan, options, device):
            references[case.axis], scans[case.axis] = case.reference, case.scan
            shown = images.setdefault(case.axis, {}).setdefault(case.acceleration, {})

            def tell(label: str, case: Case = case) -> None:
                report(f"{case.axis}, R = {case.acceleration:g}, {label}", len(rows) / whole)

            run = _Runner(case, prior, options, place, device)
            for method in options.classical:
                tell(method)
                row, shown[method] = run(method, ReconstructionOptions(method=method))
                rows.append(row)
                if options.oracle and method in ("sense", "l1-wavelet"):
                    tell(f"{method}, oracle")
                    row, shown[f"{method} (oracle)"] = _oracle(run, method)
                    rows.append(row)
            seconds: dict[str, float] = {}
            for sampler in options.samplers:
                tell(sampler)
                choice = ReconstructionOptions(sampler=sampler, samples=options.samples, steps=options.steps)
                if sampler == "dps":
                    choice = _tuned_dps(run, choice)
                row, shown[sampler] = run(sampler, choice)
                if sampler == "dps":
                    row["weights_tried"] = list(options.dps_weights)
                rows.append(row)
                seconds[sampler] = row["seconds"]
            if "dps" in seconds and options.samplers[0] != "dps":
                ratios.append(seconds["dps"] / seconds[options.samplers[0]])
    return Benchmark(tuple(rows), images, references, scans, median(ratios) if ratios else None)


@dataclass(frozen=True)
class _Runner:
    """One case: runs a method as a user would, and measures it."""

    case: Case
    prior: Prior
    options: BenchmarkOptions
    place: Path
    device: torch.device | str

    def __call__(
        self, label: str, choice: ReconstructionOptions, *, oracle: bool = False
    ) -> tuple[dict[str, Any], NDArray[np.float32]]:
        choice = replace(choice, coils=self.options.coils, seed=self.options.seed)
        output = self.place / f"{self.case.axis}-R{self.case.acceleration:g}" / f"{label}.h5"
        outcome = reconstruct(self.case.scan, choice, output, self.prior, device=self.device)
        image = read_result(output).reconstruction
        facts = {
            "weight": choice.weight,
            "seconds": outcome.seconds["total"],
            "network_calls": outcome.network_calls,
            "chi2": outcome.figures.get("chi2"),
            "warnings": list(outcome.warnings),
        }
        method = choice.sampler if choice.method == "posterior" else choice.method
        return {**self.measured(method, image, oracle), **facts}, image

    def measured(self, method: str, image: NDArray[np.float32], oracle: bool) -> dict[str, Any]:
        """What tells the case and the method apart, and the figures of merit."""
        found = evaluate(image, self.case.reference).volume
        return {
            "axis": self.case.axis,
            "acceleration": self.case.acceleration,
            "net_acceleration": self.case.scan.acceleration,
            "method": method,
            "oracle": oracle,
            "nrmse": found.nrmse,
            "psnr": found.psnr,
            "ssim": found.ssim,
            "hfen": found.hfen,
        }


def _oracle(run: _Runner, method: Method) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """The method with the weight of least NRMSE against the reference, found on the calibrated problem, then run."""
    scan, device = run.case.scan, run.device
    preprocessing = preprocess_coils(scan, coils=run.options.coils, device=device)
    problem = calibrate(scan, preprocessing, range(scan.shape[0]), device=device)
    if method == "sense":
        system = system_of(problem)
        weights: Sequence[float] = SENSE_WEIGHTS

        def solve(weight: float) -> NDArray[np.float32]:
            return problem.magnitude(baselines.cg_sense(system, weight)).cpu().numpy()

    else:
        centre = default_weight(float(problem.sigma.median()))
        weights = [centre * 2.0**octave for octave in WAVELET_OCTAVES]

        def solve(weight: float) -> NDArray[np.float32]:
            return problem.magnitude(baselines.l1_wavelet(problem, weight)).cpu().numpy()

    best = best_over_weights(solve, run.case.reference, weights)
    row, image = run(f"{method} (oracle)", ReconstructionOptions(method=method, weight=best.weight), oracle=True)
    return {**row, "at_the_edge": best.at_the_edge}, image


def _tuned_dps(run: _Runner, choice: ReconstructionOptions) -> ReconstructionOptions:
    """DPS with the best of the weights, judged on one sample each, and as many samples as the other samplers."""
    others = [sampler for sampler in run.options.samplers if sampler != "dps"]
    if choice.samples is None and others:
        plan = plan_for(ReconstructionOptions(sampler=others[0]), run.case.scan.acceleration, 0.0)
        choice = replace(choice, samples=plan.samples)
    weights = run.options.dps_weights
    if len(weights) == 1:
        return replace(choice, weight=weights[0])
    errors = []
    for weight in weights:
        try:
            row, _ = run("dps (tuning)", replace(choice, samples=1, weight=weight))
            errors.append(row["nrmse"])
        except ReconError:  # too large a weight makes it diverge
            errors.append(float("inf"))
    return replace(choice, weight=weights[int(np.argmin(errors))])


@contextmanager
def _place(folder: Path | None) -> Iterator[Path]:
    """The folder for results, or a temporary one."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="recon-benchmark-") as name:
        yield Path(name)
