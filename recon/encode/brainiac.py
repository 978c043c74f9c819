"""BrainIAC's shape: MONAI's ViT on the whole head stretched to 96^3, 16^3 patches (optional extra ``encoders``).

88,359,168 parameters (Tak et al., BrainIAC; non-commercial). It was trained on skull-stripped heads, z-scored over
their nonzero voxels; its feature is the first patch token, which is ``pooled`` here.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from recon.encode.adapter import Adapter, mean_and_deviation, standard_scores
from recon.encode.geometry import orient, resize
from recon.encode.interface import PreparedVolume, ReferencePreprocessing
from recon.encode.placement import Placement
from recon.encode.weights import load_or_draw
from recon.errors import ReconError, ReconWarning

EDGE, PATCH = 96, (16, 16, 16)
STRIPPED = 0.2  # share of exactly zero voxels below which a head was hardly skull-stripped
LICENCE = "non-commercial (BrainIAC)"


@dataclass(frozen=True, eq=False)
class BrainIAC(Adapter):
    """A ViT of BrainIAC's shape (monai.networks.nets.ViT); inputs are one volume ``[1, 1, 96, 96, 96]``, axes to Right,
    Anterior, Superior."""

    name = "brainiac"
    token = PATCH

    def grid(self, volume: NDArray[np.floating], place: Placement) -> tuple[NDArray[np.floating], NDArray[np.float64]]:
        """The whole field of view stretched onto 96^3."""
        oriented, affine, _ = orient(volume, place.affine, "RAS")
        return resize(oriented, affine, (EDGE, EDGE, EDGE))

    def measure(self, values: NDArray[np.floating]) -> tuple[NDArray[np.bool_], tuple[float, float]]:
        """Nonzero voxels, z-scored; a warning when the head was hardly stripped."""
        foreground = values != 0
        if foreground.mean() > 1 - STRIPPED:
            warnings.warn(
                "the head does not look skull-stripped (hardly a voxel is zero); this encoder was trained on "
                "stripped heads, so strip reference and reconstruction with one mask",
                ReconWarning,
                stacklevel=3,
            )
        return foreground, mean_and_deviation(values[foreground], "nonzero")

    def inputs(self, values: NDArray[np.floating], preprocessing: ReferencePreprocessing) -> torch.Tensor:
        """One volume of one channel."""
        return torch.from_numpy(standard_scores(values, preprocessing))[None, None]

    def features(self, prepared: PreparedVolume) -> tuple[torch.Tensor, torch.Tensor]:
        """All 216 patches go in, tokens ``[token, 768]`` with any foreground come out; pooled is the first patch's."""
        if len(prepared.coords) == 0:
            raise ReconError("no token left: the mask is empty")
        features = self.network(prepared.inputs.to(self.device))[0][0].float()  # [216, 768]
        edge = EDGE // PATCH[0]
        rows = (prepared.coords * torch.tensor([edge * edge, edge, 1])).sum(dim=1)
        return features[rows.to(self.device)], features[0]


def load(weights: Path | None, *, device: str = "cpu", random_seed: int | None = None) -> BrainIAC:
    """Load a checkpoint (its ``backbone.`` part, or the bare network) strictly, or draw random weights.

    Raises ReconError for missing, unknown or misshapen tensors.
    """
    from monai.networks.nets import ViT

    def build() -> ViT:
        return ViT(in_channels=1, img_size=(EDGE, EDGE, EDGE), patch_size=PATCH, hidden_size=768, mlp_dim=3072)

    found = load_or_draw(build, weights, random_seed, name="brainiac", prefixes=("backbone.",), licence=LICENCE)
    return BrainIAC.of(found, device)
