"""ADC maps from image files of several b-values to NIfTI."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recon.atomic import check_place
from recon.errors import ReconError, naming
from recon.images.diffusion_volumes import DiffusionVolume, read_diffusion, with_b_values
from recon.images.grid import on_grid
from recon.images.nifti import write_nifti
from recon.quality.diffusion import fit_adc

UNIT = 1e-6  # mm^2/s, what the stored numbers count


@dataclass(frozen=True)
class AdcFiles:
    """What was written and found; medians within the mask in mm^2/s."""

    output: Path
    std_output: Path
    noise: float
    noise_source: str  # in words
    voxels: int
    median_adc: float
    median_std: float
    b_values: tuple[float, ...]  # s/mm^2, of the images in their order
    b_sources: tuple[str, ...]  # where each is from


def write_adc(paths: Sequence[Path], b_values: Sequence[float], output: Path, noise: float | None = None) -> AdcFiles:
    """Fit images of one geometry and write ADC and standard deviation (``_std``) as NIfTI in 1e-6 mm^2/s, 0 where
    nothing could be fitted. ``b_values`` (s/mm^2): one an image; none: those that the files state, see
    ``recon.images.diffusion_volumes``. ``noise`` (standard deviation of a real component, in the images' unit): None:
    what results state of their scans, whose background is masked; of other files that of the background.

    Raises ReconError as ``fit_adc`` does, for images on different grids, for b-values that are missing, and for outputs
    that cannot be written or would replace an image.
    """
    if not output.name.endswith((".nii", ".nii.gz")):
        raise ReconError(f"{output}: a NIfTI file is named .nii or .nii.gz")
    stem = output.name.removesuffix(".gz").removesuffix(".nii")
    std_output = output.with_name(output.name.replace(stem, f"{stem}_std", 1))
    for path in (output, std_output):
        check_place(path, inputs=paths)
    if b_values:
        images = with_b_values(list(paths), list(b_values))
    else:
        images = [image for path in paths for image in read_diffusion(path)]
    first = images[0].volume
    noise, source = _noise(images) if noise is None else (noise, "--noise")
    values = [on_grid(image.volume, first.values.shape, first.affine, "image") for image in images]
    with naming(first.path):
        found = fit_adc(np.stack(values), [image.b_value for image in images], noise)
    inside = found.mask
    if not inside.any():
        raise ReconError(f"{first.path}: no voxel could be fitted: check the b-values, their order, and --noise")
    for path, maps, what in ((std_output, found.std, "ADC std"), (output, found.adc, "ADC")):
        write_nifti(
            path,
            np.asarray(maps / UNIT, np.float32),
            voxel_size=first.voxel_size,
            affine=first.affine,
            description=f"{what} in 1e-6 mm^2/s; 0: not fitted",
        )
    return AdcFiles(
        output,
        std_output,
        found.noise,
        source,
        int(inside.sum()),
        median_adc=float(np.median(found.adc[inside])),
        median_std=float(np.median(found.std[inside])),
        b_values=tuple(image.b_value for image in images),
        b_sources=tuple(image.source for image in images),
    )


def _noise(images: Sequence[DiffusionVolume]) -> tuple[float | None, str]:
    """The noise that all of the images' files state, the largest where they differ, and where it is from."""
    stated = [image.noise for image in images if image.noise is not None]
    return (max(stated), "scans' noise, in the results") if len(stated) == len(images) else (None, "background")
