"""Reading weight files safely and strictly: safetensors, or pickles restricted to tensors; every key accounted for."""

import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from recon.digest import file_sha256
from recon.errors import ReconError
from recon.foreign.archive import check_members
from recon.seeding import stream_seed

Network = TypeVar("Network", bound=nn.Module)
WEIGHT_NAMES = ("model.safetensors", "pytorch_model.safetensors", "pytorch_model.bin", "model.pt", "model.pth")


def find_weight_file(folder: Path) -> Path:
    """The weight file in a folder, safetensors first. Raises ReconError when there is none."""
    for name in WEIGHT_NAMES:
        if (folder / name).is_file():
            return folder / name
    raise ReconError(f"{folder}: no weights here; looked for {', '.join(WEIGHT_NAMES)}")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a weight file, on the CPU. Nothing but tensors is ever unpickled.

    Raises ReconError when the file is missing, truncated, holds objects other than tensors, or a value is not finite.
    """
    if not path.is_file():
        raise ReconError(f"{path}: no such file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            loaded: Any = load_file(path)
        else:
            _check_packed(path)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's advice on odd pickles; what is odd is refused below
                loaded = torch.load(path, map_location="cpu", weights_only=True)
    except ReconError:
        raise
    except pickle.UnpicklingError as error:
        raise ReconError(
            f"{path}: holds more than tensors, or is no weight file; refused, because unpickling could run code"
        ) from error
    except Exception as error:  # safetensors, zipfile and torch each have their own for a truncated file
        raise ReconError(f"{path}: truncated or not a weight file ({type(error).__name__}); obtain it again") from error
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not loaded:
        raise ReconError(f"{path}: expected a mapping of tensors, found {type(loaded).__name__}")
    tensors: dict[str, Tensor] = {}
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ReconError(f"{path}: entry {str(name)[:60]!r} is no tensor; give the weights of the encoder alone")
        if value.is_complex():
            raise ReconError(f"{path}: tensor '{name}' is complex; an encoder's weights are real numbers")
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ReconError(f"{path}: tensor '{name}' has NaN or infinite values; obtain the weights again")
        tensors[name] = value
    return tensors


def _check_packed(path: Path) -> None:
    """Raises ReconError when a checkpoint is an archive whose members unpack to more than they may stand for."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_members(path, archive)


def check_tensors(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Every tensor of the network is in the file with its shape, and nothing else is. Raises ReconError in one line.

    A partial load would leave random weights in place and still give plausible numbers.
    """
    expected = network.state_dict()
    missing = [name for name in expected if name not in tensors]
    extra = [name for name in tensors if name not in expected]
    misshapen = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in tensors and tensors[name].shape != expected[name].shape
    ]
    # A layer may have a bias of zeros, but weights of zeros pass nothing on: they were never trained, or not copied.
    empty = [name for name, value in tensors.items() if name.endswith("weight") and value.numel() and not value.any()]
    of_another_type = [name for name in expected if name in tensors and not _same_kind(tensors[name], expected[name])]
    faults = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for what, names in (
            ("missing", missing),
            ("unknown", extra),
            ("of another shape", misshapen),
            ("of another type than floating point", of_another_type),
            ("all zero", empty),
        )
        if names
    ]
    if faults:
        raise ReconError(
            f"{path}: does not fit the {len(expected)} tensors of this encoder: {'; '.join(faults)}; nothing was loaded"
        )


def _same_kind(tensor: Tensor, expected: Tensor) -> bool:
    """Real numbers of any precision for real numbers, nothing else."""
    return tensor.is_floating_point() == expected.is_floating_point() and not tensor.is_complex()


def weight_file(weights: Path | None) -> Path:
    """The file that ``--weights`` names: itself, or the one in its folder. Raises ReconError when there is none."""
    if weights is None:
        raise ReconError("no weights given; name the checkpoint or its folder with --weights")
    return find_weight_file(weights) if weights.is_dir() else weights


def read_part(path: Path, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """Tensors of a file below the first of ``prefixes`` that occurs, without it; all of them when none occurs.

    Checkpoints of a whole training or a segmentation network hold the encoder as one part. Raises ReconError.
    """
    tensors = read_tensors(path)
    for prefix in prefixes:
        part = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
        if part:
            return part
    return tensors


@dataclass(frozen=True, eq=False)
class Loaded(Generic[Network]):
    """A network in evaluation mode, where its weights are from, and under which licence they stand."""

    network: Network
    weights_hash: str  # SHA-256 of the file, or ``random-init seed N``
    licence: str


def load_or_draw(
    build: Callable[[], Network],
    weights: Path | None,
    random_seed: int | None,
    *,
    name: str,
    prefixes: tuple[str, ...],
    licence: str,
) -> Loaded[Network]:
    """A network of another package with every tensor from a checkpoint, or its random-init control from a seed.

    ``weights`` is a file or the folder that holds it; the part below the first of ``prefixes`` that occurs is taken.
    Raises ReconError for missing, unknown or misshapen tensors.
    """
    if random_seed is not None:
        return drawn(build, random_seed, name)
    path = weight_file(weights)
    tensors = read_part(path, prefixes)
    network = built_with_seed(build, 0, "replaced by the file")
    check_tensors(network, tensors, path)
    network.load_state_dict(tensors, strict=True)
    return Loaded(network, file_sha256(path), licence)


def drawn(build: Callable[[], Network], seed: int, name: str) -> Loaded[Network]:
    """The random-init control of a network of another package."""
    return Loaded(built_with_seed(build, seed, name), f"random-init seed {seed}", "none (random)")


def built_with_seed(build: Callable[[], Network], seed: int, name: str) -> Network:
    """A network of another package, its random weights drawn from ``(seed, name)``, in fp32 evaluation mode.

    Those packages draw from torch's global generator, which is left as it was found.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, name))
        network = build()
    return network.float().requires_grad_(False).eval()
