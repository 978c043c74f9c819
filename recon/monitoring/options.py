"""How a watch is set up and run: one declaration for the library and the command line."""

from dataclasses import dataclass

from recon.options import check_minimums, option

LEAST_SCANS = 20  # of a baseline, in each stratum: below, location and scale are too uncertain for any useful limit
LEAST_PERSONS = 10
MOST_PERMUTATIONS = 100_000
# Facts of a result that tell scanners and protocols apart. Results that differ in one of them are not compared.
STRATUM = (
    "vendor", "model", "site", "field_strength_t", "contrast", "matrix", "acceleration", "method", "prior",
)  # fmt: skip


@dataclass(frozen=True)
class FitOptions:
    """What a baseline is made with."""

    by: tuple[str, ...] = option(
        STRATUM,
        "Facts that tell scanners and protocols apart: each combination has a baseline of its own. Also protocol, "
        "sequence, channels, echo_time_ms, and every other attribute of the results.",
        metavar="FACT,...",
    )
    run_length: float = option(
        200.0, "Scans without any change, on average, between two false alarms of the charts of a stratum.", minimum=10
    )
    confidence: float = option(
        0.9, "Probability that the run length is at least that, over the baselines that chance could have given."
    )
    seed: int = option(0, "Seed of the bootstrap behind the limits.")

    def __post_init__(self) -> None:
        check_minimums(self)
        if len(set(self.by)) < len(self.by):
            raise ValueError("by: a fact is named twice")
        if not 0.5 <= self.confidence < 1:
            raise ValueError("confidence must be at least .5 and less than 1")
        if not 10 <= self.run_length <= 5000:
            raise ValueError("run_length must lie between 10 and 5000 scans")


@dataclass(frozen=True)
class CheckOptions:
    """How scans are compared with a baseline."""

    window: int = option(10, "Scans of one window of the permutation test.", minimum=5)
    level: float = option(0.01, "Probability that any window is called changed although none is (Holm).")
    permutations: int = option(999, "Permutations of a window, more where there are many windows.", minimum=99)
    seed: int = option(0, "Seed of the permutations.")

    def __post_init__(self) -> None:
        check_minimums(self)
        if self.permutations > MOST_PERMUTATIONS:
            raise ValueError(f"permutations must be at most {MOST_PERMUTATIONS}")
        if not 0 < self.level < 0.5:
            raise ValueError("level must lie between 0 and .5")
