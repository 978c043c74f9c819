"""A prior on disk: a folder in the diffusers layout plus what a reconstruction must know about it.

    config.json, diffusion_pytorch_model.safetensors    the network, loadable by diffusers itself
    prior.json                                          contrast_labels, sigma_data, denoiser_variance table, training
    facts, weight hash README.md                                           model card

No pickle is ever loaded. A missing or altered file is an error that names it.
"""

import dataclasses
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from recon.acquisition.problem import SCALE_STATISTIC
from recon.atomic import atomic_path
from recon.configuration import from_mapping
from recon.contrast_names import canonical_contrast
from recon.digest import file_sha256
from recon.errors import ReconError
from recon.foreign.json_file import read_json
from recon.prior.denoiser import UNKNOWN_CONTRAST_LABEL, Denoiser, build_network
from recon.prior.options import NetworkOptions
from recon.prior.variance_factors import VarianceFactors
from recon.tensor_file import write_tensors
from recon.version import __version__

WEIGHTS = "diffusion_pytorch_model.safetensors"
FORMAT = "recon-prior-2"
OLD_KEYS = {"slots": "contrast_labels", "r2_sigmas": "denoiser_variance_sigmas", "r2_values": "denoiser_variances"}


@dataclass(frozen=True)
class PriorFacts:
    """What is known of a prior besides its weights.

    ``denoiser_variance``: the validation denoising error per pixel and real component inside the head,
    ``denoiser_variances`` at
    ``denoiser_variance_sigmas``, of the unknown contrast label. ``contrast_labels`` maps a contrast to its row
    of the embedding.
    """

    network: NetworkOptions
    sigma_data: float
    contrast_labels: dict[str, int]
    denoiser_variance_sigmas: tuple[float, ...] = ()
    denoiser_variances: tuple[float, ...] = ()
    draw_excess: float = 2.0  # see recon.posterior.sampler.DiffusionPrior
    amplifications: tuple[float, ...] = ()  # variance of the samples over that of the noise ...
    variance_factors: tuple[float, ...] = ()  # ... and what it is then to be multiplied by, where that was measured ...
    denoising_ratios: tuple[float, ...] = ()  # ... and within which ratios of the scan's own error to the table ...
    denoising_exponents: tuple[float, ...] = ()  # ... it grows with powers of them: see VarianceFactors
    scale_statistic: str = SCALE_STATISTIC
    images_seen: int = 0
    training: dict[str, Any] = field(default_factory=dict)  # data, licences, options, subjects held out ...
    code_version: str = __version__
    weights_sha256: str = ""
    format: str = FORMAT

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that no trained prior has."""
        if not 0 < self.sigma_data < 1e6:
            raise ValueError(f"sigma_data must be positive, not {self.sigma_data:g}")
        if not 1 <= self.draw_excess < 1e6 or self.images_seen < 0:
            raise ValueError("draw_excess must be at least 1, images_seen must not be negative")
        labels = list(self.contrast_labels.values())
        if len(set(labels)) < len(labels) or not all(0 <= label < self.network.contrast_labels for label in labels):
            raise ValueError(
                f"contrast_labels must be different numbers from 0 to {self.network.contrast_labels - 1}: the rows of "
                "the network's embedding"
            )
        self.spread()  # raises ValueError, too

    def spread(self) -> VarianceFactors:
        """By what the variance of posterior samples is to be multiplied."""
        return VarianceFactors(
            self.amplifications, self.variance_factors, self.denoising_ratios, self.denoising_exponents
        )


@dataclass(frozen=True)
class Prior:
    """A loaded prior: the denoiser on its device, in evaluation mode, and its facts."""

    denoiser: Denoiser
    facts: PriorFacts
    folder: Path

    def contrast_label(self, contrast: str) -> int | None:
        """The contrast_label of a contrast, whatever its spelling, or None when the prior was never trained on it."""
        labels = self.facts.contrast_labels
        spelled = {canonical_contrast(name): label for name, label in labels.items()}
        return labels.get(contrast, spelled.get(canonical_contrast(contrast)))

    def denoiser_variance(self, sigma: float) -> float:
        """The tabulated denoising error at ``sigma``, interpolated in log-log; linear-in-sigma^2 bounds outside."""
        return interpolate_variance(self.facts.denoiser_variance_sigmas, self.facts.denoiser_variances, sigma)


def interpolate_variance(sigmas: tuple[float, ...], values: tuple[float, ...], sigma: float) -> float:
    """Log-log interpolation of the denoiser-variance table; below its range denoiser_variance falls with sigma^2, above
    it stays."""
    if sigma < sigmas[0]:
        return values[0] * (sigma / sigmas[0]) ** 2
    return float(math.exp(np.interp(math.log(sigma), np.log(sigmas), np.log(values))))


def shipped_prior() -> Path:
    """The folder of the small prior that comes with the toolkit."""
    return Path(str(resources.files("recon"))) / "prior" / "shipped"


def save_prior(
    folder: str | Path,
    denoiser: Denoiser,
    facts: PriorFacts,
    card: str,
    dtype: torch.dtype = torch.float32,
) -> PriorFacts:
    """Write a prior; returns the facts with the hash of the weights. ``dtype`` of the stored weights."""
    folder = Path(folder)
    weights = {
        name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in denoiser.network.state_dict().items()
    }
    write_tensors(folder / WEIGHTS, weights, {"format": "pt"})
    facts = dataclasses.replace(facts, weights_sha256=file_sha256(folder / WEIGHTS))
    config: Mapping[str, Any] = denoiser.network.config  # type: ignore[assignment]
    _write_text(
        folder / "config.json", json.dumps({"_class_name": "UNet2DModel", **dict(config)}, indent=2, default=list)
    )
    _write_text(folder / "prior.json", json.dumps(dataclasses.asdict(facts), indent=2))
    _write_text(folder / "README.md", card)
    return facts


def store_variance_factors(folder: str | Path, law: VarianceFactors) -> None:
    """Write other variance factors into a prior's ``prior.json``; the weights stay. Raises ReconError."""
    facts = dataclasses.replace(
        read_facts(folder),
        amplifications=law.amplifications,
        variance_factors=law.factors,
        denoising_ratios=law.denoising_ratios,
        denoising_exponents=law.denoising_exponents,
    )
    _write_text(Path(folder) / "prior.json", json.dumps(dataclasses.asdict(facts), indent=2))


def _without_accelerations(values: dict[str, Any]) -> None:
    """Variance factors used to grow with a power of the net acceleration: those in the middle of it are left."""
    reach, exponent = values.pop("accelerations", None), values.pop("acceleration_exponent", 0.0)
    factors = values.get("variance_factors")
    if not (isinstance(exponent, int | float) and isinstance(reach, list) and reach and isinstance(factors, list)):
        return
    if all(isinstance(number, int | float) and number > 0 for number in (*reach, *factors)):
        middle = math.prod(reach) ** (exponent / len(reach))
        values["variance_factors"] = [factor * middle for factor in factors]


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_facts(folder: str | Path) -> PriorFacts:
    """Check a prior's folder and read its facts, without torch's network being built. Raises ReconError."""
    folder = Path(folder)
    for name in ("config.json", WEIGHTS, "prior.json"):
        if not (folder / name).is_file():
            raise ReconError(f"{folder}: not a prior, {name} is missing; give the folder that 'recon pretrain' wrote")
    values = read_json(folder / "prior.json")
    if values.get("format") == "recon-prior-1":
        values = _from_first_format(values)
    if isinstance(values, dict):
        values.pop("draw_share", None)  # measured for another recipe of the draws
        _without_accelerations(values)
    facts = from_mapping(PriorFacts, values, str(folder / "prior.json"))
    if facts.format != FORMAT:
        raise ReconError(
            f"{folder / 'prior.json'}: format '{facts.format}' is not known to recon {__version__}; upgrade it"
        )
    if file_sha256(folder / WEIGHTS) != facts.weights_sha256:
        raise ReconError(
            f"{folder / WEIGHTS}: altered or truncated, its hash is not the one in prior.json; copy it again"
        )
    table = (*facts.denoiser_variance_sigmas, *facts.denoiser_variances)
    if (
        not facts.denoiser_variance_sigmas
        or len(facts.denoiser_variance_sigmas) != len(facts.denoiser_variances)
        or not all(0 < value < 1e12 for value in table)
        or any(low >= high for low, high in itertools.pairwise(facts.denoiser_variance_sigmas))
    ):
        raise ReconError(
            f"{folder / 'prior.json'}: the denoiser-variance table is empty, not ascending or damaged; train or copy "
            "the prior again"
        )
    if facts.scale_statistic != SCALE_STATISTIC:
        raise ReconError(f"{folder / 'prior.json'}: trained with another scale statistic; use the recon that wrote it")
    return facts


def _from_first_format(values: dict[str, Any]) -> dict[str, Any]:
    """The facts of a ``recon-prior-1`` under the names of today, in whatever depth they stand."""

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {OLD_KEYS.get(key, key): renamed(entry) for key, entry in value.items()}
        return [renamed(entry) for entry in value] if isinstance(value, list) else value

    return {**renamed(values), "format": FORMAT}


def load_prior(folder: str | Path, device: torch.device | str = "cpu") -> Prior:
    """Load a prior for sampling. Raises ReconError when a file is missing, altered or does not fit."""
    folder = Path(folder)
    facts = read_facts(folder)
    network = _network(folder, facts)
    denoiser = Denoiser(network, facts.sigma_data, facts.network.unshuffle, facts.network.stride)
    denoiser.eval().requires_grad_(False)
    return Prior(denoiser.to(device).to(memory_format=torch.channels_last), facts, folder)


def _network(folder: Path, facts: PriorFacts) -> nn.Module:
    """The network that ``prior.json`` describes, with its weights. Raises ReconError when config.json or the weights
    describe another one: what config.json says beyond their shapes would change every image without a word."""
    config = read_json(folder / "config.json")
    try:
        # Not on the meta device: an embedding is initialised there through torch's compiler, seconds to import.
        with torch.random.fork_rng(devices=[]):
            network = build_network(facts.network)
        weights = {name: tensor.float() for name, tensor in load_file(folder / WEIGHTS).items()}
        network.load_state_dict(weights, strict=True, assign=True)
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        detail = " ".join(str(error).split())[:200]
        raise ReconError(
            f"{folder}: prior.json and the weights do not fit each other ({detail}); copy them again"
        ) from error
    built: Mapping[str, Any] = network.config  # type: ignore[assignment]
    wanted = json.loads(json.dumps(dict(built), default=list))
    for key in sorted(set(wanted) & set(config)):
        # Keys with an underscore are diffusers' notes on itself, and another version of it may know other keys.
        if not key.startswith("_") and config[key] != wanted[key]:
            raise ReconError(
                f"{folder / 'config.json'}: '{str(key)[:40]}' is not what prior.json says of the network; copy it again"
            )
    return network


def assign_contrast_labels(
    contrasts: set[str], contrast_labels: int, existing: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Give each contrast a contrast label; known ones keep theirs. Raises ReconError when the contrast labels run
    out."""
    table = dict(existing or {})
    for contrast in sorted(contrasts - set(table) - {"unknown"}):
        free = next((i for i in range(UNKNOWN_CONTRAST_LABEL + 1, contrast_labels) if i not in table.values()), None)
        if free is None:
            raise ReconError(
                f"no free contrast label for '{contrast}': all {contrast_labels} are taken by {', '.join(table)}"
            )
        table[contrast] = free
    return table
