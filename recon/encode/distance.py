"""Distance between two embeddings of the same volume's tokens."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recon.encode.interface import Embedding
from recon.errors import ReconError


@dataclass(frozen=True)
class Drift:
    """Distance between two embeddings of the same tokens. Cosines are 1 minus the distances, which are exactly 0 for
    equal tokens (float64, half the squared distance of unit vectors)."""

    token_distance: float  # mean over tokens of 1 - cosine
    token_cosine: float  # mean over tokens
    token_cosine_p5: float  # 5th percentile over tokens: the worst-hit twentieth
    relative_l2: float  # ||tokens - reference|| / ||reference||
    pooled_cosine: float
    tokens: int  # compared

    @classmethod
    def between(cls, reference: Embedding, other: Embedding) -> "Drift":
        """Drift of ``other`` against ``reference`` over the tokens both have.

        Raises ReconError when they have none in common or differ in features.
        """
        common = common_tokens(reference, other)
        distance = cosine_distance(common.reference, common.other)
        return cls(
            token_distance=float(distance.mean()),
            token_cosine=1 - float(distance.mean()),
            token_cosine_p5=1 - float(np.percentile(distance.numpy(), 95)),
            relative_l2=float((common.other - common.reference).norm() / common.reference.norm()),
            pooled_cosine=1 - float(cosine_distance(reference.pooled.double(), other.pooled.double())),
            tokens=len(distance),
        )


def cosine_distance(first: Tensor, second: Tensor) -> Tensor:
    """1 - cosine over the last axis in float64, as half the squared distance of unit vectors: exactly 0 when equal."""
    unit = [
        vector.double() / vector.double().norm(dim=-1, keepdim=True).clamp_min(1e-300) for vector in (first, second)
    ]
    return (unit[0] - unit[1]).square().sum(dim=-1) / 2


@dataclass(frozen=True, eq=False)
class CommonTokens:
    """Tokens that two embeddings have at the same lattice places."""

    reference: Tensor  # [token, feature] float64
    other: Tensor  # [token, feature] float64
    coords: Tensor  # [token, 3] int64


def common_tokens(reference: Embedding, other: Embedding) -> CommonTokens:
    """Tokens at the lattice places that both embeddings have. Raises ReconError when there are none."""
    if reference.tokens.shape[1] != other.tokens.shape[1]:
        raise ReconError("embeddings of different encoders cannot be compared")
    if torch.equal(reference.coords, other.coords):
        return CommonTokens(reference.tokens.double(), other.tokens.double(), reference.coords)
    places = {tuple(place): index for index, place in enumerate(other.coords.tolist())}
    kept = [(i, places[tuple(p)]) for i, p in enumerate(reference.coords.tolist()) if tuple(p) in places]
    if not kept:
        raise ReconError("reference and reconstruction have no token in common; their masks do not overlap")
    first, second = (torch.tensor(indices) for indices in zip(*kept, strict=True))
    return CommonTokens(reference.tokens[first].double(), other.tokens[second].double(), reference.coords[first])
