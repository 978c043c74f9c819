"""Where a training begins: the weights of a study model, or of a pre-training, in place of drawn ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from recon.configuration import from_mapping
from recon.digest import file_sha256
from recon.errors import ReconError
from recon.study.options import GridOptions, NetworkOptions, StudyFitOptions, StudyPretrainingOptions
from recon.study.store import FORMAT, PRETRAINED, read_stored

OPTIONS: dict[str, type[StudyFitOptions] | type[StudyPretrainingOptions]] = {
    FORMAT: StudyFitOptions,
    PRETRAINED: StudyPretrainingOptions,
}


@dataclass(frozen=True, eq=False)
class Start:
    """Weights to begin with, and what must be equal for them to fit."""

    folder: Path
    tensors: Mapping[str, Tensor]
    network: NetworkOptions
    grid: GridOptions
    contrasts: tuple[str, ...]
    persons: frozenset[str]  # hashes of those that the weights have seen
    weights_sha256: str


def load_start(folder: str | Path) -> Start:
    """What ``recon study fit`` or ``recon study pretrain`` wrote, to begin with. Raises ReconError when it is neither,
    or damaged."""
    stored = read_stored(folder, {FORMAT: "recon study fit", PRETRAINED: "recon study pretrain"})
    # Both kinds of training hold more options than these two; they are checked as a whole.
    options = from_mapping(OPTIONS[stored.config["format"]], stored.config.get("fit", {}), str(stored.path))
    digest = file_sha256(stored.weights)
    return Start(Path(folder), stored.tensors, options.network, options.grid, stored.contrasts, stored.persons, digest)


def begin_with(network: nn.Module, start: Start, shape: NetworkOptions, grid: GridOptions) -> None:
    """Put the start's weights into ``network``; what it has none for (after a pre-training: pixels) stays as drawn.

    Raises ReconError when the start is of another shape or grid.
    """
    for name, theirs, ours in (("network", start.network, shape), ("grid", start.grid, grid)):
        if theirs != ours:
            raise ReconError(f"{start.folder}: has another {name} ({theirs}) than the one asked for ({ours})")
    own = dict(network.named_parameters())
    known = {name: tensor for name, tensor in start.tensors.items() if name in own}
    misshapen = sorted(name for name, tensor in known.items() if tensor.shape != own[name].shape)
    if misshapen or not known:
        reason = f"weight '{misshapen[0]}' has another shape" if misshapen else "holds no weight of this network"
        raise ReconError(f"{start.folder}: {reason}; a fixed network begins with one of the same contrasts")
    with torch.no_grad():
        for name, tensor in known.items():
            own[name].copy_(tensor)
