"""BrainIAC's shape: MONAI's ViT on the whole head stretched to 96^3, 16^3 patches (optional extra ``encoders``).

88,359,168 parameters (Tak et al., BrainIAC; non-commercial). It was trained on skull-stripped heads, z-scored over
their nonzero voxels; its feature is the first patch token, which is ``pooled`` here.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recon.encode.geometry import Grid, foreground_share, lattice_affine, orient, resize
from recon.encode.interface import Embedding, PreparedVolume, ReferencePreprocessing
from recon.encode.placement import place_volume
from recon.encode.weights import load_or_draw
from recon.errors import ReconError, ReconWarning

EDGE, PATCH = 96, (16, 16, 16)
STRIPPED = 0.2  # share of exactly zero voxels below which a head was hardly skull-stripped
LICENCE = "non-commercial (BrainIAC)"


@dataclass(frozen=True, eq=False)
class BrainIAC:
    """A ViT of BrainIAC's shape; see ``recon.encode.interface.Encoder``."""

    network: Any  # monai.networks.nets.ViT
    weights_hash: str
    device: str = "cpu"
    licence: str = LICENCE
    name: str = "brainiac"

    def prepare(
        self,
        volume: NDArray[np.floating],
        affine: NDArray[np.float64] | None,
        preprocessing: ReferencePreprocessing | None = None,
        *,
        slice_axis: int | None = None,
    ) -> PreparedVolume:
        """See ``Encoder.prepare``; inputs are one volume ``[1, 1, 96, 96, 96]``, axes to Right, Anterior, Superior."""
        place = place_volume(self.name, volume, affine, preprocessing, slice_axis)
        oriented, oriented_affine, _ = orient(volume, place.affine, "RAS")
        values, grid_affine = resize(oriented, oriented_affine, (EDGE, EDGE, EDGE))
        if preprocessing is None:
            foreground = values != 0
            if foreground.mean() > 1 - STRIPPED:
                warnings.warn(
                    "the head does not look skull-stripped (hardly a voxel is zero); this encoder was trained on "
                    "stripped heads, so strip reference and reconstruction with one mask",
                    ReconWarning,
                    stacklevel=2,
                )
            mean, deviation = float(values[foreground].mean()), float(values[foreground].std())
            if not deviation > 0:
                raise ReconError("volume: its nonzero voxels all have the same value; there is nothing to encode")
            preprocessing = place.preprocessing(
                self.name, Grid(values.astype(np.float32), grid_affine), foreground, (mean, mean + deviation)
            )
        mean, top = preprocessing.intensity
        standardised = np.where(preprocessing.foreground, (values - mean) / (top - mean), 0.0)
        kept = foreground_share(preprocessing.foreground, PATCH) > 0
        return PreparedVolume(
            inputs=torch.from_numpy(standardised.astype(np.float32))[None, None],
            coords=torch.from_numpy(np.argwhere(kept)),
            token_to_world=lattice_affine(preprocessing.grid_affine, PATCH),
            mask=kept,
            preprocessing=preprocessing,
        )

    def encode(self, prepared: PreparedVolume) -> Embedding:
        """See ``Encoder.encode``: all 216 patches go in, tokens ``[token, 768]`` with any foreground come out."""
        if len(prepared.coords) == 0:
            raise ReconError("no token left: the mask is empty")
        with torch.inference_mode():
            features = self.network(prepared.inputs.to(self.device))[0][0].float().cpu()  # [216, 768]
        edge = EDGE // PATCH[0]
        rows = (prepared.coords * torch.tensor([edge * edge, edge, 1])).sum(dim=1)
        return Embedding(features[rows].clone(), prepared.coords, features[0].clone())


def load(weights: Path | None, *, device: str = "cpu", random_seed: int | None = None) -> BrainIAC:
    """Load a checkpoint (its ``backbone.`` part, or the bare network) strictly, or draw random weights.

    Raises ReconError for missing, unknown or misshapen tensors.
    """
    from monai.networks.nets import ViT

    def build() -> ViT:
        return ViT(in_channels=1, img_size=(EDGE, EDGE, EDGE), patch_size=PATCH, hidden_size=768, mlp_dim=3072)

    found = load_or_draw(build, weights, random_seed, name="brainiac", prefixes=("backbone.",), licence=LICENCE)
    return BrainIAC(found.network.to(device), found.weights_hash, device, found.licence)
