"""What the token heatmap says in anatomical terms: lesion volume, peak, asymmetry, and volume by arterial territory.

The segmentation is the model's own (its chance of lesion in every token). Territories are the simulator's approximate
ones, laid over the head by its extent; they are centimetres wide, as tokens are.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.encode.interface import PreparedVolume
from recon.seeding import torch_generator
from recon.simulate.territories import TERRITORY_SHARES, territory_masks

HEAD = (155.0, 195.0)  # mm, left-right and front-back, of a head whose brain has the extent of MNI's
MIDDLE = (0.0, -16.5, 10.0)  # MNI mm of the middle of a stack over the head
TERRITORIES = tuple(TERRITORY_SHARES)
FEATURES = 3 + len(TERRITORIES)


def shuffled(chances: Tensor, prepared: PreparedVolume) -> Tensor:
    """The chances ``[token]`` in another order, the same each time for a volume: a heatmap without places."""
    generator = torch_generator(0, "shuffled-anatomy", str(int(prepared.mask.sum())))
    return chances[torch.randperm(len(chances), generator=generator).to(chances.device)]


def anatomy_features(chances: Tensor, prepared: PreparedVolume) -> Tensor:
    """Of one view ``[FEATURES]``: logarithm of 1 + lesion volume in mL, largest chance, left-right asymmetry (0 to 1)
    of the volume, and the logarithm of 1 + the volume in each territory.

    ``chances`` [token] may be those of some of the tokens; volumes are then scaled up to all.
    """
    world = _head_coordinates(prepared).T
    millilitres = float(np.prod(prepared.token_size)) / 1000 * float(prepared.mask.sum()) / len(chances)
    volumes = chances * millilitres
    right = torch.from_numpy(world[0] > 0).to(chances.device)
    total, sides = volumes.sum(), (volumes * right).sum() - (volumes * ~right).sum()
    masks = territory_masks(*world)
    within = [(volumes * torch.from_numpy(masks[name]).to(chances.device)).sum() for name in TERRITORIES]
    return torch.stack(
        [total.log1p(), chances.max(), sides.abs() / (total + 1e-6), *(volume.log1p() for volume in within)]
    )


def _head_coordinates(prepared: PreparedVolume) -> NDArray[np.float64]:
    """Approximate MNI coordinates ``[token, 3]`` of the tokens, by the extent of all that lie in the head."""

    def world(coords: NDArray[np.int64]) -> NDArray[np.float64]:
        placed: NDArray[np.float64] = coords @ prepared.token_to_world[:3, :3].T + prepared.token_to_world[:3, 3]
        return placed

    every = world(np.argwhere(prepared.mask))
    low, high = every.min(axis=0), every.max(axis=0)
    scale = np.array([*(edge / max(size, 1.0) for edge, size in zip(HEAD, (high - low)[:2], strict=True)), 1.0])
    return (world(prepared.coords.numpy()) - (low + high) / 2) * scale + MIDDLE
