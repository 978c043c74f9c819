"""How to reconstruct: one declaration for the library, the YAML configuration and the command line."""

import math
import reprlib
from dataclasses import dataclass
from typing import Literal

from recon.contrast_names import canonical_contrast
from recon.options import check_minimums, option

MOST_SAMPLES = 1000  # they give the standard deviation to 2 %, and are held in memory together
# In units of the image scale. Wider by far than what a prior tells apart, or than weights that leave an image; their
# squares stay numbers in single precision.
RANGES = {"sigma_max": (1e-6, 1e4), "sigma_min": (1e-6, 1e4), "weight": (1e-12, 1e4)}
MOST_STEPS = 100_000  # network calls one after another; the most that a published sampler takes is a thousand
_shown = reprlib.Repr()  # a number of thousands of digits would fill the screen


@dataclass(frozen=True)
class ReconstructionOptions:
    """How to reconstruct. None means: chosen from the scan (its acceleration, its noise) by the method.

    ``method`` is a row of ``recon.reconstruction.methods.METHODS``. ``denoiser_variance`` "scan" lets the scan's own
    residual raise the tabulated denoising error, "table" does not. ``noise_sigma`` replaces the noise estimate, in the
    file's units per real component.
    """

    method: str = option("posterior", "How the image is made.", metavar="NAME")
    samples: int | None = option(
        None,
        "Posterior samples: for the standard deviation, or the image where it is their mean. By default: the "
        "method's own.",
        minimum=0,
    )
    steps: int | None = option(None, "Network calls a sample. By default: by acceleration and noise.", minimum=1)
    sigma_max: float | None = option(
        None, "Noise level of the first denoising, in units of the image scale. By default: by acceleration and noise."
    )
    sigma_min: float | None = option(None, "Noise level of the last denoising. By default: the method's own.")
    denoiser_variance: Literal["scan", "table"] = option(
        "scan", "How far the prior is trusted: by its tabulated validation error, which scan lets this scan raise."
    )
    weight: float | None = option(
        None, "Regularisation of the image; step length of dps. By default: from the noise, where it has one."
    )
    coils: int = option(16, "Virtual coils to compress to.", minimum=1)
    map_sets: int = option(1, "Sets of coil maps: 2 when the field of view is smaller than the head.", minimum=1)
    noise_sigma: float | None = option(
        None, "Noise standard deviation per real component in the file's units. By default: estimated from the scan."
    )
    contrast: str | None = option(None, "Contrast that the prior takes it for. By default: what the file says.")
    keep_samples: bool = option(False, "Store every posterior sample.", flag="--keep-samples")
    batch: int | None = option(None, "Slices at a time. By default: as memory allows; changes no image.", minimum=1)
    seed: int = option(0, "The same seed gives the same samples.")

    def __post_init__(self) -> None:
        check_minimums(self)
        object.__setattr__(self, "method", self.method.lower())
        if self.contrast is not None:
            object.__setattr__(self, "contrast", canonical_contrast(self.contrast))
        for name, most in (("samples", MOST_SAMPLES), ("steps", MOST_STEPS)):
            if (getattr(self, name) or 0) > most:
                raise ValueError(f"{name} must be at most {most}, not {_shown.repr(getattr(self, name))}")
        for name in ("sigma_max", "sigma_min", "noise_sigma", "weight"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, not {value}")
            low, high = RANGES.get(name, (0, math.inf))
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name} must be from {low:g} to {high:g} in units of the image scale, not {value}")
        if self.map_sets not in (1, 2):
            raise ValueError(f"map_sets must be 1 or 2, not {self.map_sets}")
