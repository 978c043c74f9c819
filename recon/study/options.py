"""What study networks are made of, how they are fitted and judged: YAML keys and flags. Imports nothing heavy."""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from recon.options import check_minimums, option
from recon.study.contrasts import DIRECTIONS, INPUTS, Plane

Kind = Literal["variable", "fixed", "linear"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# A model folder states its options: what it may ask for, beside weights that the file must hold.
MOST_PLACES, MOST_FEATURES = 1 << 14, 1 << 26  # of tokens a slice; of pixels times features


@dataclass(frozen=True)
class GridOptions:
    """The grid that studies are brought onto: pixels in plane; slices stay as measured."""

    plane: Plane = option("axial", "Plane of the studies: axial or sagittal; others are left out.")  # noqa: RUF009
    pixel: float = option(3.0, "Millimetres of a pixel.", minimum=0.2)
    matrix: tuple[int, int] = option((72, 64), "Pixels along height and width, multiples of the patch.")
    resample: bool = option(False, "Interpolate series that lie on another grid than the study's first.")

    def __post_init__(self) -> None:
        check_minimums(self)
        if self.plane not in DIRECTIONS:
            raise ValueError(f"plane {self.plane!r}: choose from {', '.join(DIRECTIONS)}")
        if not all(8 <= count <= 1024 for count in self.matrix):
            raise ValueError(f"matrix {self.matrix}: choose 8 to 1024 pixels")


@dataclass(frozen=True)
class TransformerShape:
    """Shape of the transformer over a study's tokens."""

    width: int = option(64, "Features of a token.", minimum=4)
    depth: int = option(2, "Transformer blocks.", minimum=1)
    heads: int = option(4, "Attention heads.", minimum=1)
    patch: int = option(8, "Pixels along each edge of a token: 4, 8 or 16.")

    def __post_init__(self) -> None:
        check_minimums(self)
        if self.width % self.heads or self.width % 8 or self.width > 4096:
            raise ValueError(f"width {self.width} must be a multiple of 8 and of heads {self.heads}, at most 4096")
        if self.depth > 256:
            raise ValueError(f"depth {self.depth}: at most 256 blocks")
        if self.patch not in (4, 8, 16):
            raise ValueError(f"patch {self.patch}: choose 4, 8 or 16")


@dataclass(frozen=True)
class NetworkOptions(TransformerShape):
    """Shape of a study network."""

    kind: Kind = option(  # noqa: RUF009
        "variable",
        "variable (tokens of whatever contrasts a study has, weights of the tokenizer generated from the contrast), "
        "fixed (one channel a contrast, zeros where it is missing) or linear (intensities of one pixel).",
    )
    slab: int = option(3, "Slices that a token sees: odd, the middle one is segmented.", minimum=1)
    code: int = option(8, "Numbers that code a contrast.", minimum=1)
    stem: int = option(16, "Features of a pixel at full resolution.", minimum=2)

    def __post_init__(self) -> None:
        super().__post_init__()
        if max(self.code, self.stem) > 4096:
            raise ValueError(f"code {self.code} and stem {self.stem}: at most 4096")
        if self.slab % 2 == 0 or self.slab > 15:
            raise ValueError(f"slab {self.slab}: choose an odd number up to 15")


@dataclass(frozen=True)
class StudyTrainingOptions:
    """What every training on studies has. Lengths are in samples; a sample is a slab of one study."""

    network: TransformerShape = field(default_factory=TransformerShape)
    grid: GridOptions = field(default_factory=GridOptions)
    contrasts: tuple[str, ...] = option(
        ("T1", "T2", "FLAIR", "DWI", "ADC"), "Contrasts that are trained on, where studies have them."
    )
    samples: int = option(12000, "Length of the training.", minimum=1)
    batch: int = option(4, "Samples a step.", minimum=1)
    learning_rate: float = option(1.5e-3, "Learning rate after warm-up.")
    warmup_fraction: float = option(0.05, "First part, over which the learning rate rises.", minimum=0)
    weight_decay: float = option(0.02, "Decoupled weight decay of matrices.", minimum=0)
    gradient_norm: float = option(1.0, "Norm that gradients are clipped to.", minimum=0)
    contrast_dropout: float = option(
        0.7, "Chance that a step sees a random subset of the contrasts instead of all.", minimum=0
    )
    gain: float = option(0.15, "Natural-log standard deviation of each series' intensity.", minimum=0)
    turn: float = option(15.0, "Degrees that a slab is turned by in plane, at most.", minimum=0)
    zoom: float = option(0.12, "Natural logarithm of how much a slab is zoomed, at most.", minimum=0)
    shift: float = option(12.0, "Millimetres that a slab is shifted by along each axis, at most.", minimum=0)
    held_out_fraction: float = option(0.3, "Persons who are never trained on, by a hash of their name.", minimum=0)
    checkpoint_samples: int = option(800, "Samples between stored states of the run.", minimum=1)
    seed: int = option(0, "Seed of weights, samples and held-out persons.")

    def __post_init__(self) -> None:
        check_minimums(self)
        if self.samples < self.batch:
            raise ValueError(f"samples ({self.samples}) must be at least one batch ({self.batch})")
        if not self.contrasts or len(set(self.contrasts)) < len(self.contrasts) or set(self.contrasts) - set(INPUTS):
            raise ValueError(f"contrasts {', '.join(self.contrasts)}: name each once, of {', '.join(INPUTS)}")
        if not self.contrast_dropout <= 1 or self.held_out_fraction >= 1:
            raise ValueError("contrast_dropout lies in [0, 1], held_out_fraction below 1")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate {self.learning_rate} must lie between 0 and 1")
        if any(count % self.network.patch for count in self.grid.matrix):
            raise ValueError(f"matrix {self.grid.matrix} must be a multiple of the patch {self.network.patch}")
        pixels = math.prod(self.grid.matrix)
        if pixels // self.network.patch**2 > MOST_PLACES or pixels * getattr(self.network, "stem", 1) > MOST_FEATURES:
            raise ValueError(
                f"matrix {self.grid.matrix} at this patch and stem: at most {MOST_PLACES:,} tokens a slice and "
                f"{MOST_FEATURES:,} features of all pixels"
            )
        if self.turn > 180 or self.zoom > 1 or self.shift > 100:
            raise ValueError("turn, zoom and shift: at most 180 degrees, 1 and 100 mm")


@dataclass(frozen=True)
class StudyFitOptions(StudyTrainingOptions):
    """One training of a study network on outlined lesions."""

    network: NetworkOptions = field(default_factory=NetworkOptions)
    kind: Kind | None = option(None, "The kind of network, in place of the recipe's.")  # noqa: RUF009
    persons: int | None = option(
        None, "Train on so many persons only, in order of a hash of their names. Without it: all.", minimum=1
    )
    protocols: tuple[str, ...] = option(
        (), "Sets of contrasts, such as T1+T2+FLAIR,DWI+ADC: each person is seen with one of them only.", metavar="SETS"
    )
    lesion_share: float = option(0.5, "Share of samples that are drawn from slices with a lesion.", minimum=0)
    detection_weight: float = option(0.3, "Weight of the question whether the slab holds a lesion.", minimum=0)
    noise: float = option(0.1, "Largest standard deviation of added noise, in standardised units.", minimum=0)
    faster: float = option(
        0.3, "Chance that a series of a sample is seen as a faster scan would show it: ghosts and blur.", minimum=0
    )
    frozen: bool = option(
        False, "Train the last layers only and leave the rest as drawn: the control of random features.",
        flag="--frozen",
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind is not None and self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r}: choose from {', '.join(KINDS)}")
        if any(not value <= 1 for value in (self.lesion_share, self.faster)):
            raise ValueError("lesion_share and faster lie in [0, 1]")


@dataclass(frozen=True)
class StudyPretrainingOptions(StudyTrainingOptions):
    """One masked pre-training, on studies labelled or not."""

    network: NetworkOptions = field(default_factory=NetworkOptions)
    hidden: float = option(0.7, "Share of all series' tokens that is hidden.", minimum=0)
    decoder_depth: int = option(1, "Transformer blocks of the light decoder.", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network.kind != "variable":
            raise ValueError(f"kind {self.network.kind!r}: only a variable network has tokens of each series to hide")
        if not 0 < self.hidden < 1:
            raise ValueError(f"hidden {self.hidden} must lie between 0 and 1")


@dataclass(frozen=True)
class PlanesFitOptions(StudyTrainingOptions):
    """One training of a network of two planes: does the study show a lesion?"""

    plane_dropout: float = option(0.3, "Chance that a step sees one of the two planes only.", minimum=0)
    outline_weight: float = option(
        1.0, "Weight of the question whether a patch of a slice holds lesion, where outlines are known; 0 uses none.",
        minimum=0,
    )  # fmt: skip
    resampled: bool = option(
        False, "Resample sagittal series to the axial slices, one encoder for all: the control of planes of their own.",
        flag="--resampled",
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.plane_dropout <= 1:
            raise ValueError("plane_dropout lies in [0, 1]")
        if self.grid.plane != "axial":
            raise ValueError(f"plane {self.grid.plane!r}: a network of two planes takes both; leave the key out")


@dataclass(frozen=True)
class PlanesEvaluationOptions:
    """How networks of two planes are compared on persons that none of them saw."""

    repeats: int = option(1000, "Bootstrap samples of persons.", minimum=20)
    seed: int = option(0, "Seed of the bootstrap.")

    def __post_init__(self) -> None:
        check_minimums(self)


@dataclass(frozen=True)
class StudyEvaluationOptions:
    """How models are compared on persons that none of them saw."""

    persons: int | None = option(None, "Only so many persons, in order of name. Without it: all.", minimum=2)
    subsets: tuple[str, ...] = option(
        (), "Sets of contrasts to judge, such as T2+FLAIR,DWI+ADC. Without it: all, all but one, each alone, random.",
        metavar="SETS",
    )  # fmt: skip
    repeats: int = option(1000, "Bootstrap samples of persons.", minimum=20)
    seed: int = option(0, "Seed of the bootstrap and of the random subsets.")
    threshold: float = option(0.5, "Probability from which a voxel counts as lesion.", minimum=0)

    def __post_init__(self) -> None:
        check_minimums(self)
        if not self.threshold < 1:
            raise ValueError("threshold must lie below 1")


@dataclass(frozen=True)
class AccelerationOptions:
    """What is accelerated, by how much, and how it is reconstructed."""

    accelerations: tuple[float, ...] = option((2.0, 4.0, 8.0), "Nominal accelerations.", flag="--acceleration")
    methods: tuple[str, ...] = option(("zero-filled", "l1-wavelet", "posterior"), "Methods of 'recon reconstruct'.")
    mask: str = option("equispaced", "Kind of mask, as in 'recon undersample'.", metavar="KIND")
    persons: int | None = option(None, "Only so many persons, in order of name. Without it: all.", minimum=2)
    seen: bool = option(
        False, "Take persons that the model was trained on, too: its errors on them are too small.", flag="--seen"
    )
    repeats: int = option(1000, "Bootstrap samples of persons.", minimum=20)
    seed: int = option(0, "Seed of masks, samples and bootstrap.")
    threshold: float = option(0.5, "Probability from which a voxel counts as lesion.", minimum=0)

    def __post_init__(self) -> None:
        check_minimums(self)
        if not self.accelerations or not all(1 < rate < 1e6 for rate in self.accelerations):
            raise ValueError("accelerations must be above 1")
        if not self.methods or not self.threshold < 1:
            raise ValueError("name at least one method, and a threshold below 1")
        object.__setattr__(self, "methods", tuple(name.lower() for name in self.methods))
