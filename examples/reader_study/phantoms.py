"""Small simulated brain images in two or three arms, from numpy alone: for the example, no statement about MRI."""

from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
from scipy import ndimage

SHAPE = (80, 80, 6)  # readout, phase, slice
SPACING = (2.4, 2.4, 5.0)  # mm


def write_images(folder: Path, cases: tuple[str, ...], arms: tuple[str, ...], seed: int) -> None:
    """Write ``folder/ARM/CASE.nii.gz`` for every case and each of the ``arms``.

    ``standard``: anatomy with noise. ``accelerated``: other noise, two thirds of it, and a slight blur that differs
    from case to case, as a learned reconstruction may give. ``wavelet``: as little noise, and clearly more blur.
    """
    for number, case in enumerate(cases):
        generator = np.random.default_rng([seed, number])
        clean = anatomy(generator)
        level = np.exp(generator.uniform(np.log(0.02), np.log(0.07)))
        clean = ndimage.gaussian_filter(clean, (*[generator.uniform(0.0, 0.7)] * 2, 0))  # some patients move
        blur = generator.uniform(0.4, 0.65)
        standard = clean + level * generator.standard_normal(SHAPE)
        smooth = ndimage.gaussian_filter(clean, (blur, blur, 0))
        accelerated = smooth + 0.66 * level * generator.standard_normal(SHAPE)
        softer = ndimage.gaussian_filter(clean, (1.1, 1.1, 0))
        wavelet = softer + 0.66 * level * generator.standard_normal(SHAPE)
        images = {"standard": standard, "accelerated": accelerated, "wavelet": wavelet}
        for arm in arms:
            image, path = images[arm], folder / arm / f"{case}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.clip(image, 0.001, None).astype(np.float32)
            nibabel.save(nibabel.Nifti1Image(pixels, np.diag([*SPACING, 1.0])), path)


def anatomy(generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Head, grey and white matter, ventricles, lesions as ellipsoids of random size `[readout, phase, slice]`."""
    axes = np.meshgrid(*(np.linspace(-1, 1, length) for length in SHAPE), indexing="ij")

    def ellipsoid(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> npt.NDArray[np.bool_]:
        return np.asarray(
            sum(((axis - at) / r) ** 2 for axis, at, r in zip(axes, centre, radii, strict=True)) < 1, dtype=bool
        )

    size = generator.uniform(0.92, 1.04)
    tilt = generator.uniform(-0.04, 0.04)
    image = np.zeros(SHAPE)
    image[ellipsoid((tilt, 0, 0), (0.80 * size, 0.92 * size, 2.0))] = 0.35  # skull and scalp
    image[ellipsoid((tilt, 0, 0), (0.72 * size, 0.84 * size, 1.9))] = 0.75  # grey matter
    folds = 0.06 * np.sin(9 * axes[0] + generator.uniform(0, 6)) * np.sin(8 * axes[1] + generator.uniform(0, 6))
    inner = ((axes[0] - tilt) / 0.58 / size) ** 2 + (axes[1] / 0.70 / size) ** 2 + folds * 4 < 1
    image[inner] = 0.58  # white matter
    for side in (-1, 1):
        image[ellipsoid((tilt + 0.13 * side, 0.05, 0), (0.07, 0.28 * size, 1.1))] = 0.12  # ventricles
    for _ in range(generator.integers(0, 4)):
        centre = (generator.uniform(-0.4, 0.4), generator.uniform(-0.5, 0.5), generator.uniform(-0.6, 0.6))
        image[ellipsoid(centre, (0.05, 0.05, 0.35)) & (image > 0.5)] = 0.95  # lesions
    return np.asarray(ndimage.gaussian_filter(image, (0.6, 0.6, 0)))
