"""What a pre-training run of the small encoder is made of: the keys of its YAML recipe."""

from dataclasses import dataclass, field

from recon.options import check_minimums, option


@dataclass(frozen=True)
class TransformerOptions:
    """Shape of the encoder network."""

    width: int = option(128, "Features of a token.")
    depth: int = option(3, "Transformer blocks.")
    heads: int = option(4, "Attention heads.")
    patch: int = option(8, "Voxels of 1 mm along each edge of a token in plane; one slice thick.")
    frequencies: int = option(8, "Frequencies of the position code along each axis.")

    def __post_init__(self) -> None:
        if min(self.width, self.depth, self.heads, self.patch, self.frequencies) < 1 or self.width % self.heads:
            raise ValueError(f"width {self.width} must be a positive multiple of heads {self.heads}")
        if max(self.width, self.patch, self.frequencies) > 4096 or self.depth > 100:
            raise ValueError("width, patch and frequencies must be at most 4096, depth at most 100")


@dataclass(frozen=True)
class PretrainingOptions:
    """One pre-training run of ``cycles`` times ``samples``; fractions are of a cycle."""

    network: TransformerOptions = field(default_factory=TransformerOptions)
    samples: int = option(8_000, "Length of one cycle in samples.")
    cycles: int = option(  # Loshchilov and Hutter, ICLR 2017
        1, "Cycles, in each of which learning rate and average start over; more of them continue a finished run."
    )
    batch: int = option(16, "Samples a step.")
    tokens: int = option(96, "Tokens of the piece of head that makes a sample.", minimum=1)
    hidden_fraction: float = option(0.85, "Tokens that are hidden from the student.")
    other_contrast: float = option(
        0.8, "Chance that the teacher sees another contrast of the same head, where there is one."
    )
    seen_weight: float = option(
        0.5, "Weight of the prediction at tokens that the student sees; it is 1 at the hidden ones."
    )
    block: float = option(22.0, "Mean radius of a hidden ball in mm.", minimum=0)
    predictor_width: int = option(64, "Features of a token in the predictor.", minimum=4)
    predictor_depth: int = option(2, "Transformer blocks of the predictor.", minimum=0)
    target_layers: int = option(2, "Last layers of the teacher that are averaged into what is predicted.")
    learning_rate: float = option(1e-3, "Learning rate after warm-up.")
    warmup_fraction: float = option(0.1, "First part of a cycle, over which the learning rate rises.", minimum=0)
    weight_decay: float = option(0.05, "Decoupled weight decay of matrices.", minimum=0)
    variance_weight: float = option(1.0, "Weight of the penalty on features of little variance.", minimum=0)
    covariance_weight: float = option(0.04, "Weight of the penalty on features that vary together.", minimum=0)
    lesion_weight: float = option(
        0.0, "Weight of the share of lesion in every token, where the simulator wrote it; 0 uses no labels."
    )
    gradient_norm: float = option(1.0, "Norm that gradients are clipped to.", minimum=0)
    average_start: float = option(
        0.99, "Decay of the teacher's moving average a step; rises linearly to average_end over a cycle.", minimum=0
    )
    average_end: float = option(0.998, "Decay of the teacher's moving average at the end of a cycle.", minimum=0)
    gain: float = option(0.15, "Natural-log standard deviation of the intensities that the student sees.", minimum=0)
    noise: float = option(
        0.05, "Largest standard deviation of noise added to what the student sees, in standardised units.", minimum=0
    )
    held_out_fraction: float = option(0.3, "Persons who are never trained on.")
    least_rank: float = option(4.0, "Effective rank of the teacher's tokens below which the run stops as collapsed.")
    least_deviation: float = option(0.05, "Standard deviation of tokens below which the run stops as collapsed.")
    monitor_samples: int = option(1600, "Samples between measurements of rank and deviation.", minimum=1)
    checkpoint_samples: int = option(1600, "Samples between stored states of the run.", minimum=1)
    seed: int = option(0, "Seed of weights, samples and held-out persons.")

    def __post_init__(self) -> None:
        check_minimums(self)
        if self.cycles < 1:
            raise ValueError(f"cycles {self.cycles} must be at least 1")
        if self.samples < self.batch or self.batch < 1:
            raise ValueError(f"samples ({self.samples}) must be at least one batch ({self.batch})")
        if not 0 < self.hidden_fraction < 1 or round(self.tokens * (1 - self.hidden_fraction)) < 1:
            raise ValueError(f"hidden_fraction {self.hidden_fraction} of {self.tokens} tokens leaves none to see")
        if not 0 <= self.other_contrast <= 1:
            raise ValueError(f"other_contrast {self.other_contrast} must lie in [0, 1]")
        if min(self.seen_weight, self.lesion_weight) < 0:
            raise ValueError(f"seen_weight {self.seen_weight} and lesion_weight {self.lesion_weight} are not negative")
        if not 0 <= self.held_out_fraction < 1:
            raise ValueError(f"held_out_fraction {self.held_out_fraction} must lie in [0, 1)")
        if not 1 <= self.target_layers <= self.network.depth:
            raise ValueError(f"target_layers {self.target_layers} must lie between 1 and depth {self.network.depth}")
        if self.predictor_width % 4:
            raise ValueError(f"predictor_width {self.predictor_width} must be a multiple of 4")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate {self.learning_rate} must lie between 0 and 1")
