"""What a search tries: learning rates, lengths in images, folds; and what of it fits a time budget."""

import dataclasses
import re
from dataclasses import dataclass
from typing import Literal

from recon.errors import ReconError
from recon.options import check_minimums, option


def parse_duration(text: str) -> float:
    """Seconds of ``90s``, ``30m``, ``2h``, ``1h30m`` or a plain number of seconds. Raises ReconError."""
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip().lower())
    seconds = (
        sum(float(value or 0) * unit for value, unit in zip(match.groups(), (3600, 60, 1), strict=True))
        if match
        else 0.0
    )
    if seconds <= 0:
        raise ReconError(f"'{text}' is not a duration; write for example 30m, 2h or 1h30m")
    return seconds


@dataclass(frozen=True)
class FinetuneOptions:
    """How to fine-tune. None means: chosen from the cohort and the pre-training, and said.

    The grid of the paper (arXiv:2603.13007) is ``rates`` 5 to 0.1 and ``lengths`` 0.02 to 0.08. Candidates are judged
    by reconstructions as ``recon reconstruct`` makes them with its defaults, but for ``steps`` and ``samples``.
    """

    rate: float | None = option(None, "Learning rate; with --images, skips the search.")
    images: int | None = option(None, "Length in images; with --rate, skips the search.", minimum=1)
    budget: float | None = option(
        None, "Time to spend, such as 30m or 2h; says what it leaves out.", metavar="TIME", read=parse_duration
    )
    folds: int | None = option(
        None,
        "Folds over the patients; 1 holds out a quarter of them once, at least two, more hold out everyone once. By "
        "default: 4 below 40 patients, else 1.",
        minimum=1,
    )
    rates: tuple[float, ...] = option(
        (1.0, 0.3, 0.1, 0.03), "Candidates for the rate, as factors of the pre-training's learning rate."
    )
    lengths: tuple[float, ...] = option(
        (0.005, 0.01, 0.02, 0.04, 0.08), "Candidates for the length, as fractions of the pre-training's images."
    )
    adapter: Literal["none", "lora"] = option(
        "none", "Train all weights, or a LoRA adapter below 5 % of the network's size."
    )
    acceleration: float = option(4.0, "Acceleration that candidates are judged at.", minimum=1)
    slices: int = option(2, "Slices of each held-out patient that candidates are judged on.", minimum=1)
    steps: int | None = option(
        None, "Network calls a sample, where candidates are judged. By default: as in 'recon reconstruct'.", minimum=1
    )
    samples: int | None = option(
        None, "Posterior samples, where candidates are judged. By default: as in 'recon reconstruct'.", minimum=1
    )
    batch: int | None = option(None, "Images a step. By default: as in the pre-training.", minimum=1)
    crop: int | None = option(
        None, "Side of the training images in pixels. By default: as in the pre-training.", minimum=1
    )
    warmup_of_shortest: float = option(
        0.1, "Warm-up of every candidate, as a fraction of the shortest length, so that each reaches its rate.",
        minimum=0,
    )  # fmt: skip
    ema_fraction: float = option(
        0.1, "Half-life of the moving average of the weights, as a fraction of the images seen.", minimum=0
    )
    checkpoint_images: int = option(2_000, "Images between stored states of a run.", minimum=1)
    seed: int = option(0, "The same seed gives the same weights.")

    def __post_init__(self) -> None:
        check_minimums(self)
        if (self.rate is None) != (self.images is None):
            raise ValueError("rate and images go together: give both to skip the search, or neither")
        if self.rate is not None and not 0 < self.rate < 1:
            raise ValueError(f"rate {self.rate} must lie between 0 and 1")
        if self.budget is not None and not self.budget > 0:
            raise ValueError(f"budget {self.budget} must be positive")
        if not self.rates or not self.lengths or min(*self.rates, *self.lengths) <= 0:
            raise ValueError("rates and lengths need at least one positive value each")


@dataclass(frozen=True)
class Plan:
    """Absolute learning rates, falling; lengths in images, rising; and folds. ``left_out``: what a budget cost."""

    rates: tuple[float, ...]
    lengths: tuple[int, ...]
    folds: int
    left_out: tuple[str, ...] = ()
    seconds: float | None = None  # expected, when a budget asked for it


@dataclass(frozen=True)
class Costs:
    """Measured seconds: of training on one image, of judging one checkpoint on all patients of a cohort."""

    image: float
    judging: float
    checks: float = 0.0

    def of(self, plan: Plan) -> float:
        """Seconds that a plan takes: every rate runs once a fold to the longest length, then the final run."""
        training = plan.folds * len(plan.rates) * plan.lengths[-1] + plan.lengths[-1]
        held = 1.0 if plan.folds > 1 else 0.25  # all folds together judge every patient once
        judging = held * (len(plan.rates) * len(plan.lengths) + 1)
        return training * self.image + judging * self.judging + self.checks


def whole_plan(options: FinetuneOptions, patients: int, batch: int, learning_rate: float, images: int) -> Plan:
    """The plan without a budget. ``learning_rate`` and ``images`` are those of the pre-training.

    Few patients (below 40) are judged by four folds, so that each is held out once. Raises ReconError when the patients
    are fewer than the folds.
    """
    folds = options.folds or (min(4, patients) if patients < 40 else 1)
    if patients < max(2, folds):
        raise ReconError(
            f"{patients} patient(s) for {folds} folds: at least {max(2, folds)} patients are needed; "
            "add patients or ask for fewer --folds"
        )
    steps = sorted({max(1, round(fraction * images / batch)) for fraction in options.lengths})
    rates = tuple(sorted((factor * learning_rate for factor in options.rates), reverse=True))
    return Plan(rates, tuple(step * batch for step in steps), folds)


def fit_budget(plan: Plan, costs: Costs, budget: float, *, folds_fixed: bool) -> Plan:
    """The largest part of ``plan`` that fits ``budget`` seconds, with what was left out in words.

    The longest length goes first while more than three are left, then folds down to two, then the rates at the ends,
    then what remains. The smallest plan is one rate, one length, one fold; it is returned even if it does not fit.
    """
    left_out: list[str] = []
    while costs.of(plan) > budget:
        if len(plan.lengths) > 3:
            left_out.append(f"length {plan.lengths[-1]} images")
            plan = dataclasses.replace(plan, lengths=plan.lengths[:-1])
        elif plan.folds > 2 and not folds_fixed:
            plan = dataclasses.replace(plan, folds=plan.folds - 1)
            left_out.append(f"fold {plan.folds + 1}")
        elif len(plan.rates) > 2:
            dropped = plan.rates[0] if len(plan.rates) % 2 else plan.rates[-1]
            left_out.append(f"rate {dropped:.3g}")
            plan = dataclasses.replace(plan, rates=tuple(rate for rate in plan.rates if rate != dropped))
        elif plan.folds > 1 and not folds_fixed:
            left_out.append(f"fold {plan.folds} (one split of the patients is judged instead)")
            plan = dataclasses.replace(plan, folds=1)
        elif len(plan.lengths) > 1:
            left_out.append(f"length {plan.lengths[-1]} images")
            plan = dataclasses.replace(plan, lengths=plan.lengths[:-1])
        elif len(plan.rates) > 1:
            left_out.append(f"rate {plan.rates[0]:.3g}")
            plan = dataclasses.replace(plan, rates=plan.rates[1:])
        else:
            left_out.append("nothing more can be left out: the smallest plan takes longer than the budget")
            break
    return dataclasses.replace(plan, left_out=tuple(left_out), seconds=costs.of(plan))
