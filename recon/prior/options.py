"""What a prior is made with: the options of preparation, network, augmentation and training."""

from dataclasses import dataclass, field

from recon.options import check_minimums, option


@dataclass(frozen=True)
class PreparationOptions:
    """How fully sampled scans become training images."""

    calibration_lines: tuple[int, ...] = option(
        (16, 20, 24, 32), "Numbers of central kspace lines to calibrate with; one of them is drawn for each scan."
    )
    coils: int = option(12, "Virtual coils to keep.", minimum=1)
    signal: float = option(
        0.1, "Slices whose scale is below this fraction of the brightest slice's are left out.", minimum=0
    )

    def __post_init__(self) -> None:
        check_minimums(self)
        if not self.calibration_lines or min(self.calibration_lines) < 1:
            raise ValueError(f"calibration_lines {self.calibration_lines} must be one or more positive numbers")


@dataclass(frozen=True)
class NetworkOptions:
    """Shape of the U-Net."""

    channels: tuple[int, ...] = option((64, 96, 128), "Channels of each level.")
    blocks: int = option(1, "Residual blocks a level.")
    attention: tuple[int, ...] = option((), "Levels that attend, counted from 0 at full size.")
    unshuffle: int = option(
        2,
        "Pixels a side that are folded into channels first, which makes a small network several times faster on a "
        "processor at the same number of weights.",
    )
    contrast_labels: int = option(16, "Contrasts that the embedding has room for.")
    groups: int = option(8, "Groups of the normalisation.")

    def __post_init__(self) -> None:
        if self.groups < 1 or not all(1 <= c <= 4096 for c in self.channels) or len(self.channels) > 8:
            raise ValueError(f"channels {self.channels}: at most 8 levels of 1 to 4096 channels, groups from 1")
        if not self.channels or any(c % self.groups for c in self.channels):
            raise ValueError(f"channels {self.channels} must be multiples of groups ({self.groups})")
        if any(level not in range(len(self.channels)) for level in self.attention):
            raise ValueError(f"attention levels {self.attention} must lie in 0..{len(self.channels) - 1}")
        if self.unshuffle < 1 or self.blocks < 1 or self.contrast_labels < 1:
            raise ValueError("unshuffle, blocks and contrast_labels must be at least 1")
        if self.unshuffle > 16 or self.blocks > 16 or self.contrast_labels > 1024:
            raise ValueError("unshuffle and blocks must be at most 16, contrast_labels at most 1024")

    @property
    def stride(self) -> int:
        """Image sides are padded to a multiple of this."""
        return self.unshuffle * 2 ** (len(self.channels) - 1)


@dataclass(frozen=True)
class AugmentationOptions:
    """How far each change of a training image may go; zero turns one off."""

    flips: bool = option(True, "Flip along either axis.")
    transpose: bool = option(False, "Swap the axes.")
    rotation: float = option(10.0, "Standard deviation of the rotation in degrees.")
    zoom: float = option(0.08, "Natural-log standard deviation of the size.")
    intensity: float = option(0.1, "Natural-log standard deviation of the global intensity.")
    shading: float = option(0.0, "Natural-log standard deviation of a slow shading.")
    phase: float = option(0.05, "Median standard deviation in radians of a smooth phase.")
    fat_phase: float = option(0.0, "Standard deviation in radians of the phase of the brightest tissue.")
    resolution: float = option(1.0, "Smallest kept fraction of kspace's width.")
    lesions: float = option(
        0.0,
        "Part of the images that get made-up lesions: patches of any shape and signal, so that the prior does not take "
        "what it has never seen for noise.",
        minimum=0,
    )

    def __post_init__(self) -> None:
        check_minimums(self)
        if self.lesions > 1:
            raise ValueError(f"lesions {self.lesions} is a part of the images: choose 0 to 1")


@dataclass(frozen=True)
class TrainingOptions:
    """One training run. ``images`` is its length; fractions are of that length."""

    network: NetworkOptions = field(default_factory=NetworkOptions)
    augmentation: AugmentationOptions = field(default_factory=AugmentationOptions)
    images: int = option(100_000, "Length of the run in images.")
    batch: int = option(8, "Images a step, over all processes.")
    crop: int = option(96, "Side of the training images in pixels.")
    learning_rate: float = option(1e-3, "Learning rate after warm-up.")
    warmup_fraction: float = option(0.02, "First part of the run, over which the learning rate rises.", minimum=0)
    decay_fraction: float = option(
        0.3, "Last part of the run, over which the learning rate falls linearly to zero.", minimum=0
    )
    ema_fraction: float = option(
        0.05,
        "Half-life of the moving average of the weights at the end of the run, as a fraction of the images seen.",
        minimum=0,
    )
    gradient_norm: float = option(1.0, "Norm that gradients are clipped to.", minimum=0)
    log_sigma_mean: float = option(-1.2, "Mean of the natural logarithm of the noise level.")
    log_sigma_std: float = option(1.2, "Standard deviation of the natural logarithm of the noise level.", minimum=0)
    sigma_data: float = option(0.5, "Standard deviation of the images, which the network is scaled by.", minimum=0)
    unknown_fraction: float = option(
        0.2, "Images that are trained without their contrast, for scans that do not state theirs.", minimum=0
    )
    validation_fraction: float = option(0.1, "Subjects held out to measure the denoising error.", minimum=0)
    checkpoint_images: int = option(8_000, "Images between stored states of the run.", minimum=1)
    workers: int = option(0, "Processes that read and augment images; 0 does it in the training process.", minimum=0)
    in_memory: bool = option(True, "Keep the prepared images in memory.")
    store_bf16: bool = option(False, "Store the prior's weights in bfloat16, half the size.")
    seed: int = option(0, "Seed of weights, order and noise.")

    def __post_init__(self) -> None:
        check_minimums(self)
        if self.images < self.batch or self.batch < 1:
            raise ValueError(f"images ({self.images}) must be at least one batch ({self.batch})")
        if self.crop % self.network.stride:
            raise ValueError(f"crop {self.crop} must be a multiple of the network's stride {self.network.stride}")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate {self.learning_rate} must lie between 0 and 1")

    @property
    def samples(self) -> int:
        """The length, as the loop of all trainings calls it."""
        return self.images
