"""NeuroVFM behind the encoder interface: weights loaded strictly, one series at a time, fp32 or bf16."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from recon.digest import file_sha256
from recon.encode.interface import Embedding, PreparedVolume, ReferencePreprocessing, frozen_embedding
from recon.encode.neurovfm_configuration import check_configuration, read_statistics
from recon.encode.neurovfm_network import ATTENTION_CHUNK, NeuroVFMNetwork, random_network
from recon.encode.neurovfm_preprocessing import MEAN, STANDARD_DEVIATION, prepare_neurovfm
from recon.encode.weights import check_tensors, read_part, weight_file
from recon.errors import ReconError
from recon.foreign.json_file import read_json
from recon.seeding import torch_generator

LICENCE = "CC-BY-NC-SA-4.0 (non-commercial)"
# The encoder within checkpoints of its training, the student's before any other; upstream drops the same.
PREFIXES = (
    "model.student.vision_encoder.",
    "student.vision_encoder.",
    "model.vision_encoder.",
    "vision_encoder.",
    "model.",
)


@dataclass(frozen=True, eq=False)
class NeuroVFM:
    """The NeuroVFM encoder (arXiv 2511.18640) with weights in place; see ``recon.encode.interface.Encoder``."""

    network: NeuroVFMNetwork
    weights_hash: str
    device: str = "cpu"
    precision: str = "fp32"  # or bf16 (autocast)
    statistics: tuple[float, float] = (MEAN, STANDARD_DEVIATION)
    licence: str = LICENCE
    name: str = "neurovfm"

    def prepare(
        self,
        volume: NDArray[np.floating],
        affine: NDArray[np.float64] | None,
        preprocessing: ReferencePreprocessing | None = None,
        *,
        slice_axis: int | None = None,
    ) -> PreparedVolume:
        """See ``Encoder.prepare``; inputs are patches ``[token, 1024]``."""
        return prepare_neurovfm(volume, affine, preprocessing, slice_axis=slice_axis, statistics=self.statistics)

    def encode(self, prepared: PreparedVolume) -> Embedding:
        """See ``Encoder.encode``; tokens ``[token, 768]``, pooled their mean."""
        return frozen_embedding(self, prepared)

    def features(self, prepared: PreparedVolume, *, chunk: int = ATTENTION_CHUNK) -> tuple[torch.Tensor, torch.Tensor]:
        """See ``DifferentiableEncoder.features``. ``chunk`` is the number of queries attended at once."""
        if len(prepared.inputs) == 0:
            raise ReconError("no token left: every patch touches the background; check the mask and the field of view")
        with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=self.precision == "bf16"):
            tokens = self.network(prepared.inputs.to(self.device), prepared.coords.to(self.device), chunk)
        tokens = tokens.float()
        return tokens, tokens.mean(dim=0)


def load(weights: Path | None, *, device: str = "cpu", random_seed: int | None = None) -> NeuroVFM:
    """Load strictly from a folder with ``config.json`` and weights, or from the weight file in such a folder (also a
    checkpoint of a training that holds the encoder as one part); or draw random weights from a seed.

    Raises ReconError for a missing file, missing, unknown or misshapen tensors, or a configuration of another network.
    """
    if random_seed is not None:
        network = random_network(torch_generator(random_seed, "neurovfm"))
        network.requires_grad_(False).to(device).eval()
        return NeuroVFM(network, f"random-init seed {random_seed}", device, licence="none (random)")
    if weights is None:
        raise ReconError("encoder 'neurovfm': no weights given; --weights FOLDER with config.json and the weights")
    if not weights.exists():
        raise ReconError(f"{weights}: neither a folder with config.json and the weights nor a weight file in one")
    described = (weights if weights.is_dir() else weights.parent) / "config.json"
    config = read_json(described)
    check_configuration(config, described)
    statistics = read_statistics(config, described, (MEAN, STANDARD_DEVIATION))
    file = weight_file(weights)
    tensors = read_part(file, PREFIXES)
    with torch.device("meta"):
        network = NeuroVFMNetwork()
    check_tensors(network, tensors, file)
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=True, assign=True)
    network.requires_grad_(False).to(device).eval()
    return NeuroVFM(network, file_sha256(file), device, statistics=statistics)
