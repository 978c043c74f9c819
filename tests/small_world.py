"""A scan and a prior so small that a whole reconstruction takes less than a second."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.acquisition.fourier_numpy import to_kspace
from recon.header import Header
from recon.scans.fastmri import ScanDescription, write_fastmri

SIZE = (48, 40)  # readout, phase
ADC = 0.8e-3  # mm^2/s
VOXEL = (4.0, 5.0, 6.0)
AFFINE = np.array([[0, 5.0, 0, -100], [4.0, 0, 0, -90], [0, 0, 6.0, 10], [0, 0, 0, 1]])


def object_image(slices: int = 2) -> NDArray[np.complex64]:
    """Ellipses of smooth phase ``[slice, readout, phase]``: a head with two ventricles and a lesion."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in SIZE), indexing="ij")
    images = []
    for index in range(slices):
        image = np.where((y / 0.8) ** 2 + (x / 0.75) ** 2 < 1, 1.0, 0.0)
        for left in (-0.2, 0.2):
            image[((y - 0.1) / 0.35) ** 2 + ((x - left) / 0.1) ** 2 < 1] = 0.4
        image[(y + 0.4) ** 2 + (x - 0.1 * index) ** 2 < 0.03] = 1.6
        images.append(image * np.exp(1j * (0.5 * x + 0.3 * y**2)))
    return np.stack(images).astype(np.complex64)


def write_small_scan(
    path: Path, *, slices: int = 2, coils: int = 4, noise: float = 0.02, seed: int = 0, b_value: float | None = None
) -> Path:
    """A fully sampled scan with its noise scan, contrast FLAIR, true geometry; ``noise`` per real component. With
    ``b_value`` (s/mm^2) it is diffusion-weighted, the object's ADC being ``ADC``."""
    generator = np.random.default_rng(seed)
    y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in SIZE), indexing="ij")
    angles = 2 * np.pi * np.arange(coils) / coils
    maps = np.stack([np.exp(-((y - np.sin(a)) ** 2 + (x - np.cos(a)) ** 2) + 1j * a) for a in angles])
    maps /= np.sqrt((np.abs(maps) ** 2).sum(0))

    def draw(*shape: int) -> NDArray[np.complex64]:
        real = generator.standard_normal((2, *shape))
        return (noise * (real[0] + 1j * real[1])).astype(np.complex64)

    with write_fastmri(
        path,
        ScanDescription(
            shape=(slices, coils, *SIZE),
            contrast="FLAIR",
            voxel_size=VOXEL,
            affine=AFFINE,
            noise=draw(coils, 4000),
            header=Header(
                echo_time_ms=90.0,
                repetition_time_ms=9000.0,
                inversion_time_ms=2500.0,
                field_strength_t=3.0,
                b_value_s_per_mm2=b_value,
            ),
        ),
    ) as writer:
        for index, image in enumerate(object_image(slices)):
            writer.put(index, to_kspace(maps * image * np.exp(-ADC * (b_value or 0))) + draw(coils, *SIZE))
    return path


def write_small_prior(folder: Path) -> Path:
    """A prior of random weights: it denoises by shrinking, which is enough to run every sampler."""
    from recon.prior.denoiser import build_denoiser
    from recon.prior.options import NetworkOptions
    from recon.prior.store import PriorFacts, save_prior

    options = NetworkOptions(channels=(8,))
    denoiser = build_denoiser(options, 0.75, seed=0).eval()
    sigmas = (0.01, 0.1, 1.0, 10.0)
    values = tuple(0.75**2 * sigma**2 / (sigma**2 + 0.75**2) for sigma in sigmas)
    contrast_labels = {"unknown": 0, "FLAIR": 1}
    facts = PriorFacts(
        network=options,
        sigma_data=0.75,
        contrast_labels=contrast_labels,
        denoiser_variance_sigmas=sigmas,
        denoiser_variances=values,
    )
    save_prior(folder, denoiser, facts, "Random weights, for tests only.")
    return folder
