"""Reconstruct a scan: calibrate, sample or solve, audit and write, a bounded number of slices at a time."""

import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from recon.acquisition.problem import Problem, calibrate, preprocess_coils
from recon.errors import ReconError
from recon.images.result import write_result
from recon.posterior.dps import dps
from recon.posterior.model_error import noise_inflated_system, noise_inflation
from recon.posterior.pula import pula
from recon.posterior.random_streams import NoiseStreams
from recon.posterior.refinement import refined_problem
from recon.posterior.schedule import Schedule, default_sigma_max
from recon.posterior.stochastic_dds import Denoise, Draws, stochastic_dds
from recon.posterior.system import System, system_of
from recon.prior.denoiser import UNKNOWN_CONTRAST_LABEL, low_precision
from recon.prior.store import Prior
from recon.reconstruction import baselines
from recon.reconstruction.audit import SliceAudit, data_warnings, result_warnings, summarise
from recon.scan import Scan
from recon.version import __version__

Method = Literal["posterior", "zero-filled", "sense", "l1-wavelet", "grappa"]
Sampler = Literal["stochastic-dds", "pula", "dps"]
MEMORY = 600e6  # bytes that the exact solver's eigenvectors may take; bounds the slices in a batch


@dataclass(frozen=True)
class ReconstructionOptions:
    """How to reconstruct. None means: chosen from the scan (its acceleration, its noise, the sampler).

    ``denoiser_variance`` "scan" lets the scan's own residual raise the tabulated denoising error, "table" does not.
    ``weight`` is the regularisation of SENSE and L1-wavelet or the data weight of DPS. ``noise_sigma`` replaces the
    noise estimate, in the file's units per real component.
    """

    method: Method = "posterior"
    sampler: Sampler = "stochastic-dds"
    samples: int | None = None
    steps: int | None = None
    sigma_max: float | None = None
    sigma_min: float | None = None
    denoiser_variance: Literal["scan", "table"] = "scan"
    weight: float | None = None
    coils: int = 16
    map_sets: int = 1
    noise_sigma: float | None = None
    contrast: str | None = None
    keep_samples: bool = False
    batch: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("samples", "steps", "coils", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if self.map_sets not in (1, 2):
            raise ValueError(f"map_sets must be 1 or 2, not {self.map_sets}")


@dataclass(frozen=True)
class Plan:
    """The options with every None resolved for one scan."""

    schedule: Schedule
    samples: int


def plan_for(options: ReconstructionOptions, acceleration: float, sigma: float) -> Plan:
    """Starting values for an acceleration and a noise level ``sigma`` (relative to the image scale).

    More acceleration needs a higher start, more steps and more samples; so does noise, which hides what low
    accelerations would otherwise show.
    """
    if options.sampler == "dps":
        schedule = Schedule(options.sigma_max or 10.0, options.steps or 300, options.sigma_min or 0.002)
        return Plan(schedule, options.samples or 1)
    if options.sampler == "pula":
        schedule = Schedule(options.sigma_max or 1.0, options.steps or 100, options.sigma_min or 0.01)
        return Plan(schedule, options.samples or 4)
    usual = default_sigma_max(acceleration)
    steps, samples = (12, 4) if usual < 1 else (16, 4) if usual < 5 else (24, 8)
    sigma_max = options.sigma_max or max(usual, 20 * sigma)
    extra = round(6 * math.log10(max(1.0, sigma_max / usual)))  # the same density of levels over the longer way
    schedule = Schedule(sigma_max, options.steps or steps + extra, min(options.sigma_min or 0.03, sigma_max))
    return Plan(schedule, options.samples or samples)


@dataclass
class Stopwatch:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@dataclass(frozen=True)
class Outcome:
    """What a reconstruction reports besides its images."""

    output: Path
    figures: dict[str, float]
    warnings: tuple[str, ...]
    seconds: dict[str, float]
    network_calls: int
    configuration: dict[str, Any]


def reconstruct(
    scan: Scan,
    options: ReconstructionOptions,
    output: Path,
    prior: Prior | None = None,
    *,
    device: torch.device | str = "cpu",
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    """Reconstruct ``scan`` into the result file ``output``.

    ``report(done, total)`` is called as work proceeds, in units of slices times network calls. Nothing is written but
    the finished file. Raises ReconError for scans that cannot be reconstructed, or when a value is not finite.
    """
    watch = Stopwatch()
    began = time.perf_counter()
    if options.method == "posterior" and prior is None:
        raise ReconError("posterior sampling needs a prior; give --prior, or choose another --method")
    with watch.stage("calibration"):
        preprocessing = preprocess_coils(scan, coils=options.coils, noise_sigma=options.noise_sigma, device=device)
    warnings = data_warnings(scan, scan.shape[1])
    contrast = options.contrast or scan.contrast
    contrast_label = UNKNOWN_CONTRAST_LABEL
    if prior is not None and options.method == "posterior":
        known = prior.contrast_label(contrast)
        if known is None and options.contrast is not None:
            raise ReconError(
                f"contrast '{contrast}' is unknown to the prior, which knows "
                f"{', '.join(sorted(prior.facts.contrast_labels))}"
            )
        if known is None or contrast == "unknown":
            warnings.append(f"contrast '{contrast}' is unknown to the prior: its general contrast label is used")
        contrast_label = UNKNOWN_CONTRAST_LABEL if known is None else known
    slices = scan.shape[0]
    batch = options.batch or _batch(scan, options, device)
    audits: list[SliceAudit] = []
    levels: list[float] = []
    calls = 0
    plan: Plan | None = None
    configuration = {**dataclasses.asdict(options), "contrast": contrast, "version": __version__, "device": str(device)}
    shape = _image_shape(scan)
    attributes: dict[str, Any] = {
        "method": options.method,
        "sampler": options.sampler if options.method == "posterior" else "none",
        "seed": options.seed,
        "scan_digest": scan.digest,
        "scan_name": scan.path.stem,
        "acceleration": scan.acceleration,
        "prior_hash": prior.facts.weights_sha256 if prior is not None and options.method == "posterior" else "none",
        "noise_source": preprocessing.noise.source,
    }
    with write_result(
        output,
        slices=slices,
        shape=shape,
        contrast=contrast,
        voxel_size=scan.voxel_size,
        affine=scan.affine,
        configuration=configuration,
        attributes=attributes,
    ) as writer:
        for first in range(0, slices, batch):
            chosen = range(first, min(first + batch, slices))
            fit = None
            if options.method == "posterior":
                problem, fit = refined_problem(
                    scan, preprocessing, chosen, map_sets=options.map_sets, device=device, stage=watch.stage
                )
            else:
                with watch.stage("calibration"):
                    problem = calibrate(scan, preprocessing, chosen, map_sets=options.map_sets, device=device)
            with watch.stage("solver set-up"):
                system, inflation = None, torch.ones_like(problem.sigma)
                if options.method == "posterior":
                    system, inflation = noise_inflated_system(problem, fit)
                elif options.method == "sense":
                    system = system_of(problem)
                    system = system.with_sigma(system.sigma * noise_inflation(system))
            if options.method == "posterior" and prior is not None and system is not None:
                plan = plan_for(options, scan.acceleration, preprocessing.sigma)
                total = slices * plan.schedule.steps
                done = first * plan.schedule.steps

                def step(width: int = len(chosen), total: int = total) -> None:
                    nonlocal done
                    done += width
                    report(done, total)

                noise = NoiseStreams(options.seed, scan.digest, chosen, range(plan.samples), device)
                network = prior_denoise(prior, contrast_label, watch, gradient=options.sampler == "dps")
                with watch.stage("sampling"):
                    draws = _sample(options, plan, problem, system, network, prior, noise, step)
                calls = draws.network_calls
                mean = draws.means.mean(1)
                with watch.stage("audit"):
                    audits += _audit(problem, system, draws, mean, inflation)
            else:
                with watch.stage(options.method):
                    mean = _classical(options, scan, problem, system)
                draws = None
                report(min(first + batch, slices), slices)
            levels.append(_shown_noise(problem))
            with watch.stage("writing"):
                _write(writer, problem, mean, draws, options)
            del problem, fit, system, draws, mean  # before the next batch takes as much memory
        audit: dict[str, Any] = {}
        if audits:
            figures = summarise(audits)
            warnings += result_warnings(figures)
            audit = {"figures": figures, "slices": [dataclasses.asdict(entry) for entry in audits]}
        audit["noise_std"] = sorted(levels)[len(levels) // 2]
        audit["warnings"] = warnings
        audit["noise_source"] = preprocessing.noise.source
        if plan is not None:
            audit["plan"] = dataclasses.asdict(plan)
        inside = watch.seconds.get("network", 0.0)
        if "sampling" in watch.seconds:
            watch.seconds["data consistency"] = watch.seconds.pop("sampling") - inside
        audit["seconds"] = {name: round(value, 3) for name, value in watch.seconds.items()}
        writer.close_with(audit)
    watch.seconds["total"] = time.perf_counter() - began
    return Outcome(output, dict(audit.get("figures", {})), tuple(warnings), dict(watch.seconds), calls, configuration)


def posterior_mean(
    scan: Scan,
    problem: Problem,
    system: System,
    options: ReconstructionOptions,
    plan: Plan,
    prior: Prior,
    *,
    device: torch.device | str = "cpu",
    report: Callable[[], None] = lambda: None,
) -> Tensor:
    """The complex posterior mean ``[slice, set, readout, phase]`` of a calibrated problem, in units of its scale: what
    ``reconstruct`` turns into a magnitude. ``system`` is that of ``noise_inflated_system``; ``report`` is called after
    each network call."""
    noise = NoiseStreams(options.seed, scan.digest, problem.slices, range(plan.samples), device)
    contrast_label = prior.contrast_label(options.contrast or scan.contrast)
    network = prior_denoise(
        prior,
        UNKNOWN_CONTRAST_LABEL if contrast_label is None else contrast_label,
        Stopwatch(),
        gradient=options.sampler == "dps",
    )
    return _sample(options, plan, problem, system, network, prior, noise, report).means.mean(1)


def prior_denoise(
    prior: Prior, contrast_label: int, watch: Stopwatch, *, gradient: bool = False, pixels: int = 1_700_000
) -> Denoise:
    """The prior for samplers: images ``[slice, sample, set, readout, phase]``, at most ``pixels`` pixels at a time."""

    def denoise(image: Tensor, sigma: float) -> Tensor:
        with watch.stage("network"), torch.set_grad_enabled(gradient), low_precision(image.device):
            flat = image.flatten(0, 2)
            width = max(1, pixels // (flat.shape[-1] * flat.shape[-2]))
            if (
                flat.device.type == "cpu"
            ):  # larger batches are not faster there, and how convolutions round depends on them
                width = min(width, image.shape[1] * image.shape[2])
            parts = []
            for part in flat.split(width):
                level = torch.full((part.shape[0],), sigma, device=part.device)
                contrast_labels = torch.full((part.shape[0],), contrast_label, dtype=torch.long, device=part.device)
                parts.append(prior.denoiser(part, level, contrast_labels))
            return torch.cat(parts).unflatten(0, image.shape[:3])

    return denoise


def _sample(
    options: ReconstructionOptions,
    plan: Plan,
    problem: Problem,
    system: System,
    network: Denoise,
    prior: Prior,
    noise: NoiseStreams,
    step: Callable[[], None],
) -> Draws:
    sigma_data = prior.facts.sigma_data
    if options.sampler == "dps":
        weight = 1.0 if options.weight is None else options.weight
        return dps(problem, network, plan.schedule, noise, weight=weight, report=step)
    with torch.no_grad():
        if options.sampler == "pula":
            return pula(system, network, plan.schedule, sigma_data, noise, gamma=1.0, report=step)
        adapt = options.denoiser_variance == "scan"
        return stochastic_dds(
            system, network, plan.schedule, prior.denoiser_variance, sigma_data, noise, adapt=adapt, report=step
        )


def _classical(options: ReconstructionOptions, scan: Scan, problem: Problem, system: System | None) -> Tensor:
    if options.method == "sense" and system is not None:
        return baselines.cg_sense(system, options.weight)
    if options.method == "l1-wavelet":
        return baselines.l1_wavelet(problem, options.weight)
    if options.method == "grappa":
        return baselines.grappa(problem, scan)
    return baselines.zero_filled(problem)


def _audit(problem: Problem, system: System, draws: Draws, mean: Tensor, inflation: Tensor) -> list[SliceAudit]:
    samples = draws.samples.shape[1]
    count = problem.maps.shape[2] * (problem.kspace[0, 0] != 0).sum()
    expected = 2 * count * system.sigma**2
    chi2 = system.residual(draws.samples) / expected.unsqueeze(-1)
    average = draws.samples.mean(1, keepdim=True)
    mean_chi2 = system.residual(average)[:, 0] / expected
    sample_energy = (
        (chi2.mean(1) - mean_chi2) / (1 - 1 / samples) if samples > 1 else torch.full_like(mean_chi2, torch.nan)
    )
    scale_ratio = mean.abs().flatten(1).quantile(0.99, dim=1)
    return [
        SliceAudit(
            index=problem.slices[i],
            chi2=tuple(float(value) for value in chi2[i]),
            mean_chi2=float(mean_chi2[i]),
            sample_energy=float(sample_energy[i]) if samples > 1 else None,
            sigma=float(system.sigma[i]),
            noise_inflation=float(inflation[i]),
            denoising_inflation=float(draws.inflation[i].max()),
            scale_ratio=float(scale_ratio[i]),
        )
        for i in range(len(problem.slices))
    ]


def _write(writer: Any, problem: Problem, mean: Tensor, draws: Draws | None, options: ReconstructionOptions) -> None:
    shown = problem.magnitude(mean).cpu().numpy()
    zero = problem.magnitude(baselines.zero_filled(problem)).cpu().numpy()
    magnitudes = None if draws is None else problem.magnitude(draws.samples)
    for position, index in enumerate(problem.slices):
        images: dict[str, np.ndarray] = {"reconstruction": shown[position], "zero_filled": zero[position]}
        if magnitudes is not None and draws is not None:
            if magnitudes.shape[1] > 1:
                images["std"] = magnitudes[position].std(0).cpu().numpy()
            if options.keep_samples:
                plain = problem.without_guard(draws.samples[position, :, 0])
                phase = plain[..., problem.crop[0], problem.crop[1]].angle()
                images["samples"] = torch.polar(magnitudes[position], phase).cpu().numpy()
        writer.put(index, **images)


def _shown_noise(problem: Problem) -> float:
    """Noise standard deviation per real component of a fully sampled image in the file's units, median over pixels."""
    sets, shape = problem.maps.shape[1], problem.maps.shape[-2:]
    level = (problem.sigma / problem.guard_scale).reshape(-1, 1, 1, 1).expand(-1, sets, *shape).to(problem.kspace.dtype)
    return float(problem.magnitude(level).median())


def _image_shape(scan: Scan) -> tuple[int, int]:
    return min(scan.image_shape[0], scan.shape[2]), min(scan.image_shape[1], scan.shape[3])


def _batch(scan: Scan, options: ReconstructionOptions, device: torch.device | str) -> int:
    """Slices at a time, so that memory does not grow with the slices of a scan; a processor gains nothing by many."""
    readout, phase = min(scan.shape[2], scan.image_shape[0]), scan.shape[3]
    bytes_each = 8 * readout * (options.map_sets * phase) ** 2 if scan.mask.ndim == 1 else 8 * readout * phase * 200
    return max(1, min(scan.shape[0], int(MEMORY // bytes_each), 1 if torch.device(device).type == "cpu" else 8))


def default_device() -> str:
    """cuda where there is one, else cpu."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def physical_threads() -> int:
    """Threads that this process may use: its processors, or fewer where OMP_NUM_THREADS says so."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    allowed = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(allowed, int(wanted)) if wanted.isdigit() and int(wanted) > 0 else allowed
