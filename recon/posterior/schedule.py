"""Noise levels of a sampler, from the start to the last denoising."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """``steps`` levels from ``sigma_max`` to ``sigma_min``, spaced as in Karras et al., NeurIPS 2022, Eq. 5 (exponent
    rho)."""

    sigma_max: float
    steps: int
    sigma_min: float = 0.01
    rho: float | None = 7.0

    def sigmas(self) -> list[float]:
        """The levels, falling."""
        if self.steps == 1:
            return [self.sigma_max]
        if self.rho is None:
            return [
                self.sigma_max * (self.sigma_min / self.sigma_max) ** (i / (self.steps - 1)) for i in range(self.steps)
            ]
        high, low = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        return [(high + i / (self.steps - 1) * (low - high)) ** self.rho for i in range(self.steps)]


def default_sigma_max(acceleration: float) -> float:
    """The noise level from which a sampler starts, when the scan's own noise does not ask for more."""
    return 0.5 if acceleration <= 2.5 else 1.0 if acceleration <= 5 else 5.0
