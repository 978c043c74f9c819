"""How a probe is fitted and judged: one declaration each for the library and the command line."""

from dataclasses import dataclass
from typing import Literal

from recon.errors import ReconError
from recon.options import REQUIRED, check_minimums, option

LARGEST_HOLD_OUT = 0.9


def read_rates(text: str) -> tuple[float, ...]:
    """``0:0.5:0.05`` as rates 0, 0.05 ... 0.5. Raises ReconError for anything else."""
    try:
        start, stop, step = (float(part) for part in text.split(":"))
    except ValueError as error:
        raise ReconError(f"--reject {text}: give START:STOP:STEP, e.g. 0:0.5:0.05") from error
    if not (0 <= start < stop < 1 and 0 < step <= stop - start):
        raise ReconError(f"--reject {text}: rates lie between 0 and 1, the step is positive")
    return tuple(round(start + index * step, 10) for index in range(int((stop - start) / step + 1e-6) + 1))


@dataclass(frozen=True)
class FitOptions:
    """Which probe is fitted, to what, on whom. ``probe`` is a row of ``recon.encode.probes.table``."""

    label: str = option(REQUIRED, "Column of the labels table.")
    probe: str = option("linear", "Kind of probe.", metavar="KIND")
    hold_out: float = option(0.3, "Share of persons left out, where the table has no split column.", minimum=0)
    drop: float = option(
        0.0, "Share of the volumes to fit on that is left out, the most doubtful by probes on other persons.", minimum=0
    )
    drop_by: Literal["uncertainty", "disagreement"] = option(
        "disagreement",
        "What doubt is. uncertainty: the probe's own, whatever the label; disagreement: 1 minus its probability of the "
        "label.",
    )
    seed: int = option(0, "Seed of the held-out persons and of the training.")

    def __post_init__(self) -> None:
        check_minimums(self)
        for name in ("hold_out", "drop"):
            if getattr(self, name) > LARGEST_HOLD_OUT:
                raise ValueError(f"{name} must be at most {LARGEST_HOLD_OUT:g}, not {getattr(self, name):g}")


@dataclass(frozen=True)
class EvaluationOptions:
    """What a probe is judged by. ``reject``: shares of the most uncertain cases that are left out in turn."""

    by: Literal["acceleration", "vendor", "field_strength", "site"] | None = option(
        None,
        "acceleration: also compare reconstructions with their references, paired by case. vendor, field_strength, "
        "site: the references of each.",
    )
    leave_one_site_out: bool = option(
        False,
        "Fit the probe's kind anew on all sites but one and judge it there, for every site.",
        flag="--leave-one-site-out",
    )
    reject: tuple[float, ...] = option(
        (), "AUC when the most uncertain are rejected, e.g. 0:0.5:0.05.", metavar="START:STOP:STEP", read=read_rates
    )
    unseen: bool = option(False, "Leave out persons that were in the fit instead of refusing.", flag="--unseen")
    repeats: int = option(1000, "Bootstrap resamples of persons.", minimum=50)
    seed: int = option(0, "Seed of the bootstrap.")

    def __post_init__(self) -> None:
        check_minimums(self)
