"""What a power simulation assumes, as options of the command line."""

import math
from dataclasses import dataclass

from recon.errors import ReconError
from recon.options import option


@dataclass(frozen=True)
class Assumptions:
    """Standard deviations in score points, each of ONE cell (a difference of two arms carries sqrt(2) of it)."""

    reference_mean: float | None = option(
        None, "Expected score of the reference, higher is better. Default: three quarters up."
    )
    case: float = option(0.5, "SD between cases, score points.", flag="--case-sd")
    reader: float = option(0.3, "SD between readers (lenient or severe).", flag="--reader-sd")
    reader_arm: float = option(0.1, "SD of reader x arm (taste for one arm).", flag="--reader-arm-sd")
    case_arm: float = option(0.5, "SD of case x arm (the arm suits some cases).", flag="--case-arm-sd")
    reader_case: float = option(0.3, "SD of reader x case.", flag="--reader-case-sd")
    residual: float = option(0.4, "SD of one reading.", flag="--residual-sd")

    def __post_init__(self) -> None:
        for name in ("case", "reader", "reader_arm", "case_arm", "reader_case", "residual"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ReconError(f"standard deviation '{name}' must be 0 or more score points, got {value}")
        if self.case_arm == 0 and self.residual == 0:
            raise ReconError("without any arm x case or residual deviation every study gives the same answer")


@dataclass(frozen=True)
class AreaAssumptions:
    """What is assumed besides where the arms are compared by areas under a curve; then the standard deviations of
    ``Assumptions`` are those of a latent rating, and only their ratios matter."""

    reference_area: float = option(0.8, "Areas: expected area of the reference arm.")
    lesion_cases: float = option(0.5, "Marked lesions: share of cases with a lesion.")
    lesions: float = option(1.5, "Marked lesions: mean number in a case with a lesion, one at least.")
    places: float = option(1.0, "Marked lesions: mean number of places that look like one, in any case.")

    def __post_init__(self) -> None:
        if not 0 < self.reference_area < 1:
            raise ReconError(f"the expected area of the reference lies between 0 and 1, got {self.reference_area}")
        if not 0 < self.lesion_cases < 1:
            raise ReconError(f"the share of cases with a lesion lies between 0 and 1, got {self.lesion_cases}")
        if not 1 <= self.lesions <= 20:
            raise ReconError(f"a case with a lesion has 1 to 20 in the mean, got {self.lesions}")
        if not 0 <= self.places <= 20:
            raise ReconError(f"0 to 20 places in the mean look like a lesion, got {self.places}")
