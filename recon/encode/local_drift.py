"""Local drift: is any token moved farther than noise would move it? A lesion is local; a mean over tokens is not.

A lesion of some millilitres is a few of thousands of tokens: erased, it leaves the mean token distance within the
noise floor. So each token's distance is held against what noise does to the same token, and the token that is moved
most decides.

    ratio[j, token] = distance[j, token] / mean over the others of distance[., token]
    statistic[j]    = largest ratio over tokens;  j: the reconstruction, and every noise replica

When the reconstruction differs from its reference by noise alone, it and the replicas are exchangeable, and its
statistic is the largest of all with probability 1 / (replicas + 1): a permutation test, exact whatever the encoder.
"""

from dataclasses import dataclass

import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.encode.interface import PreparedVolume


@dataclass(frozen=True)
class LocalDrift:
    """The verdict of the token that moved most."""

    ratio: float  # its distance over what noise makes of the same token
    noise_ratios: tuple[float, ...]  # the same of each noise replica
    place: tuple[float, float, float]  # RAS+ mm of the token's centre
    tokens_above: int  # tokens whose ratio is above every replica's largest

    @property
    def inside(self) -> bool:
        """Whether no token was moved farther than noise moved one."""
        return self.ratio <= max(self.noise_ratios)

    @property
    def false_alarm_rate(self) -> float:
        """How often noise alone is called OUTSIDE."""
        return 1 / (len(self.noise_ratios) + 1)


def local_drift(distances: Tensor, noise_distances: Tensor, coords: Tensor, prepared: PreparedVolume) -> LocalDrift:
    """``distances [token]`` of a reconstruction, ``noise_distances [replica, token]`` of the same tokens, ``coords
    [token, 3]`` their places on the lattice of ``prepared``."""
    everything = torch.cat([distances[None], noise_distances]).double()
    others = (everything.sum(0) - everything) / (len(everything) - 1)
    ratios = torch.where(everything > 0, everything / others.clamp_min(1e-300), 0.0)
    largest = ratios.amax(1)
    worst = int(ratios[0].argmax())
    place: NDArray = prepared.token_to_world[:3, :3] @ coords[worst].double().numpy() + prepared.token_to_world[:3, 3]
    return LocalDrift(
        float(largest[0]),
        tuple(float(value) for value in largest[1:]),
        (float(place[0]), float(place[1]), float(place[2])),
        int((ratios[0] > largest[1:].max()).sum()),
    )
