"""Noise levels of a sampler, from the start to the last denoising."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """``steps`` levels from ``start`` to ``last``, spaced as in Karras et al., NeurIPS 2022, Eq. 5 (exponent rho)."""

    start: float
    steps: int
    last: float = 0.01
    rho: float = 7.0

    def sigmas(self) -> list[float]:
        """The levels, falling."""
        if self.steps == 1:
            return [self.start]
        high, low = self.start ** (1 / self.rho), self.last ** (1 / self.rho)
        return [(high + i / (self.steps - 1) * (low - high)) ** self.rho for i in range(self.steps)]


def usual_start(acceleration: float) -> float:
    """The noise level from which a sampler starts, when the scan's own noise does not ask for more."""
    return 0.5 if acceleration <= 2.5 else 1.0 if acceleration <= 5 else 5.0
