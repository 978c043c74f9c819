"""Every method side by side on one fully sampled scan, retrospectively undersampled.

Each method runs through ``recon.reconstruction.pipeline``, as for any user, and its images are compared with the root
sum of squares of the fully sampled scan. A row marked ``oracle`` had its weight chosen on that reference, for each case
anew, which no real reconstruction can have: on request SENSE and L1-wavelet beside their defaults, and always DPS,
which has no default weight that serves every scan.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recon.acquisition.masks import draw_mask
from recon.acquisition.rss import reference_image
from recon.benchmark.options import Axis, BenchmarkOptions
from recon.benchmark.oracle import OracleResult, best_over_weights
from recon.errors import ReconError
from recon.images.result import read_result
from recon.prior.store import Prior
from recon.progress import Report, silent
from recon.quality.metrics import evaluate
from recon.reconstruction.methods import METHODS, Method, method_of
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import reconstruct_to_file, solver_for
from recon.reconstruction.preparing import measure
from recon.scan import Scan
from recon.scans.derived import require_fully_sampled, with_axes_swapped, with_mask, with_noise
from recon.seeding import numpy_generator

REFINEMENTS = 6  # golden-section steps of an oracle around its best weight


@dataclass(frozen=True)
class BenchmarkCase:
    """One undersampled scan and what it is compared with."""

    axis: Axis
    acceleration: float
    scan: Scan
    reference: NDArray[np.float32]  # [slice, readout, phase]


@dataclass(frozen=True)
class Benchmark:
    """What ``benchmark`` returns.

    One row a method and case: axis, acceleration, net_acceleration, method, oracle, weight, nrmse, psnr, ssim, hfen,
    seconds, network_calls (of a slice), chi2. ``images``: the magnitudes ``[slice, readout, phase]`` by axis,
    acceleration and method; ``references`` and ``scans`` by axis.
    """

    rows: tuple[dict[str, Any], ...]
    images: dict[Axis, dict[float, dict[str, NDArray[np.float32]]]]
    references: dict[Axis, NDArray[np.float32]]
    scans: dict[Axis, Scan]


def cases(scan: Scan, options: BenchmarkOptions, device: torch.device | str = "cpu") -> Iterator[BenchmarkCase]:
    """The undersampled scans of the benchmark. Masks depend on the seed, the scan and the axis alone. Raises ReconError
    for scans that are undersampled themselves."""
    require_fully_sampled(scan)
    for axis in options.axes:
        turned = with_axes_swapped(scan) if axis == "readout" else scan
        reference = np.stack([reference_image(turned, index) for index in range(turned.shape[0])])
        data = turned
        if options.noise_snr is not None:
            noise = measure(turned, ReconstructionOptions(coils=turned.shape[1]), device).preprocessing.noise
            data = with_noise(turned, options.noise_snr, options.seed, noise.whitening().cpu().numpy())
        for rate in options.accelerations:
            generator = numpy_generator(options.seed, turned.identity, "mask")
            shape = (turned.shape[2], turned.shape[3])
            mask = draw_mask(options.mask, shape, rate, options.calibration_lines, generator, turned.phase_limits)
            yield BenchmarkCase(axis, float(rate), with_mask(data, mask), reference)


def benchmark(
    scan: Scan,
    prior: Prior,
    options: BenchmarkOptions,
    folder: Path | None = None,
    *,
    device: torch.device | str = "cpu",
    report: Report = silent,
) -> Benchmark:
    """Run every method on every case; results are kept in ``folder`` where one is given.

    Raises ReconError when the scan is undersampled or a method cannot be run on it.
    """
    methods = [method_of(ReconstructionOptions(method=name)) for name in options.methods]
    entries = [entry for method in methods for entry in _entries(method, options.oracle)]
    rows: list[dict[str, Any]] = []
    images: dict[Axis, dict[float, dict[str, NDArray[np.float32]]]] = {}
    references: dict[Axis, NDArray[np.float32]] = {}
    scans: dict[Axis, Scan] = {}
    whole = len(entries) * len(options.accelerations) * len(options.axes)
    with _place(folder) as place:
        for case in cases(scan, options, device):
            references[case.axis], scans[case.axis] = case.reference, case.scan
            shown = images.setdefault(case.axis, {}).setdefault(case.acceleration, {})
            run = _Runner(case, prior, options, place, device)
            run.check(methods)
            for method, tuned in entries:
                label = f"{method.name} (oracle)" if tuned else method.name
                report(f"{case.axis}, R = {case.acceleration:g}, {label}", len(rows) / whole)
                row, shown[label] = run(method, tuned, label)
                rows.append(row)
    return Benchmark(tuple(rows), images, references, scans)


def _entries(method: Method, oracle: bool) -> list[tuple[Method, bool]]:
    """The rows of a method in the table: with its default weight, with the oracle's, or with both."""
    tuning = method.tuning
    if tuning is None:
        return [(method, False)]
    return [(method, True)] if tuning.always else [(method, False), *([(method, True)] if oracle else [])]


@dataclass(frozen=True)
class _Runner:
    """One case: runs a method as a user would, and measures it."""

    case: BenchmarkCase
    prior: Prior
    options: BenchmarkOptions
    place: Path
    device: torch.device | str

    def __call__(self, method: Method, tuned: bool, label: str) -> tuple[dict[str, Any], NDArray[np.float32]]:
        choice, found = self._choice(method), None
        if tuned:
            found = self._tuned(method, choice)
            choice = replace(choice, weight=found.weight)
        output = self.place / f"{self.case.axis}-R{self.case.acceleration:g}" / f"{label}.h5"
        outcome = reconstruct_to_file(self.case.scan, choice, output, self.prior, device=self.device)
        image = read_result(output).reconstruction
        row = {
            **self._measured(method.name, image, tuned),
            "weight": choice.weight,
            "seconds": outcome.seconds["total"],
            "network_calls": outcome.network_calls,
            "chi2": outcome.figures.get("chi2"),
            "warnings": list(outcome.warnings),
        }
        return row if found is None else {**row, "at_the_edge": found.at_the_edge}, image

    def check(self, methods: Sequence[Method]) -> None:
        """Raise ReconError for options with which one of the methods makes no image, before another takes its time."""
        for method in methods:
            if method.plan is not None:
                method.plan(self._choice(method), self.case.scan.acceleration, 0.0)

    def _choice(self, method: Method) -> ReconstructionOptions:
        """The options of a method: every sampler draws as many samples as the first one of the table."""
        choice = ReconstructionOptions(method=method.name, coils=self.options.coils, seed=self.options.seed)
        if method.plan is None:
            return choice
        first = next(row.plan for row in METHODS.values() if row.plan is not None)
        usual = first(ReconstructionOptions(), self.case.scan.acceleration, 0.0).samples
        return replace(
            choice, steps=self.options.steps, samples=usual if self.options.samples is None else self.options.samples
        )

    def _tuned(self, method: Method, choice: ReconstructionOptions) -> OracleResult:
        """The weight of least NRMSE against the reference, found on the prepared slices; samplers draw one sample."""
        assert method.tuning is not None
        if method.plan is not None:
            choice = replace(choice, samples=1)
        slices = range(self.case.scan.shape[0])
        ready = solver_for(self.case.scan, choice, self.prior, device=self.device)
        prepared = [ready.prepare(range(index, index + 1)) for index in slices]

        def image(weight: float) -> NDArray[np.float32]:
            solver = replace(ready, options=replace(choice, weight=weight))
            shown = [part.problem.magnitude(solver.solve(part).image).cpu().numpy() for part in prepared]
            stack = np.concatenate(shown)
            return stack if np.isfinite(stack).all() else np.zeros_like(stack)  # too long a step diverges

        weights = dict(self.options.weights).get(method.name) or method.tuning.weights(prepared[len(prepared) // 2])
        refinements = 0 if method.plan is not None else REFINEMENTS
        return best_over_weights(image, self.case.reference, _rising(method, weights), refinements)

    def _measured(self, method: str, image: NDArray[np.float32], oracle: bool) -> dict[str, Any]:
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


def _rising(method: Method, weights: Sequence[float]) -> list[float]:
    if not weights or min(weights) <= 0:
        raise ReconError(f"weights of {method.name} must be positive, not {list(weights)}")
    return sorted(weights)


@contextmanager
def _place(folder: Path | None) -> Iterator[Path]:
    """The folder for results, or a temporary one."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="recon-benchmark-") as name:
        yield Path(name)
