"""A trained model on disk: weights, card and what it was trained as, in a folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon.atomic import atomic_path
from recon.tensor_file import write_tensors

if TYPE_CHECKING:
    from torch import Tensor

MODEL = "model.safetensors"


def write_model_folder(folder: Path, tensors: "Mapping[str, Tensor]", config: Mapping[str, Any], card: str) -> None:
    """Write ``model.safetensors``, the card ``README.md`` and ``config.json``, the last one last: a folder that has it
    is complete. Raises ReconError when that fails."""
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_tensors(folder / MODEL, held)
    with atomic_path(folder / "README.md") as temporary:
        temporary.write_text(card, encoding="utf-8")
    with atomic_path(folder / "config.json") as temporary:
        temporary.write_text(json.dumps(config, indent=1, allow_nan=False) + "\n", encoding="utf-8")
