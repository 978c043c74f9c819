"""The small encoder behind the encoder interface, with its folder on disk: config.json and safetensors weights."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recon.configuration import from_mapping
from recon.digest import file_sha256
from recon.encode.interface import Embedding, PreparedVolume, ReferencePreprocessing, frozen_embedding
from recon.encode.latent_prediction.network import SliceTransformer, random_network
from recon.encode.latent_prediction.options import TransformerOptions
from recon.encode.latent_prediction.preparation import NAME, prepare_small, token_positions
from recon.encode.weights import check_tensors, find_weight_file, read_tensors
from recon.errors import ReconError
from recon.foreign.json_file import read_json
from recon.model_folder import write_model_folder
from recon.seeding import torch_generator

FORMAT = "recon-small-encoder-1"
SHIPPED = Path(__file__).parents[1] / "shipped"


@dataclass(frozen=True, eq=False)
class SmallEncoder:
    """The small encoder with weights in place; see ``recon.encode.interface.Encoder``."""

    network: SliceTransformer
    weights_hash: str
    device: str = "cpu"
    licence: str = "Apache-2.0"
    name: str = NAME

    def prepare(
        self,
        volume: NDArray[np.floating],
        affine: NDArray[np.float64] | None,
        preprocessing: ReferencePreprocessing | None = None,
        *,
        slice_axis: int | None = None,
    ) -> PreparedVolume:
        """See ``Encoder.prepare``; inputs are patches ``[token, 64]``."""
        return prepare_small(volume, affine, preprocessing, slice_axis=slice_axis, patch=self.network.options.patch)

    def encode(self, prepared: PreparedVolume) -> Embedding:
        """See ``Encoder.encode``; tokens ``[token, width]``, pooled ``[2 width]``.

        ``pooled`` is the mean of every feature over the tokens and its standard deviation: a lesion that fills few
        tokens hardly moves a mean over hundreds.
        """
        return frozen_embedding(self, prepared)

    def features(self, prepared: PreparedVolume) -> tuple[torch.Tensor, torch.Tensor]:
        """See ``DifferentiableEncoder.features``."""
        if len(prepared.inputs) == 0:
            raise ReconError("no token left: no patch lies in the head; check the field of view")
        positions = torch.from_numpy(token_positions(prepared.coords.numpy(), prepared.token_to_world))
        tokens = self.network(prepared.inputs[None].to(self.device), positions[None].to(self.device))[0].float()
        return tokens, torch.cat([tokens.mean(dim=0), tokens.std(dim=0, correction=0)])


def load(weights: Path | None, *, device: str = "cpu", random_seed: int | None = None) -> SmallEncoder:
    """Load the shipped encoder (``weights`` None), one of ``recon encode pretrain``, or draw random weights.

    Random weights have the shape that the folder (the shipped one when None) states. Raises ReconError for a missing
    file, another format, and missing, unknown or misshapen tensors.
    """
    folder = SHIPPED if weights is None else weights
    if not folder.is_dir():
        raise ReconError(f"{folder}: not a folder; give the one that 'recon encode pretrain' wrote")
    config = read_json(folder / "config.json")
    if config.get("format") != FORMAT:
        raise ReconError(f"{folder / 'config.json'}: no encoder of 'recon encode pretrain' (format {FORMAT})")
    options = from_mapping(TransformerOptions, config.get("network", {}), str(folder / "config.json"))
    if random_seed is not None:
        network = random_network(options, torch_generator(random_seed, NAME))
        network.requires_grad_(False).to(device).eval()
        return SmallEncoder(network, f"random-init seed {random_seed}", device, licence="none (random)")
    weight_file = find_weight_file(folder)
    tensors = read_tensors(weight_file)
    with torch.device("meta"):
        network = SliceTransformer(options)
    check_tensors(network, tensors, weight_file)
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=True, assign=True)
    network.requires_grad_(False).to(device).eval()
    return SmallEncoder(network, file_sha256(weight_file), device, licence=str(config.get("licence", "not stated")))


def save(folder: Path, network: SliceTransformer, facts: Mapping[str, Any], card: str) -> None:
    """Write an encoder's folder: half-precision weights, config.json with ``facts``, and the model card.

    Raises ReconError when it cannot be written.
    """
    config = {"format": FORMAT, "network": dataclasses.asdict(network.options), **facts}
    write_model_folder(folder, {name: tensor.half() for name, tensor in network.state_dict().items()}, config, card)
