"""What this machine does: stages, slices a second, memory, training throughput, and what its precision costs.

One simulated scan is reconstructed as a user's would be. On a GPU every stage waits for the device, which the ordinary
path never does, so that seconds belong to the stage that took them.
"""

import copy
import os
import platform
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recon.acquisition.masks import draw_mask
from recon.benchmark.speed_network import compiled_seconds, network_seconds
from recon.benchmark.speed_options import SpeedOptions
from recon.benchmark.speed_training import training_speed
from recon.configuration import load_config
from recon.prior.denoiser import Denoiser, build_denoiser, low_precision
from recon.prior.options import TrainingOptions
from recon.prior.store import Prior
from recon.progress import Report, silent
from recon.reconstruction.machine import Memory, Stopwatch, waiting_for
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import reconstruct, reconstruct_to_file
from recon.scan import Scan
from recon.scans.derived import with_mask, with_slices
from recon.scans.opening import open_scan
from recon.seeding import numpy_generator
from recon.simulate.cohort import simulate_cohort
from recon.simulate.options import SimulationOptions
from recon.version import __version__

CALIBRATION_LINES = 24
SNR = 20.0


@dataclass(frozen=True)
class ReconstructionSpeed:
    """Reconstruction of ``slices`` slices: seconds of a slice by stage and in all, network calls of a slice, and the
    peak of memory in bytes: of the device, or of the process where the device is the processor."""

    network: str
    parameters: int
    slices: int
    network_calls: int
    seconds: dict[str, float]
    seconds_a_slice: float
    peak_memory: int | None


def machine(device: torch.device | str) -> dict[str, Any]:
    """The machine in words that mean something to others: no name and no address of it."""
    facts: dict[str, Any] = {
        "recon": __version__, "torch": torch.__version__, "python": platform.python_version(),
        "threads": torch.get_num_threads(), "processors": os.cpu_count(), "architecture": platform.machine(),
        "precision": "bf16" if _is_low(device) else "fp32",
    }  # fmt: skip
    if torch.device(device).type == "cuda":
        facts |= {
            "device": torch.cuda.get_device_name(device),
            "device_memory": torch.cuda.get_device_properties(device).total_memory,
            "cuda": torch.version.cuda,
        }
    return facts


def _is_low(device: torch.device | str) -> bool:
    with low_precision(device):
        return torch.is_autocast_enabled(torch.device(device).type)


def speed(
    prior: Prior, options: SpeedOptions, *, device: torch.device | str = "cpu", report: Report = silent
) -> dict[str, Any]:
    """Everything that is measured, JSON-ready: ``machine``, ``options``, ``reconstruction`` (one entry a network),
    ``network``, ``precision``, ``training``.

    Raises ReconError for a recipe that does not exist or a scan that cannot be made.
    """
    recipe_name = options.recipe or ("fastmri-brain" if torch.device(device).type == "cuda" else "cpu")
    recipe = load_config(TrainingOptions, recipe_name)
    report("simulating a scan", 0.0)
    scan = simulated_scan(options)
    untrained = _untrained(prior, recipe, options.seed, device)
    priors = {"prior": prior}
    if recipe.network != prior.facts.network:
        priors[f"{recipe_name}, untrained"] = untrained
    rows = []
    for number, (name, one) in enumerate(priors.items()):
        report(f"reconstructing with {name}", 0.1 + 0.2 * number)
        rows.append(reconstruction_speed(scan, one, name, options, device))
    report("timing the network", 0.5)
    network = {name: network_seconds(one.denoiser, options.size, device) for name, one in priors.items()}
    found: dict[str, Any] = {
        "machine": machine(device),
        "options": {**vars(options), "recipe": recipe_name},
        "reconstruction": [vars(row) for row in rows],
        "network_seconds_a_call": network,
    }
    if options.compiled:
        report("compiling the network", 0.6)
        found["network_seconds_a_call_compiled"] = {
            name: compiled_seconds(one.denoiser, options.size, device) for name, one in priors.items()
        }
    report("comparing precisions", 0.7)
    found["precision"] = precision(with_slices(scan, range(1)), prior, options, device)
    report("training", 0.85)
    found["training"] = training_speed(recipe, options, device)
    return found


def simulated_scan(options: SpeedOptions) -> Scan:
    """A simulated FLAIR scan of the wanted size, undersampled, in memory: no disk is measured."""
    wanted = SimulationOptions(
        size=options.size, coils=options.coils, slices=max(options.slices, 3), snr=SNR, seed=options.seed
    )
    with tempfile.TemporaryDirectory() as folder:
        manifest = simulate_cohort(Path(folder), 1, ["FLAIR"], wanted)
        scan = open_scan(Path(folder) / manifest["scans"][0]["file"])
        kspace = [scan.read_kspace(index) for index in range(scan.shape[0])]
    held = replace(scan, read_kspace=kspace.__getitem__, read_reference=None)
    generator = numpy_generator(options.seed, held.identity, "mask")
    shape = (held.shape[2], held.shape[3])
    mask = draw_mask("equispaced", shape, options.acceleration, CALIBRATION_LINES, generator, held.phase_limits)
    return with_slices(with_mask(held, mask), range(options.slices))


def reconstruction_speed(
    scan: Scan, prior: Prior, name: str, options: SpeedOptions, device: torch.device | str
) -> ReconstructionSpeed:
    """The default method on every slice, timed after one slice that is not."""
    choice = ReconstructionOptions(coils=options.coils, seed=options.seed)
    reconstruct(with_slices(scan, range(1)), prior, choice, device=device)
    watch, memory = Stopwatch(wait=waiting_for(device)), Memory(device)
    with tempfile.TemporaryDirectory() as folder:
        outcome = reconstruct_to_file(scan, choice, Path(folder) / "result.h5", prior, device=device, watch=watch)
    seconds = {stage: value / scan.shape[0] for stage, value in outcome.seconds.items()}
    whole = seconds.pop("total")
    parameters = sum(weight.numel() for weight in prior.denoiser.parameters())
    return ReconstructionSpeed(name, parameters, scan.shape[0], outcome.network_calls, seconds, whole, memory.peak())


def precision(scan: Scan, prior: Prior, options: SpeedOptions, device: torch.device | str) -> dict[str, float]:
    """What the device's low precision does to an image: normalised root-mean-square differences of the image of one
    slice, and beside the standard deviation that the result states (median over pixels of the head)."""
    choice = ReconstructionOptions(coils=options.coils, seed=options.seed)
    usual, deviation = _image(scan, prior, choice, device)
    full, _ = _image(scan, in_full_precision(prior), choice, device)
    head = full > 0.1 * full.quantile(0.99)
    differences = {
        "low_against_full": _difference(usual, full),
        "low_against_full_over_std": float(((usual - full).abs() / deviation)[head].nanmedian()),
    }
    if torch.device(device).type != "cpu":
        on_cpu = replace(prior, denoiser=copy.deepcopy(prior.denoiser).to("cpu"))
        there, _ = _image(scan, in_full_precision(on_cpu), choice, "cpu")
        differences |= {
            "low_against_full_on_processor": _difference(usual, there),
            "full_against_full_on_processor": _difference(full, there),
        }
    return differences


def in_full_precision(prior: Prior) -> Prior:
    """The prior with a denoiser that computes in single precision whatever its caller allows."""
    return replace(prior, denoiser=_FullPrecision(prior.denoiser).eval())


class _FullPrecision(Denoiser):
    """A denoiser inside of which there is no low precision."""

    def __init__(self, inner: Denoiser) -> None:
        nn.Module.__init__(self)
        self.inner = inner

    def forward(self, image: Tensor, sigma: Tensor, contrast_label: Tensor) -> Tensor:
        """See ``Denoiser.forward``."""
        with torch.autocast(image.device.type, enabled=False):
            return self.inner(image, sigma, contrast_label)


def _image(
    scan: Scan, prior: Prior, choice: ReconstructionOptions, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """Magnitude and standard deviation ``[readout, phase]`` of the first slice."""
    result = reconstruct(scan, prior, choice, device=device)
    assert result.std is not None
    return torch.from_numpy(result.reconstruction[0]), torch.from_numpy(result.std[0])


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def _untrained(prior: Prior, recipe: TrainingOptions, seed: int, device: torch.device | str) -> Prior:
    """A prior with a recipe's network, whose weights are random: as fast as a trained one, and no more than that."""
    denoiser = build_denoiser(recipe.network, recipe.sigma_data, seed).eval().requires_grad_(False)
    denoiser = denoiser.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    labels = {
        name: label for name, label in prior.facts.contrast_labels.items() if label < recipe.network.contrast_labels
    }
    facts = replace(
        prior.facts, network=recipe.network, sigma_data=recipe.sigma_data, contrast_labels=labels, weights_sha256=""
    )
    return Prior(denoiser, facts, prior.folder)
