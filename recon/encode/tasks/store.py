"""A task model on disk: ``model.safetensors`` (adapters and head), ``config.json``, and a model card."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from recon.configuration import from_mapping
from recon.digest import file_sha256
from recon.encode.interface import DifferentiableEncoder, Encoder
from recon.encode.tasks.low_rank import build_adapters
from recon.encode.tasks.network import TaskHead, random_head
from recon.encode.tasks.options import TaskFitOptions
from recon.encode.weights import find_weight_file, read_tensors
from recon.errors import ReconError
from recon.foreign.json_file import read_json
from recon.model_folder import write_model_folder

FORMAT = "recon-task-2"


@dataclass(frozen=True, eq=False)
class TaskModel:
    """A trained task model on its encoder, whose network is left as it is."""

    folder: Path
    encoder: DifferentiableEncoder
    adapters: Mapping[str, nn.Module]
    head: TaskHead
    options: TaskFitOptions
    classes: tuple[int, ...]
    persons: frozenset[str]  # hashes of those it was fitted on, or its duration chosen on
    weights_sha256: str

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name


def _modules(adapters: Mapping[str, nn.Module], head: nn.Module) -> dict[str, nn.Module]:
    return {"head": head, **{f"adapter/{layer}": adapter for layer, adapter in adapters.items()}}


def save_task(
    folder: Path,
    adapters: Mapping[str, nn.Module],
    head: TaskHead,
    options: TaskFitOptions,
    encoder: Encoder,
    facts: Mapping[str, Any],
) -> None:
    """Write a model's folder. ``facts`` hold ``classes``, ``persons``, ``sizes`` and what the card says. Raises
    ReconError when it cannot be written."""
    tensors = {
        f"{prefix}/{name}": tensor
        for prefix, module in _modules(adapters, head).items()
        for name, tensor in module.state_dict().items()
    }
    config = {
        "format": FORMAT, "encoder": encoder.name, "weights_hash": encoder.weights_hash,
        "fit": dataclasses.asdict(options), **facts,
    }  # fmt: skip
    write_model_folder(folder, tensors, config, _card(options, encoder, facts))


def load_task(folder: str | Path, encoder: Encoder) -> TaskModel:
    """Load what ``recon task fit`` wrote, on the encoder that it was fitted on.

    Raises ReconError for a missing file, another format, another encoder or weights, and misshapen tensors.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ReconError(f"{folder}: not a folder; give the one that 'recon task fit' wrote")
    path = folder / "config.json"
    if not path.is_file():
        raise ReconError(f"{folder}: no finished model; the same 'recon task fit' again continues an interrupted one")
    config = read_json(path)
    if config.get("format") != FORMAT:
        raise ReconError(f"{path}: no model of 'recon task fit' (format {FORMAT})")
    options = from_mapping(TaskFitOptions, config.get("fit", {}), str(path))
    try:
        classes = tuple(int(value) for value in config["classes"])
        persons = frozenset(str(person) for person in config["persons"])
        features, pooled = (int(size) for size in config["sizes"])
        fitted_on = (str(config["encoder"]), str(config["weights_hash"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ReconError(f"{path}: damaged ({error}); copy the model again") from error
    if not isinstance(encoder, DifferentiableEncoder) or (encoder.name, encoder.weights_hash) != fitted_on:
        raise ReconError(
            f"{folder}: was fitted on '{fitted_on[0]}' ({fitted_on[1][:16]}), the encoder is '{encoder.name}' "
            f"({encoder.weights_hash[:16]}); give the same encoder and weights"
        )
    if min(features, pooled) < 1 or max(features, pooled) > 100_000 or not 2 <= len(classes) <= 10_000:
        raise ReconError(f"{path}: damaged (sizes {features}, {pooled}); copy the model again")
    generator = torch.Generator("cpu").manual_seed(0)
    with torch.device("meta"):  # shapes only: a configuration may ask for anything, the file holds what it holds
        adapters = build_adapters(encoder.network, options, generator)
        head = random_head(features, pooled, len(classes), options, generator)
    weight_file = find_weight_file(folder)
    tensors = read_tensors(weight_file)
    for prefix, module in _modules(adapters, head).items():
        own = {name[len(prefix) + 1 :]: t for name, t in tensors.items() if name.startswith(f"{prefix}/")}
        _check(module, own, weight_file, prefix)
        module.load_state_dict(own, strict=True, assign=True)
        module.requires_grad_(False).to(encoder.device).eval()
    return TaskModel(folder, encoder, adapters, head, options, classes, persons, file_sha256(weight_file))


def _check(module: nn.Module, tensors: Mapping[str, torch.Tensor], path: Path, part: str) -> None:
    """Raises ReconError when a part's tensors are not those of its module. Zeros are fine: an adapter may be at its
    start."""
    expected = {name: (tensor.shape, tensor.dtype) for name, tensor in module.state_dict().items()}
    if {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()} != expected:
        raise ReconError(f"{path}: its part '{part}' does not fit config.json; copy the model again")


def _card(options: TaskFitOptions, encoder: Encoder, facts: Mapping[str, Any]) -> str:
    how = {
        "none": "none, the encoder is frozen",
        "lora": "one low-rank product a layer (the control)",
        "molre": f"{options.experts} low-rank experts of rank {options.rank} a layer, soft routing",
    }[options.adapter]
    anatomy = "fused through a gate" if options.anatomy else "not used"
    if options.shuffled_anatomy:
        anatomy = "fused through a gate, its places shuffled: the control"
    lines = [
        f"# Task model: '{options.label}' on {encoder.name}",
        "",
        f"Judge it with `recon task eval LABELS.csv --model THIS_FOLDER --encoder {encoder.name}`.",
        "",
        "| | |",
        "|---|---|",
        f"| encoder | {encoder.name}, {encoder.weights_hash}; licence of its weights: {encoder.licence} |",
        f"| adapters | {how}; {', '.join(facts['layers']) or 'no layer'} |",
        f"| their weights | {facts['adapter_weights']:,}, {facts['adapter_share']:.3%} of the encoder's |",
        f"| views | {', '.join(options.views) or 'all that a case has'} |",
        f"| pooling | {options.pool} |",
        f"| pixel supervision | {f'weight {options.pixel_weight:g}' if options.pixel_weight else 'none'} |",
        f"| anatomy of the heatmap | {anatomy} |",
        f"| training | {facts['samples']:,} volumes; the weights kept are those after {facts['best_samples']:,}, of "
        f"least log loss ({facts['best_log_loss']:.3f}) on {facts['chosen_on_persons']} of the persons |",
        f"| persons | {len(facts['persons'])} |",
        "",
        "It is no medical device, and nothing it says is a diagnosis. Fitted on simulated or semi-synthetic volumes it "
        "knows the lesions of one simulator; what it does on patients is not known.",
        "",
    ]
    return "\n".join(lines)
