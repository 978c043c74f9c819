"""What is done before a method solves: calibrate some slices of a scan, and set up data consistency.

Methods differ in the model that they solve. Classical ones take the maps of the calibration lines on the grid of the
data, as is usual; samplers take maps refined by all acquired lines on a grid with a guard band. Both raise the noise to
what no image explains, so that the default weight of CG-SENSE and that of a sampler rest on the same noise.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from recon.acquisition.problem import CoilPreprocessing, Problem, calibrate, preprocess_coils
from recon.errors import naming
from recon.posterior.refinement import refined_problem
from recon.posterior.setup import noise_inflated_system, noise_inflation, system_of
from recon.posterior.system import System
from recon.reconstruction.machine import Stopwatch
from recon.reconstruction.options import ReconstructionOptions
from recon.scan import Scan


@dataclass(frozen=True)
class Measurement:
    """A scan with what is estimated from it once, for all slices."""

    scan: Scan
    preprocessing: CoilPreprocessing
    device: torch.device | str = "cpu"
    watch: Stopwatch = field(default_factory=Stopwatch, compare=False)


@dataclass(frozen=True)
class Prepared:
    """Some slices ready to be solved. ``noise_inflation [slice]``: the noise used over the noise estimated."""

    problem: Problem
    system: System | None
    noise_inflation: Tensor


def measure(
    scan: Scan,
    options: ReconstructionOptions,
    device: torch.device | str = "cpu",
    watch: Stopwatch | None = None,
) -> Measurement:
    """Noise, whitening and coil compression of a scan. Raises ReconError when its calibration is too small."""
    watch = Stopwatch() if watch is None else watch
    with watch.stage("calibration"), naming(scan.path):
        found = preprocess_coils(scan, coils=options.coils, noise_sigma=options.noise_sigma, device=device)
    return Measurement(scan, found, device, watch)


def calibrated(measurement: Measurement, slices: range, options: ReconstructionOptions) -> Prepared:
    """The problem alone: for methods that make their own use of kspace."""
    with measurement.watch.stage("calibration"):
        problem = calibrate(
            measurement.scan, measurement.preprocessing, slices, map_sets=options.map_sets, device=measurement.device
        )
    return Prepared(problem, None, torch.ones_like(problem.sigma))


def calibrated_system(measurement: Measurement, slices: range, options: ReconstructionOptions) -> Prepared:
    """The problem with its data consistency, its noise raised to what no image explains."""
    prepared = calibrated(measurement, slices, options)
    with measurement.watch.stage("solver set-up"):
        system = system_of(prepared.problem)
        inflation = noise_inflation(system)
        return Prepared(prepared.problem, system.with_sigma(system.sigma * inflation), inflation)


def refined_system(measurement: Measurement, slices: range, options: ReconstructionOptions) -> Prepared:
    """The problem with guard band and refined maps, its noise raised line by line: what samplers solve."""
    problem, fit = refined_problem(
        measurement.scan,
        measurement.preprocessing,
        slices,
        map_sets=options.map_sets,
        device=measurement.device,
        stage=measurement.watch.stage,
    )
    with measurement.watch.stage("solver set-up"):
        system, inflation = noise_inflated_system(problem, fit)
    return Prepared(problem, system, inflation)
