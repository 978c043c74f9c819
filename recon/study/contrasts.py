"""The contrasts and planes of studies: those that a network takes, and what a scanner measures for them."""

from typing import Literal

from recon.errors import ReconError

INPUTS = ("T1", "T1POST", "T2", "PD", "FLAIR", "DWI", "ADC", "T2STAR")  # what a network may take; new ones come last
UNWEIGHTED = "DWI-B0"  # the image at b = 0, from which with DWI the ADC is calculated
FILES = (*INPUTS, UNWEIGHTED)  # what a file of a study may show
# What is acquired together is accelerated together: the ADC is no measurement, its two images are one.
ACQUIRED_TOGETHER = {"DWI": ("DWI", UNWEIGHTED)}

Plane = Literal["axial", "sagittal"]
# Where width, height and slices of a plane run: heads upright, axial ones seen from below.
DIRECTIONS: dict[Plane, str] = {"axial": "LPS", "sagittal": "PIL"}


def contrast_named(word: str, where: str) -> str:
    """``word`` as one of ``FILES``, whatever its case. Raises ReconError, naming ``where``."""
    name = word.strip().upper()
    if name not in FILES:
        raise ReconError(f"{where}: contrast '{word}' is unknown to studies; choose from {', '.join(FILES)}")
    return name


def in_order(contrasts: object) -> tuple[str, ...]:
    """Those of ``INPUTS`` that are in ``contrasts``."""
    return tuple(name for name in INPUTS if name in contrasts)  # type: ignore[operator]
