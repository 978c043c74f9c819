"""Four hand-made features of a volume behind the encoder interface: what needs no network, as a control beside one.

Prepared as for the small encoder. ``pooled``: the 5th, 95th and 99th percentile of the head's standardised intensities,
and the left-right asymmetry, the 95th percentile of the difference between the mean of a patch and of its mirror image.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.encode.interface import Embedding, PreparedVolume, ReferencePreprocessing
from recon.encode.latent_prediction.preparation import prepare_small
from recon.errors import ReconError

NAME = "hand-made"
PERCENTILES = (0.05, 0.95, 0.99)
ASYMMETRY = 0.95  # quantile of the patches' differences from their mirror images


@dataclass(frozen=True)
class HandMade:
    """Intensities and asymmetry; see ``recon.encode.interface.Encoder``."""

    licence: str = "Apache-2.0"
    weights_hash: str = "no weights"
    name: str = NAME

    def prepare(
        self,
        volume: NDArray[np.floating],
        affine: NDArray[np.float64] | None,
        preprocessing: ReferencePreprocessing | None = None,
        *,
        slice_axis: int | None = None,
    ) -> PreparedVolume:
        """See ``Encoder.prepare``; inputs are patches ``[token, 64]``, as the small encoder's."""
        return prepare_small(volume, affine, preprocessing, slice_axis=slice_axis)

    def encode(self, prepared: PreparedVolume) -> Embedding:
        """See ``Encoder.encode``; tokens ``[token, 4]`` are a patch's mean, standard deviation, largest value and
        difference of mean from the mirrored patch's; ``pooled`` ``[4]`` as the module says."""
        if len(prepared.inputs) == 0:
            raise ReconError("no token left: no patch lies in the head; check the field of view")
        patches = prepared.inputs.float()
        asymmetry = mirrored_difference(patches.mean(dim=1), prepared)
        tokens = torch.stack(
            [patches.mean(dim=1), patches.std(dim=1, correction=0), patches.amax(dim=1), asymmetry], dim=1
        )
        levels = np.quantile(patches.numpy(), PERCENTILES)
        pooled = torch.tensor([*levels, float(np.quantile(asymmetry.abs().numpy(), ASYMMETRY))], dtype=torch.float32)
        return Embedding(tokens, prepared.coords, pooled)


def mirrored_difference(values: Tensor, prepared: PreparedVolume) -> Tensor:
    """``values`` ``[token]`` minus those of the tokens on the other side of the middle of the head; 0 where there is
    none."""
    axis = int(np.argmax(np.abs(prepared.token_to_world[0, :3])))  # of the lattice, along left-right
    coords = prepared.coords
    lattice = torch.full(prepared.mask.shape, float("nan"))
    lattice[tuple(coords.T)] = values
    mirrored = coords.clone()
    mirrored[:, axis] = torch.round(2 * coords[:, axis].double().mean() - coords[:, axis]).long()
    within = (mirrored[:, axis] >= 0) & (mirrored[:, axis] < prepared.mask.shape[axis])
    mirrored[~within] = coords[~within]
    return torch.nan_to_num(values - lattice[tuple(mirrored.T)], nan=0.0)


def load(weights: Path | None, *, device: str = "cpu", random_seed: int | None = None) -> HandMade:
    """The features. Raises ReconError when weights or random weights are asked for: there are none."""
    if weights is not None or random_seed is not None:
        raise ReconError(
            f"encoder '{NAME}': has no weights, so none can be given or drawn at random, and commands that compare "
            "with a random-init control cannot use it; it is for 'recon probe embed'"
        )
    return HandMade()
