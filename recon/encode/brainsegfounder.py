"""BrainSegFounder's shape: the encoder of MONAI's SwinUNETR at 1 mm, 96^3 windows (optional extra ``encoders``).

Feature size 48, one contrast (Cox et al., BrainSegFounder; its ATLAS-stroke fine-tune). Tokens are the deepest
features: 768 values for every 32 mm cube. The decoder of a checkpoint is not used.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recon.encode.adapter import Adapter, mean_and_deviation, standard_scores
from recon.encode.geometry import Grid, cut, orient, pad_to_multiple, resample_bspline
from recon.encode.interface import PreparedVolume, ReferencePreprocessing
from recon.encode.placement import Placement
from recon.encode.weights import load_or_draw
from recon.errors import ReconError

WINDOW, STRIDE, FEATURE_SIZE = 96, (32, 32, 32), 48
LICENCE = "UK Biobank terms (BrainSegFounder)"


@dataclass(frozen=True, eq=False)
class BrainSegFounder(Adapter):
    """A Swin encoder of BrainSegFounder's shape (the swinViT of monai.networks.nets.SwinUNETR); inputs are windows
    ``[window, 1, 96, 96, 96]``, axes of RAS."""

    name = "brainsegfounder"
    token = STRIDE

    def grid(self, volume: NDArray[np.floating], place: Placement) -> tuple[NDArray[np.floating], NDArray[np.float64]]:
        """1 mm, padded to whole windows."""
        oriented, affine, _ = orient(volume, place.affine, "RAS")
        values, resampled = resample_bspline(oriented, affine, np.ones(3))
        padded = pad_to_multiple(Grid(values.astype(np.float32), resampled), (WINDOW, WINDOW, WINDOW))
        return padded.values, padded.affine

    def measure(self, values: NDArray[np.floating]) -> tuple[NDArray[np.bool_], tuple[float, float]]:
        """Positive voxels, z-scored."""
        foreground = values > 0
        return foreground, mean_and_deviation(values[foreground], "positive")

    def inputs(self, values: NDArray[np.floating], preprocessing: ReferencePreprocessing) -> torch.Tensor:
        """Windows of one channel."""
        windows = cut(standard_scores(values, preprocessing), (WINDOW, WINDOW, WINDOW))
        return torch.from_numpy(np.ascontiguousarray(windows.reshape(-1, 1, WINDOW, WINDOW, WINDOW)))

    def features(self, prepared: PreparedVolume) -> tuple[torch.Tensor, torch.Tensor]:
        """One window at a time; tokens ``[token, 768]`` with any foreground, pooled their mean."""
        if len(prepared.coords) == 0:
            raise ReconError("no token left: the mask is empty")
        deepest = [self.network(window[None].to(self.device), True)[-1][0].float() for window in prepared.inputs]
        counts = [n // WINDOW for n in prepared.preprocessing.grid_shape]
        per_window = WINDOW // STRIDE[0]
        features = torch.stack(deepest).view(*counts, -1, per_window, per_window, per_window)
        lattice = features.permute(0, 4, 1, 5, 2, 6, 3).reshape(*prepared.mask.shape, -1)
        tokens = lattice[tuple(prepared.coords.T.to(self.device))]
        return tokens, tokens.mean(dim=0)


def load(weights: Path | None, *, device: str = "cpu", random_seed: int | None = None) -> BrainSegFounder:
    """Load the ``swinViT`` part of a checkpoint strictly, or draw random weights.

    Raises ReconError for missing, unknown or misshapen tensors.
    """
    from monai.networks.nets import SwinUNETR

    def build() -> Any:
        return SwinUNETR(in_channels=1, out_channels=1, feature_size=FEATURE_SIZE).swinViT

    prefixes = ("swinViT.", "module.swinViT.")
    found = load_or_draw(build, weights, random_seed, name="brainsegfounder", prefixes=prefixes, licence=LICENCE)
    return BrainSegFounder.of(found, device)
