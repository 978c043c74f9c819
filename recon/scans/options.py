"""How scans are undersampled and converted: one declaration each for the library and the command line."""

from dataclasses import dataclass

from recon.contrast_names import canonical_contrast
from recon.errors import ReconError
from recon.options import REQUIRED, check_minimums, option


def read_voxel_size(text: str) -> tuple[float, float, float]:
    """``0.7,0.7,5`` as three lengths in mm. Raises ReconError."""
    try:
        first, second, third = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ReconError(f"--voxel-size {text}: give three lengths in mm, e.g. 0.7,0.7,5") from error
    if not all(0 < length < 1000 for length in (first, second, third)):
        raise ReconError(f"--voxel-size {text}: lengths in mm must be positive and below 1000")
    return (first, second, third)


def read_names(text: str) -> tuple[str, ...]:
    """``coil,readout,phase`` as names."""
    return tuple(word.strip() for word in text.split(","))


def read_coils(text: str) -> tuple[int, ...]:
    """``3,7`` as numbers of coils. Raises ReconError."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and len(word) < 5 for word in words):
        raise ReconError(f"--without-coils {text}: give numbers of coils, counted from 0, e.g. 3,7")
    return tuple(int(word) for word in words)


@dataclass(frozen=True)
class UndersamplingOptions:
    """The mask of a faster scan. ``mask`` is one of ``recon.acquisition.masks.KINDS``."""

    acceleration: float = option(REQUIRED, "How many times fewer lines to acquire.", minimum=1)
    mask: str = option(
        "equispaced",
        "equispaced (every R-th line plus calibration), random; for slices of 3-D scans caipirinha (a lattice with "
        "gaps along both axes) and poisson; or the fastMRI package's: fastmri-random, fastmri-equispaced, "
        "fastmri-equispaced-fraction, fastmri-magic, fastmri-magic-fraction.",
        metavar="KIND",
    )
    calibration_lines: int | None = option(None, "Fully sampled central lines; 24 or fewer where not given.", minimum=0)
    seed: int = option(0, "Chooses the mask, together with what the scan is.")
    keep_reference: bool = option(False, "Store the fully sampled image in the output, too.", flag="--keep-reference")

    def __post_init__(self) -> None:
        check_minimums(self)


@dataclass(frozen=True)
class ConversionOptions:
    """What a file of k-space does not say of itself. The first three are for arrays only."""

    axes: tuple[str, ...] | None = option(
        None,
        "Names of an array's axes in stored order, e.g. coil,readout,phase; also slice, and phase2 for 3-D scans, "
        "which become slices. MATLAB 7.3 files list their axes in the reverse of MATLAB's size().",
        metavar="NAME,...", read=read_names,
    )  # fmt: skip
    key: str | None = option(None, "The variable in a .mat file.", metavar="NAME")
    corner: bool = option(False, "The array stores k-space's centre first, not in the middle.", flag="--corner")
    contrast: str | None = option(None, "T1, T2, PD, FLAIR, DWI ... when the file does not say.", metavar="NAME")
    voxel_size: tuple[float, float, float] | None = option(
        None, "Millimetres along the output's readout, phase and slice, e.g. 0.7,0.7,5.", metavar="R,P,S",
        read=read_voxel_size,
    )  # fmt: skip
    without_coils: tuple[int, ...] = option(
        (), "Coils of a scan to leave out, e.g. 3,7: dead ones ('recon info' names them), or copies of others.",
        metavar="N,...", read=read_coils,
    )  # fmt: skip
    force: bool = option(False, "Replace --out whatever it is.", flag="--force")

    def __post_init__(self) -> None:
        if self.contrast is not None:
            object.__setattr__(self, "contrast", canonical_contrast(self.contrast))
