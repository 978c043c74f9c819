"""ADC maps from image files of several b-values to NIfTI."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recon.errors import ReconError, naming
from recon.images.grid import on_grid
from recon.images.nifti import write_nifti
from recon.images.volume import read_volume
from recon.quality.diffusion import fit_adc

UNIT = 1e-6  # mm^2/s, what the stored numbers count


@dataclass(frozen=True)
class AdcFiles:
    """What was written and found; medians within the mask in mm^2/s."""

    output: Path
    std_output: Path
    noise: float
    voxels: int
    median_adc: float
    median_std: float


def write_adc(paths: Sequence[Path], b_values: Sequence[float], output: Path, noise: float | None = None) -> AdcFiles:
    """Fit images of one geometry, one file a b-value (s/mm^2), and write ADC and standard deviation (``_std``) as
    NIfTI in 1e-6 mm^2/s, 0 where nothing could be fitted. ``b_values``: one a file; none: from a ``.bval`` file beside
    each NIfTI.

    Raises ReconError as ``fit_adc`` does, for images on different grids, and for b-values that are missing.
    """
    if not output.name.endswith((".nii", ".nii.gz")):
        raise ReconError(f"{output}: a NIfTI file is named .nii or .nii.gz")
    known = list(b_values) or [_stated(path) for path in paths]
    if len(known) != len(paths):
        raise ReconError(
            f"{paths[0]}: {len(paths)} images but {len(known)} b-values; name one for each with --b-values"
        )
    volumes = [read_volume(path) for path in paths]
    first = volumes[0]
    values = [on_grid(volume, first.values.shape, first.affine, "image") for volume in volumes]
    with naming(first.path):
        found = fit_adc(np.stack(values), known, noise)
    inside = found.mask
    if not inside.any():
        raise ReconError(f"{first.path}: no voxel could be fitted: check the b-values, their order, and --noise")
    stem = output.name.removesuffix(".gz").removesuffix(".nii")
    std_output = output.with_name(output.name.replace(stem, f"{stem}_std", 1))
    for path, maps, what in ((std_output, found.std, "ADC std"), (output, found.adc, "ADC")):
        write_nifti(
            path,
            np.asarray(maps / UNIT, np.float32),
            voxel_size=first.voxel_size,
            affine=first.affine,
            description=f"{what} in 1e-6 mm^2/s; 0: not fitted",
        )
    medians = [float(np.median(maps[inside])) for maps in (found.adc, found.std)]
    return AdcFiles(output, std_output, found.noise, int(inside.sum()), *medians)


def _stated(path: Path) -> float:
    """The b-value in the ``.bval`` file beside a NIfTI file."""
    beside = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".bval")
    try:
        words = beside.read_text("ascii")[:1000].split()
        (value,) = map(float, words)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ReconError(f"{path}: no b-value known (no {beside.name} with one number); give --b-values") from error
    return value
