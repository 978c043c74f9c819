"""Local drift: is any token moved farther than noise would move it? A lesion is local; a mean over tokens is not.

A lesion of some millilitres is a few of thousands of tokens: erased, it leaves the mean token distance within the
noise floor. So each token's distance is held against what noise does to the same token, and the token that is moved
most decides, at a known rate of false alarms (``recon.encode.exchangeable``).
"""

from dataclasses import dataclass

from numpy.typing import NDArray
from torch import Tensor

from recon.encode.exchangeable import judge
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
    judged = judge(distances, noise_distances)
    worst = int(judged.ratios.argmax())
    place: NDArray = prepared.token_to_world[:3, :3] @ coords[worst].double().numpy() + prepared.token_to_world[:3, 3]
    return LocalDrift(
        float(judged.ratios[worst]),
        tuple(float(value) for value in judged.noise),
        (float(place[0]), float(place[1]), float(place[2])),
        int((judged.ratios > judged.limit).sum()),
    )
