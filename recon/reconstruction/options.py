"""How to reconstruct: one declaration for the library, the YAML configuration and the command line."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ReconstructionOptions:
    """How to reconstruct. None means: chosen from the scan (its acceleration, its noise) by the method.

    ``method`` is a row of ``recon.reconstruction.methods.METHODS``. ``denoiser_variance`` "scan" lets the scan's own
    residual raise the tabulated denoising error, "table" does not. ``noise_sigma`` replaces the noise estimate, in the
    file's units per real component.
    """

    method: str = "posterior"
    samples: int | None = None
    steps: int | None = None
    sigma_max: float | None = None
    sigma_min: float | None = None
    denoiser_variance: Literal["scan", "table"] = "scan"
    weight: float | None = None
    coils: int = 16
    map_sets: int = 1
    noise_sigma: float | None = None
    contrast: str | None = None
    keep_samples: bool = False
    batch: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("samples", "steps", "coils", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        for name in ("sigma_max", "sigma_min", "noise_sigma", "weight"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, not {value}")
        if self.map_sets not in (1, 2):
            raise ValueError(f"map_sets must be 1 or 2, not {self.map_sets}")
