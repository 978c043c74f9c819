"""What a pre-training run of the small encoder is made of: the keys of its YAML recipe."""

from dataclasses import dataclass, field

from recon.encode.latent_prediction.network import NetworkOptions


@dataclass(frozen=True)
class PretrainingOptions:
    """One pre-training run of ``cycles`` times ``samples``; fractions are of a cycle."""

    network: NetworkOptions = field(default_factory=NetworkOptions)
    samples: int = 8_000  # of one cycle
    cycles: int = 1  # learning rate and average start over (Loshchilov and Hutter, ICLR 2017); more continue a run
    batch: int = 16
    tokens: int = 96  # of the piece of head that makes a sample
    hidden_fraction: float = 0.85
    other_contrast: float = 0.8  # chance that the teacher sees another contrast of the same head, where there is one
    seen_weight: float = 0.5  # of the prediction at the tokens that the student sees; 1 at those hidden from it
    block: float = 22.0  # mm, mean radius of a hidden ball
    predictor_width: int = 64
    predictor_depth: int = 2
    target_layers: int = 2  # last layers of the teacher that are averaged
    learning_rate: float = 1e-3
    warmup_fraction: float = 0.1
    weight_decay: float = 0.05
    variance_weight: float = 1.0  # a above
    covariance_weight: float = 0.04  # b above
    lesion_weight: float = 0.0  # of the share of lesion in every token, where the simulator wrote it; 0: no labels
    gradient_norm: float = 1.0
    average_start: float = 0.99  # of the teacher's moving average, a step; rises linearly to average_end
    average_end: float = 0.998
    gain: float = 0.15  # random factor of the intensities that the student sees: exp(gain * normal)
    noise: float = 0.05  # largest standard deviation of noise added to what the student sees, in standardised units
    held_out_fraction: float = 0.3  # of the persons, never trained on
    least_rank: float = 4.0  # effective rank of the teacher's tokens below which the run is stopped as collapsed
    least_deviation: float = 0.05
    monitor_samples: int = 1600
    checkpoint_samples: int = 1600
    seed: int = 0

    def __post_init__(self) -> None:
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
