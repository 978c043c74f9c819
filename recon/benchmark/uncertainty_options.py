"""How to find out whether the standard deviation holds: one declaration for the library and the command line."""

from dataclasses import dataclass

from recon.options import check_minimums, option
from recon.reconstruction.methods import METHODS, names

FEWEST_CASES = 4  # of which variance factors can be fitted


@dataclass(frozen=True)
class UncertaintyOptions:
    """Undersampling, sampling, and what is looked at. ``regions``: brain regions of ``region_width`` pixels square that
    are drawn in each slice, of the size of a small lesion."""

    accelerations: tuple[float, ...] = option((2.0, 3.0, 4.0, 6.0), "Accelerations.", flag="--acceleration")
    mask: str = option("equispaced", "Kind of mask, as in 'recon undersample'.", metavar="KIND")
    calibration_lines: int = option(16, "Fully sampled central lines.", minimum=8)
    method: str = option("posterior", "A sampler.", metavar="NAME")
    samples: int | None = option(None, "Posterior samples. By default: the method's own.", minimum=2)
    level: float = option(0.9, "Probability of the intervals that are tried.")
    regions: int = option(20, "Brain regions drawn in each slice.", minimum=1)
    region_width: int = option(6, "Their width in pixels.", minimum=2)
    seed: int = option(0, "Seed of masks, samples and regions.")

    def __post_init__(self) -> None:
        check_minimums(self)
        object.__setattr__(self, "method", self.method.lower())
        if (row := METHODS.get(self.method)) is None or not row.needs_prior:
            samplers = names(lambda row: row.needs_prior)
            raise ValueError(f"method '{self.method}' gives no standard deviation; choose from {samplers}")
        if not 0 < self.level < 1:
            raise ValueError("level must lie between 0 and 1")
        if not self.accelerations or not all(1 <= rate < 1e6 for rate in self.accelerations):
            raise ValueError("accelerations must be at least 1")
