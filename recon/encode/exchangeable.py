"""Many figures against replicas of noise at once: is the most unusual of them more unusual than noise makes one?

    ratio[j, i] = |figure[j, i]| / mean over the others of |figure[., i]|;   statistic[j] = largest ratio over i

When what is judged differs from its reference by noise alone, it and the replicas are exchangeable, and its statistic
is the largest of all with probability 1 / (replicas + 1), however many figures there are and however they depend on
each other: a permutation test, with no correction for multiplicity to choose.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Judged:
    """``ratios [figure]`` of what is judged, and the largest ratio of each replica ``[replica]``."""

    ratios: Tensor
    noise: Tensor

    @property
    def limit(self) -> float:
        """The largest ratio that noise alone reached."""
        return float(self.noise.max())

    @property
    def false_alarm_rate(self) -> float:
        """How often noise alone goes beyond ``limit``."""
        return 1 / (len(self.noise) + 1)


def judge(figures: Tensor, replicas: Tensor) -> Judged:
    """``figures [figure]`` against ``replicas [replica, figure]`` of the same figures; signs do not count."""
    everything = torch.cat([figures[None], replicas]).double().abs()
    others = (everything.sum(0) - everything) / (len(everything) - 1)
    ratios = torch.where(everything > 0, everything / others.clamp_min(1e-300), 0.0)
    return Judged(ratios[0], ratios[1:].amax(1))
