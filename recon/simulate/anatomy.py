"""Heads to simulate: tissue fractions (or a real magnitude) on a voxel grid, with where they come from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError

# Order of the tissue axis. ``scalp`` is skin and muscle. What is missing to 1 is cortical bone or air: no signal.
TISSUES = ("csf", "grey", "white", "deep_grey", "fat", "scalp", "marrow")
BRAIN_TISSUES = ("grey", "white", "deep_grey")
CSF, GREY, WHITE, DEEP_GREY, FAT, SCALP, MARROW = range(len(TISSUES))

Kind = Literal["simulated", "semi-synthetic"]


@dataclass(frozen=True)
class Anatomy:
    """One head. Arrays are ``[slice, row, column]``: rows run from anterior to posterior, columns from the patient's
    right to left (the radiological view), slices from inferior to superior.

    Either ``fractions`` is given (the images are then simulated by the signal equations) or ``measured`` (a real
    magnitude by contrast: only the acquisition is simulated, which is called semi-synthetic).
    """

    subject: str  # names the head: never a patient's name
    group: str  # the person: repeated scans of one person share it, and splits must go by it
    voxel_size: tuple[float, float, float]  # mm along slice, row, column
    affine: NDArray[np.float64]  # 4x4: (slice, row, column) index -> approximate MNI mm (right, anterior, superior)
    brain: NDArray[np.bool_]  # [slice, row, column] inside the dura, CSF included
    source: str
    licence: str
    kind: Kind
    fractions: NDArray[np.float32] | None = None  # [tissue, slice, row, column] in 0..1, sum <= 1
    distance: NDArray[np.float32] | None = None  # mm from the brain (negative inside); None: fractions hold the skull
    measured: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)  # contrast -> magnitude
    probabilistic: bool = False  # fractions are a group average: each subject draws its own boundaries from them

    def __post_init__(self) -> None:
        if self.fractions is None and not self.measured:
            raise ReconError(f"{self.source}: neither tissue fractions nor a measured image")


@dataclass(frozen=True)
class AnatomySource:
    """A head that can be loaded: listing a folder of hundreds costs no memory."""

    subject: str
    group: str
    contrasts: tuple[str, ...] | None  # what was measured; None: any contrast can be simulated
    load: Callable[[], Anatomy]
