"""What a benchmark compares and a demonstration shows: one declaration for the library and the command line."""

from dataclasses import dataclass
from typing import Literal

from recon.errors import ReconError
from recon.options import check_minimums, option
from recon.reconstruction.methods import METHODS

Axis = Literal["phase", "readout"]


def read_axes(text: str) -> tuple[Axis, ...]:
    """``phase``, ``readout`` or ``both``. Raises ReconError."""
    known: dict[str, tuple[Axis, ...]] = {
        "phase": ("phase",), "readout": ("readout",), "both": ("phase", "readout"),
    }  # fmt: skip
    if text not in known:
        raise ReconError(f"{text}: choose phase, readout or both")
    return known[text]


def read_weights(text: str) -> tuple[tuple[str, tuple[float, ...]], ...]:
    """``dps=3,6,12`` or several such with blanks between, as ``((method, weights), ...)``. Raises ReconError."""
    found = []
    for entry in text.split():
        name, _, values = entry.partition("=")
        row = METHODS.get(name)
        if row is None or row.tuning is None:
            tunable = ", ".join(row.name for row in METHODS.values() if row.tuning is not None)
            raise ReconError(f"{entry}: a method that has a weight is needed before the '=': {tunable}")
        try:
            numbers = tuple(sorted(float(word) for word in values.split(",")))
        except ValueError as error:
            raise ReconError(f"{entry}: numbers with commas between are needed, such as {name}=1,3") from error
        if not all(0 < number < 1e9 for number in numbers):
            raise ReconError(f"{entry}: positive weights are needed")
        found.append((name, numbers))
    return tuple(found)


@dataclass(frozen=True)
class BenchmarkOptions:
    """What to compare. ``axes``: along which image axis of the file lines are left out. ``noise_snr``: see
    ``recon.scans.derived.with_noise``. Without ``samples`` every sampler draws as many as the first one, so that means
    of as many are compared."""

    accelerations: tuple[float, ...] = option((2.0, 3.0, 4.0, 5.0), "Accelerations.", flag="--acceleration")
    axes: tuple[Axis, ...] = option(
        ("phase",), "Image axis of the file along which lines are left out: phase, readout or both.",
        flag="--axis", metavar="NAME", read=read_axes,
    )  # fmt: skip
    mask: str = option("equispaced", "Kind of mask, as in 'recon undersample'.", metavar="KIND")
    calibration_lines: int = option(16, "Fully sampled central lines.", minimum=8)
    methods: tuple[str, ...] = option(tuple(METHODS), "Methods to compare.")
    weights: tuple[tuple[str, tuple[float, ...]], ...] = option(
        (), "Weights that an oracle tries, such as 'dps=3,6,12'. By default: the method's own range.",
        metavar="METHOD=W,...", read=read_weights,
    )  # fmt: skip
    oracle: bool = option(
        False,
        "Add the methods that have a weight with the one that is best on the reference: an oracle, which cannot be had "
        "in practice. Methods without a usable default weight always have it.",
        flag="--oracle",
    )
    noise_snr: float | None = option(
        None,
        "Add complex noise until the image SNR is this: the 99th percentile of the root-sum-of-squares image of the "
        "whitened channels over the noise standard deviation per real component in each. By default: as acquired.",
    )
    samples: int | None = option(None, "Posterior samples. By default: the first sampler's own.", minimum=0)
    steps: int | None = option(None, "Network calls a sample. By default: each sampler's own.", minimum=1)
    coils: int = option(16, "Virtual coils to compress to.", minimum=1)
    seed: int = option(0, "Seed of masks, noise and samples.")

    def __post_init__(self) -> None:
        check_minimums(self)
        if not self.accelerations or not all(1 <= rate < 1e6 for rate in self.accelerations):
            raise ValueError("accelerations must be at least 1")
        object.__setattr__(self, "methods", tuple(name.lower() for name in self.methods))
        for name in self.methods:
            if name not in METHODS:
                raise ValueError(f"unknown method '{name}'; choose from {', '.join(METHODS)}")


@dataclass(frozen=True)
class DemonstrationOptions:
    """What the demonstration shows."""

    accelerations: tuple[int, ...] = option((2, 4), "Accelerations.", flag="--acceleration")
    quick: bool = option(False, "One small slice: seconds instead of minutes.", flag="--quick")
    seed: int = option(0, "Seed of the sampling masks and of the posterior samples.")

    def __post_init__(self) -> None:
        if not self.accelerations or min(self.accelerations) < 1:
            raise ValueError("accelerations must be at least 1")
