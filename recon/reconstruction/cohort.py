"""Many scans: which of them this process does, and whether a result that is there is the one that is asked for."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from recon.errors import ReconError
from recon.images.result import read_result_facts
from recon.scan import Scan

Entry = TypeVar("Entry")

IGNORED_OPTIONS = (
    "batch",
    "contrast",
)  # options that do not change the result, or that are stored as resolved by the scan


def own_share(entries: Sequence[Entry], environment: Mapping[str, str] | None = None) -> list[Entry]:
    """Every ``WORLD_SIZE``-th entry from number ``RANK`` on, as ``accelerate launch`` and ``torchrun`` set these; all
    entries without them. Raises ReconError when the two do not fit each other."""
    rank, world = rank_and_world(environment)
    return list(entries[rank::world])


def rank_and_world(environment: Mapping[str, str] | None = None) -> tuple[int, int]:
    """The number of this process and how many there are; (0, 1) when it was started alone. Raises ReconError."""
    values = os.environ if environment is None else environment
    words = (values.get("RANK", "0"), values.get("WORLD_SIZE", "1"))
    try:
        rank, world = int(words[0]), int(words[1])
    except ValueError as error:
        raise ReconError(f"RANK={words[0]}, WORLD_SIZE={words[1]}: whole numbers are needed; unset both") from error
    if not 0 <= rank < world:
        raise ReconError(f"RANK={rank} does not fit WORLD_SIZE={world}; unset both, or start with 'accelerate launch'")
    return rank, world


def own_device(device: str) -> str:
    """``device``, or this process's own of several CUDA devices when there are several processes."""
    rank, world = rank_and_world()
    if device != "cuda" or world == 1:
        return device
    import torch

    return f"cuda:{rank % torch.cuda.device_count()}"


def check_kept(path: Path, options: object, prior_hash: str | None, scan: Scan) -> None:
    """Make sure that the result ``path`` is complete and was made of ``scan`` with ``options`` (a dataclass) and the
    prior whose weights have ``prior_hash`` (None: no prior is used). Reads everything but the images.

    Raises ReconError when the file is damaged, foreign, of another scan or of other settings: it would be kept silently
    otherwise, and one patient's image pass for another's.
    """
    try:
        facts = read_result_facts(path)
    except ReconError as error:
        said = str(error).removesuffix("; reconstruct it again")
        raise ReconError(f"{said}; remove it, or choose another --out") from error
    stored, digest = facts.configuration, facts.attributes.get("scan_digest")
    if digest != scan.digest or facts.shape != (scan.shape[0], *scan.image_shape):
        raise ReconError(
            f"{path}: is the result of another scan than {scan.path} as it is now; remove it, or choose another --out"
        )
    asked = json.loads(json.dumps(dataclasses.asdict(options)))  # type: ignore[call-overload]
    different = sorted(key for key, value in asked.items() if key not in IGNORED_OPTIONS and stored.get(key) != value)
    if facts.attributes.get("prior_hash") != (prior_hash or "none"):
        different.append("prior")
    if stored.get("contrast") != (asked.get("contrast") or scan.contrast):
        different.append("contrast")
    if different:
        raise ReconError(f"{path}: is a result of other settings ({', '.join(different)}); choose another --out")
