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

from recon.encode.geometry import Grid, cut, foreground_share, lattice_affine, orient, pad_to_multiple, resample_bspline
from recon.encode.interface import Embedding, PreparedVolume, ReferencePreprocessing
from recon.encode.placement import place_volume
from recon.encode.weights import load_or_draw
from recon.errors import ReconError

WINDOW, STRIDE, FEATURE_SIZE = 96, (32, 32, 32), 48
LICENCE = "UK Biobank terms (BrainSegFounder)"


@dataclass(frozen=True, eq=False)
class BrainSegFounder:
    """A Swin encoder of BrainSegFounder's shape; see ``recon.encode.interface.Encoder``."""

    network: Any  # the swinViT of monai.networks.nets.SwinUNETR
    weights_hash: str
    device: str = "cpu"
    licence: str = LICENCE
    name: str = "brainsegfounder"

    def prepare(
        self,
        volume: NDArray[np.floating],
        affine: NDArray[np.float64] | None,
        preprocessing: ReferencePreprocessing | None = None,
        *,
        slice_axis: int | None = None,
    ) -> PreparedVolume:
        """See ``Encoder.prepare``; inputs are windows ``[window, 1, 96, 96, 96]``, axes of RAS."""
        place = place_volume(self.name, volume, affine, preprocessing, slice_axis)
        oriented, oriented_affine, _ = orient(volume, place.affine, "RAS")
        values, resampled = resample_bspline(oriented, oriented_affine, np.ones(3))
        grid = pad_to_multiple(Grid(values.astype(np.float32), resampled), (WINDOW, WINDOW, WINDOW))
        if preprocessing is None:
            foreground = grid.values > 0
            mean, deviation = float(grid.values[foreground].mean()), float(grid.values[foreground].std())
            if not deviation > 0:
                raise ReconError("volume: its positive voxels all have the same value; there is nothing to encode")
            preprocessing = place.preprocessing(self.name, grid, foreground, (mean, mean + deviation))
        mean, top = preprocessing.intensity
        standardised = np.where(preprocessing.foreground, (grid.values - mean) / (top - mean), 0.0).astype(np.float32)
        kept = foreground_share(preprocessing.foreground, STRIDE) > 0
        windows = cut(standardised, (WINDOW, WINDOW, WINDOW)).reshape(-1, 1, WINDOW, WINDOW, WINDOW)
        return PreparedVolume(
            inputs=torch.from_numpy(np.ascontiguousarray(windows)),
            coords=torch.from_numpy(np.argwhere(kept)),
            token_to_world=lattice_affine(preprocessing.grid_affine, STRIDE),
            mask=kept,
            preprocessing=preprocessing,
        )

    def encode(self, prepared: PreparedVolume) -> Embedding:
        """See ``Encoder.encode``: one window at a time; tokens ``[token, 768]`` with any foreground."""
        if len(prepared.coords) == 0:
            raise ReconError("no token left: the mask is empty")
        with torch.inference_mode():
            deepest = [
                self.network(window[None].to(self.device), True)[-1][0].float().cpu() for window in prepared.inputs
            ]
        counts = [n // WINDOW for n in prepared.preprocessing.grid_shape]
        per_window = WINDOW // STRIDE[0]
        features = torch.stack(deepest).view(*counts, -1, per_window, per_window, per_window)
        lattice = features.permute(0, 4, 1, 5, 2, 6, 3).reshape(*prepared.mask.shape, -1)
        tokens = lattice[tuple(prepared.coords.T)].clone()
        return Embedding(tokens, prepared.coords, tokens.mean(dim=0))


def load(weights: Path | None, *, device: str = "cpu", random_seed: int | None = None) -> BrainSegFounder:
    """Load the ``swinViT`` part of a checkpoint strictly, or draw random weights.

    Raises ReconError for missing, unknown or misshapen tensors.
    """
    from monai.networks.nets import SwinUNETR

    def build() -> Any:
        return SwinUNETR(in_channels=1, out_channels=1, feature_size=FEATURE_SIZE).swinViT

    prefixes = ("swinViT.", "module.swinViT.")
    found = load_or_draw(build, weights, random_seed, name="brainsegfounder", prefixes=prefixes, licence=LICENCE)
    return BrainSegFounder(found.network.to(device), found.weights_hash, device, found.licence)
