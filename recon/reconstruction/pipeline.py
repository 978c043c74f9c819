"""The one place where a scan becomes an image: prepare, solve, audit, a bounded number of slices at a time.

``reconstruct`` gives the result in memory, ``reconstruct_to_file`` writes it; both take the images of ``solved``, as
everybody else does: fine-tuning's validation, the benchmark, held-out scores and exports.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recon.acquisition.noise_misfit import excess_warning, noise_excess
from recon.errors import ReconError, naming
from recon.header import scanner_facts
from recon.images.result import Reconstruction, ResultCollector, ResultHeader, ResultWriter, write_result
from recon.posterior.random_streams import NoiseStreams
from recon.posterior.sampler import DiffusionPrior
from recon.prior.denoiser import UNKNOWN_CONTRAST_LABEL
from recon.prior.store import Prior
from recon.progress import Report, silent
from recon.reconstruction.audit import SliceAudit, audit_slices, data_warnings, overall_audit
from recon.reconstruction.denoising import denoise_with
from recon.reconstruction.machine import Stopwatch, check_samples_fit, slices_at_a_time
from recon.reconstruction.methods import Method, method_of
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.plan import Plan
from recon.reconstruction.preparing import Measurement, Prepared, measure
from recon.reconstruction.shown import shown_images, shown_noise, std_degrees_of_freedom
from recon.reconstruction.solving import Sampling, Solution, Task
from recon.scan import Scan
from recon.scans.centring import is_centred
from recon.scans.inspection import UNCENTRED
from recon.version import __version__


@dataclass(frozen=True)
class Outcome:
    """What a reconstruction reports besides its images. ``network_calls`` of a slice, all samples together."""

    output: Path
    figures: dict[str, float]
    warnings: tuple[str, ...]
    seconds: dict[str, float]
    network_calls: int
    configuration: dict[str, Any]


@dataclass(frozen=True)
class Solver:
    """A method with everything it needs for one scan; made by ``solver_for``."""

    measurement: Measurement
    options: ReconstructionOptions
    method: Method
    prior: Prior | None
    plan: Plan | None

    @property
    def scan(self) -> Scan:
        """What is reconstructed."""
        return self.measurement.scan

    def prepare(self, slices: range) -> Prepared:
        """Calibrate some slices. What is done for a slice depends on it alone."""
        return self.method.prepare(self.measurement, slices, self.options)

    def solve(self, prepared: Prepared, step: Callable[[], None] = lambda: None) -> Solution:
        """Their images. ``step`` is called after each network call."""
        watch = self.measurement.watch
        with watch.stage("solving"):
            return self.method.solve(prepared, Task(self.scan, self.options, self._sampling(prepared, step)))

    def _sampling(self, prepared: Prepared, step: Callable[[], None]) -> Sampling | None:
        if self.plan is None or self.prior is None:
            return None
        prior, slices = self.prior, prepared.problem.slices
        label = prior.contrast_label(self.options.contrast or self.scan.contrast)
        return Sampling(
            self.plan,
            DiffusionPrior(
                denoise_with(prior, UNKNOWN_CONTRAST_LABEL if label is None else label, self.measurement.watch),
                prior.denoiser_variance,
                prior.facts.sigma_data,
                prior.facts.draw_excess,
                prior.facts.spread().at,
            ),
            NoiseStreams(self.options.seed, self.scan.identity, slices, _streams(self.plan), self.measurement.device),
            step,
        )


def _streams(plan: Plan) -> range:
    """As many random streams as the image or its samples need."""
    return range(max(plan.samples, plan.estimates))


def solver_for(
    scan: Scan,
    options: ReconstructionOptions,
    prior: Prior | None = None,
    *,
    device: torch.device | str = "cpu",
    watch: Stopwatch | None = None,
) -> Solver:
    """The method that ``options`` name, made ready for a scan.

    Raises ReconError for an unknown method, options that it does not read, a missing prior, a contrast that was given
    and that the prior does not know, or a scan that cannot be calibrated.
    """
    method = method_of(options)
    if not method.needs_prior:
        return Solver(measure(scan, options, device, watch), options, method, None, None)
    if prior is None:
        raise ReconError(f"method '{method.name}' needs a prior; give --prior, or choose another --method")
    if options.contrast is not None and prior.contrast_label(options.contrast) is None:
        known = ", ".join(sorted(prior.facts.contrast_labels))
        raise ReconError(f"contrast '{options.contrast}' is unknown to the prior, which knows {known}")
    measurement = measure(scan, options, device, watch)
    plan = method.plan and method.plan(options, scan.acceleration, measurement.preprocessing.sigma)
    if plan is not None:
        check_samples_fit(scan, options, max(plan.samples, plan.estimates), device)
    return Solver(measurement, options, method, prior, plan)


def solved(solver: Solver, report: Report = silent) -> Iterator[tuple[Prepared, Solution]]:
    """Every slice of the scan, prepared and solved, some at a time; only these are held in memory."""
    slices, name = solver.scan.shape[0], solver.scan.name
    width = slices_at_a_time(solver.scan, solver.options, solver.measurement.device)
    steps = slices * (solver.plan.steps if solver.plan else 1)
    done = 0
    for first in range(0, slices, width):
        chosen = range(first, min(first + width, slices))

        def step(count: int = len(chosen)) -> None:
            nonlocal done
            done += count
            report(name, done / steps)

        with naming(solver.scan.path):
            prepared = solver.prepare(chosen)
            solution = solver.solve(prepared, step)
        if solver.plan is None:
            step()
        yield prepared, solution
        del prepared, solution  # before the next slices take as much memory


def one_slice(
    scan: Scan,
    index: int,
    options: ReconstructionOptions,
    prior: Prior | None = None,
    device: torch.device | str = "cpu",
) -> NDArray[np.float32]:
    """The magnitude ``[readout, phase]`` of one slice as ``reconstruct`` gives it."""
    solver = solver_for(scan, options, prior, device=device)
    prepared = solver.prepare(range(index, index + 1))
    return prepared.problem.magnitude(solver.solve(prepared).image)[0].cpu().numpy()


def reconstruct(
    scan: Scan,
    prior: Prior | None = None,
    options: ReconstructionOptions = ReconstructionOptions(),
    *,
    device: torch.device | str = "cpu",
    report: Report = silent,
) -> Reconstruction:
    """Reconstruct a scan in memory: the same images, to the bit, that ``reconstruct_to_file`` writes.

    Raises ReconError for scans that cannot be reconstructed, or when a value is not finite.
    """
    solver = solver_for(scan, options, prior, device=device)
    collector = ResultCollector(header_of(solver), scan.path)
    _fill(collector, solver, report)
    return collector.result()


def reconstruct_to_file(
    scan: Scan,
    options: ReconstructionOptions,
    output: Path,
    prior: Prior | None = None,
    *,
    device: torch.device | str = "cpu",
    report: Report = silent,
    watch: Stopwatch | None = None,
) -> Outcome:
    """Reconstruct ``scan`` into the result file ``output``; ``watch`` takes the seconds, where one is given.

    Nothing is written but the finished file. Raises ReconError for scans that cannot be reconstructed, or when a value
    is not finite.
    """
    began = time.perf_counter()
    watch = watch or Stopwatch()
    solver = solver_for(scan, options, prior, device=device, watch=watch)
    header = header_of(solver)
    with write_result(output, header) as writer:
        audit, calls = _fill(writer, solver, report)
    watch.seconds["total"] = time.perf_counter() - began
    return Outcome(
        output,
        dict(audit.get("figures", {})),
        tuple(audit["warnings"]),
        dict(watch.seconds),
        calls,
        dict(header.configuration),
    )


def _fill(writer: ResultWriter | ResultCollector, solver: Solver, report: Report) -> tuple[dict[str, Any], int]:
    """Put every slice and the audit into a result; returns the audit and the network calls of a slice."""
    watch = solver.measurement.watch
    audits: list[SliceAudit] = []
    levels: list[float] = []
    freedoms: list[float] = []
    calls = 0
    for prepared, solution in solved(solver, report):
        calls = solution.network_calls
        with watch.stage("audit"):
            audits += audit_slices(prepared, solution)
        with watch.stage("writing"):
            levels.append(shown_noise(prepared.problem))
            for index, images in shown_images(prepared, solution, keep_samples=solver.options.keep_samples):
                with naming(solver.scan.path):
                    writer.put(index, **images)
                freedoms += std_degrees_of_freedom(images, solution.pairs)
    audit = finished_audit(solver, scan_warnings(solver), audits, levels, freedoms)
    writer.close_with(audit)
    return audit, calls


def finished_audit(
    solver: Solver, warnings: list[str], audits: list[SliceAudit], levels: list[float], freedoms: list[float]
) -> dict[str, Any]:
    """The audit of a scan as its result keeps it, from ``scan_warnings``, the audits of its slices, the noise of each
    slice's image and the degrees of freedom of its standard deviation."""
    watch = solver.measurement.watch
    inside = watch.seconds.get("network", 0.0)
    if solver.plan is not None:
        watch.seconds["data consistency"] = watch.seconds.pop("solving") - inside
    audit = overall_audit(audits, warnings)
    if freedoms and "figures" in audit:
        audit["figures"]["std_relative_error"] = (2 * sorted(freedoms)[len(freedoms) // 2]) ** -0.5
        audit["std_degrees_of_freedom"] = freedoms
    audit["noise_std"] = sorted(levels)[len(levels) // 2]
    audit["noise_source"] = solver.measurement.preprocessing.noise.source
    if solver.plan is not None:
        audit["plan"] = dataclasses.asdict(solver.plan)
    audit["seconds"] = {name: round(value, 3) for name, value in watch.seconds.items()}
    return audit


def scan_warnings(solver: Solver) -> list[str]:
    """What speaks against a reconstruction before it is made; of kspace the slice in the middle is read."""
    scan = solver.scan
    middle = scan.read_kspace(scan.shape[0] // 2)
    centre = [] if is_centred(middle) else [UNCENTRED]
    return [*data_warnings(scan, scan.shape[1]), *centre, *_noise_warnings(solver, middle), *_contrast_warnings(solver)]


def _noise_warnings(solver: Solver, kspace: NDArray[np.complex64]) -> list[str]:
    noise = solver.measurement.preprocessing.noise
    power = noise.covariance.diagonal().real.cpu().numpy()
    said = excess_warning(noise_excess(kspace, power), noise.source)
    return [] if said is None else [said]


def _contrast_warnings(solver: Solver) -> list[str]:
    contrast = solver.options.contrast or solver.scan.contrast
    if solver.prior is None or (contrast != "unknown" and solver.prior.contrast_label(contrast) is not None):
        return []
    return [f"contrast '{contrast}' is unknown to the prior: its general contrast label is used"]


def header_of(solver: Solver) -> ResultHeader:
    """What a result says of itself."""
    scan, options = solver.scan, solver.options
    contrast = options.contrast or scan.contrast
    configuration = {
        **dataclasses.asdict(options),
        "contrast": contrast,
        "version": __version__,
        "device": str(solver.measurement.device),
    }
    attributes = {
        **scanner_facts(scan.header),
        "channels": scan.shape[1],
        "method": options.method,
        "title": solver.method.title,
        "seed": options.seed,
        "scan_digest": scan.digest,
        "scan_name": scan.name,
        "acceleration": scan.acceleration,
        "prior_hash": "none" if solver.prior is None else solver.prior.facts.weights_sha256,
        "noise_source": solver.measurement.preprocessing.noise.source,
    }
    shape = (min(scan.image_shape[0], scan.shape[2]), min(scan.image_shape[1], scan.shape[3]))
    return ResultHeader(scan.shape[0], shape, contrast, scan.voxel_size, scan.affine, configuration, attributes)
