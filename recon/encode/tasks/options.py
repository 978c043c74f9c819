"""What a task model on an encoder is made of, how it is fitted and judged: YAML keys and flags, nothing heavy."""

from dataclasses import dataclass
from typing import Literal

from recon.options import REQUIRED, check_minimums, option

LARGEST_SHARE = 0.9
LARGEST_NUMBER = 256  # of experts, and of a rank


@dataclass(frozen=True)
class AdapterOptions:
    """Low-rank weights beside those of an encoder, which stay as they are."""

    adapter: Literal["none", "lora", "molre"] = option(
        "none",
        "none: the encoder stays frozen. molre: several low-rank experts with soft routing beside a linear layer. "
        "lora: one low-rank product of as many weights, the control.",
    )
    experts: int = option(4, "Low-rank experts of each adapted layer.", minimum=1)
    rank: int = option(1, "Rank of each expert.", minimum=1)
    last: int = option(
        1, "Adapt so many layers, counted from the encoder's end; 0: all that --targets names.", minimum=0
    )
    targets: tuple[str, ...] = option(
        ("qkv", "q_proj", "v_proj"), "Last part of the names of the linear layers that may be adapted."
    )
    budget: float = option(0.005, "Largest share of the encoder's weights that adapters may add.", minimum=0)


@dataclass(frozen=True, kw_only=True)
class TaskFitOptions(AdapterOptions):
    """One training of a task model. Lengths are in samples; a sample is one volume."""

    label: str = option(REQUIRED, "Column of the labels table.")
    pool: Literal["encoder", "mean", "slices"] = option(
        "encoder",
        "What is classified. encoder: the encoder's own pooled features; mean: mean and deviation of the tokens of "
        "every slice, averaged over slices; slices: the same, weighted by gated attention over slices of all views.",
    )
    pixel_weight: float = option(
        0.0, "Weight of the share of lesion in every token, for volumes with a mask; 0 uses no masks.", minimum=0
    )
    anatomy: bool = option(
        False,
        "Fuse the tokens' answer with features of the model's own heatmap by anatomy (volume, peak, asymmetry, "
        "territories), through a gate; needs --pixel-weight.",
        flag="--anatomy",
    )
    shuffled_anatomy: bool = option(
        False, "Shuffle the heatmap's tokens before --anatomy reads it: its control, volume and peak but no place.",
        flag="--shuffled-anatomy",
    )  # fmt: skip
    views: tuple[str, ...] = option(
        (), "Use these views of the table's column view only, in training and ever after. Without it: all.",
        metavar="NAMES",
    )  # fmt: skip
    samples: int = option(1600, "Length of the training.", minimum=1)
    batch: int = option(8, "Samples a step.", minimum=1)
    tokens: int = option(
        1024, "Tokens drawn of a volume in training, where the encoder takes them one by one; 0: all.", minimum=0
    )
    learning_rate: float = option(2e-3, "Learning rate after warm-up.", minimum=0)
    head_rate: float = option(
        0.02, "Learning rate of the classification layer over that of the rest: it begins as a fitted probe.", minimum=0
    )
    warmup_fraction: float = option(0.1, "First part, over which the learning rate rises.", minimum=0)
    weight_decay: float = option(0.05, "Decoupled weight decay of matrices.", minimum=0)
    gradient_norm: float = option(1.0, "Norm that gradients are clipped to.", minimum=0)
    hold_out: float = option(0.3, "Share of persons left out, where the table has no split column.", minimum=0)
    choose_on: float = option(
        0.2, "Share of the other persons on whom the duration is chosen, by their log loss.", minimum=0
    )
    judge_samples: int = option(320, "Samples between judgements of the duration.", minimum=1)
    seed: int = option(0, "Seed of weights, samples and held-out persons.")

    def __post_init__(self) -> None:
        check_minimums(self)
        for name in ("hold_out", "choose_on"):
            if getattr(self, name) > LARGEST_SHARE:
                raise ValueError(f"{name} must be at most {LARGEST_SHARE:g}, not {getattr(self, name):g}")
        if self.experts > LARGEST_NUMBER or self.rank > LARGEST_NUMBER:
            raise ValueError(f"experts {self.experts} and rank {self.rank} must be at most {LARGEST_NUMBER}")
        if self.anatomy and not self.pixel_weight:
            raise ValueError("anatomy needs pixel supervision: give pixel_weight, e.g. 5, and masks")
        if self.shuffled_anatomy and not self.anatomy:
            raise ValueError("shuffled_anatomy is the control of anatomy: give anatomy, too")
        if self.samples < self.batch:
            raise ValueError(f"samples ({self.samples}) must be at least one batch ({self.batch})")


@dataclass(frozen=True)
class TaskEvaluationOptions:
    """What task models are judged by."""

    repeats: int = option(1000, "Bootstrap resamples of persons.", minimum=50)
    seed: int = option(0, "Seed of the bootstrap.")

    def __post_init__(self) -> None:
        check_minimums(self)
