"""A study model on disk: ``model.safetensors``, ``config.json`` with the facts, and a model card."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from recon.configuration import from_mapping
from recon.digest import file_sha256
from recon.encode.weights import check_tensors, find_weight_file, read_tensors
from recon.errors import ReconError
from recon.foreign.json_file import read_json
from recon.model_folder import write_model_folder
from recon.study.contrasts import INPUTS
from recon.study.network import random_network
from recon.study.options import StudyFitOptions, StudyTrainingOptions

FORMAT = "recon-study-2"
CODES = "input.codes.weight"  # [contrast, code]
PRETRAINED = "recon-study-pretraining-1"
Network = TypeVar("Network", bound=nn.Module)
Options = TypeVar("Options", bound=StudyTrainingOptions)


@dataclass(frozen=True, eq=False)
class TrainedModel(Generic[Network, Options]):
    """A network trained on studies and what it knows."""

    folder: Path
    network: Network
    options: Options
    contrasts: tuple[str, ...]  # that it was trained on
    persons: frozenset[str]  # hashes of those it was trained on
    weights_sha256: str
    device: str = "cpu"

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name


StudyModel = TrainedModel[nn.Module, StudyFitOptions]


def person_hash(person: str) -> str:
    """A person as files hold it."""
    return hashlib.sha256(f"recon-study|{person}".encode()).hexdigest()[:16]


def write_model(
    folder: Path, tensors: Mapping[str, Tensor], kind: str, options: Any, facts: Mapping[str, Any], card: str
) -> None:
    """Write tensors, card and a configuration of format ``kind``, the last one last; ``facts`` holds ``contrasts`` and
    ``persons``. Raises ReconError when it cannot be written."""
    write_model_folder(folder, tensors, {"format": kind, "fit": dataclasses.asdict(options), **facts}, card)


@dataclass(frozen=True, eq=False)
class Stored:
    """What a folder of a training on studies says and holds."""

    config: dict[str, Any]
    path: Path  # of the configuration
    contrasts: tuple[str, ...]
    persons: frozenset[str]  # hashes of those it was trained on
    weights: Path
    tensors: dict[str, Tensor]


def read_stored(folder: str | Path, formats: Mapping[str, str]) -> Stored:
    """Read a folder of one of some formats, given with the commands that write them. Raises ReconError in one line for
    another folder, and for a damaged one."""
    folder = Path(folder)
    commands = " or ".join(f"'{command}'" for command in formats.values())
    if not folder.is_dir():
        raise ReconError(f"{folder}: not a folder; give the one that {commands} wrote")
    path = folder / "config.json"
    if not path.is_file() or (config := read_json(path)).get("format") not in formats:
        known = ", ".join(formats)
        raise ReconError(
            f"{folder}: no model of {commands} (config.json of format {known}); the same command again continues an "
            "interrupted one"
        )
    contrasts, persons = config.get("contrasts"), config.get("persons")
    if not isinstance(contrasts, list) or not contrasts or set(map(str, contrasts)) - set(INPUTS):
        raise ReconError(f"{path}: damaged (contrasts: a list of {', '.join(INPUTS)}); copy the model again")
    if len(set(contrasts)) < len(contrasts) or not isinstance(persons, list):
        raise ReconError(f"{path}: damaged (contrasts named twice, or no list of persons); copy the model again")
    weights = find_weight_file(folder)
    return Stored(
        config, path, tuple(map(str, contrasts)), frozenset(map(str, persons)), weights, stored_weights(weights)
    )


def load_trained(
    stored: Stored,
    kind: type[Options],
    build: Callable[[Options, tuple[str, ...], torch.Generator], Network],
    device: str,
) -> TrainedModel[Network, Options]:
    """The stored model, ready to be asked. Raises ReconError for options or tensors that are not its own.

    Its shape is compared before memory is taken: a configuration may ask for anything, a file holds what it holds.
    """
    options = from_mapping(kind, stored.config.get("fit", {}), str(stored.path))
    generator = torch.Generator("cpu").manual_seed(0)
    with torch.device("meta"):
        network = build(options, stored.contrasts, generator)
    check_tensors(network, stored.tensors, stored.weights)
    network.load_state_dict({name: tensor.float() for name, tensor in stored.tensors.items()}, strict=True, assign=True)
    network.requires_grad_(False).to(device).eval()
    digest = file_sha256(stored.weights)
    return TrainedModel(stored.path.parent, network, options, stored.contrasts, stored.persons, digest, device)


def load_model(folder: str | Path, device: str = "cpu") -> StudyModel:
    """Load what ``recon study fit`` wrote. Raises ReconError for a missing file, another format, misshapen tensors."""

    def build(options: StudyFitOptions, contrasts: tuple[str, ...], generator: torch.Generator) -> nn.Module:
        return random_network(options.network, options.grid, [INPUTS.index(name) for name in contrasts], generator)

    return load_trained(read_stored(folder, {FORMAT: "recon study fit"}), StudyFitOptions, build, device)


def stored_weights(path: Path) -> dict[str, Tensor]:
    """The weights of a study network; those of one from before there were as many contrasts get codes of zeros for the
    others, which it does not know. Raises ReconError for a damaged file."""
    tensors = read_tensors(path)
    codes = tensors.get(CODES)
    if codes is not None and codes.ndim == 2 and len(codes) < len(INPUTS):
        tensors[CODES] = torch.cat([codes, codes.new_zeros(len(INPUTS) - len(codes), codes.shape[1])])
    return tensors


def model_card(options: StudyFitOptions, facts: Mapping[str, Any]) -> str:
    """The README of a model's folder."""
    network = options.network
    lines = [
        f"# Study network ({network.kind}{', last layers only' if options.frozen else ''}): infarcts in brain studies",
        "",
        "Judge it with `recon study eval STUDIES --model THIS_FOLDER`, and what acceleration costs it with `recon "
        "study accelerate STUDIES --model THIS_FOLDER`.",
        "",
        "| | |",
        "|---|---|",
        f"| contrasts | {', '.join(facts['contrasts'])} |",
        f"| weights | {facts['parameters']:,}, of them trained {facts['trained_parameters']:,} |",
        f"| training | {facts['samples']:,} slabs of {network.slab} slices, {options.grid.matrix[0]} x "
        f"{options.grid.matrix[1]} pixels of {options.grid.pixel:g} mm; a random subset of the contrasts in "
        f"{options.contrast_dropout:.0%} of the steps; {options.faster:.0%} of the series as faster scans show them |",
        *([] if facts["start"] is None else [f"| began with | {facts['start']} |"]),
        *([f"| protocols | each person with one of {', '.join(options.protocols)} |"] if options.protocols else []),
        f"| data | {facts['studies']} studies of {len(facts['persons'])} persons; {facts['held_out_persons']} persons "
        "held out |",
        f"| loss at the end | {facts['loss']:.3f} |",
        "",
        "| studies | origin | licence |",
        "|---|---|---|",
        *(f"| {row['studies']} | {row['origin']} | {row['licence']} |" for row in facts["data"]),
        "",
        "It is no medical device, and nothing it says is a diagnosis. On simulated studies it was trained and judged "
        "by the lesions of one simulator; what it does on patients is not known.",
        "",
    ]
    return "\n".join(lines)
