"""A simulated time-of-flight angiogram of a tree, measured by coils with noise: a scan in the fastMRI form.

What is simulated: partial volume, saturation of thin (slow) vessels, a smooth tissue background within an elliptic
head, coil sensitivities, a smooth phase, white noise. What is not: flow voids, pulsation, veins, motion.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from recon.acquisition.fourier_numpy import to_kspace
from recon.atomic import atomic_path
from recon.errors import ReconError
from recon.foreign.hdf5 import foreign_hdf5, text_attribute
from recon.hdf5 import hdf5_for_writing
from recon.header import Header
from recon.scans.fastmri import ScanDescription, write_fastmri
from recon.seeding import numpy_generator
from recon.simulate.coils import coil_maps
from recon.vessels.options import TreeOptions
from recon.vessels.tree import Segment, grow

TISSUE = 0.35  # of the signal of fresh blood
SATURATED = 0.55  # signal of the slowest blood; from 1 mm of radius on it is fresh
CONTRAST = "TOF"
SETTINGS = "settings"  # attribute of the vessels' file: what the tree was made with


def simulate_tree(folder: Path, number: int, options: TreeOptions) -> Path:
    """Write ``tree-NNN.h5``, a fully sampled scan whose reference is the noise-free image, and ``tree-NNN_mask.h5``,
    its vessels. Returns the scan's path. Raises ReconError when they cannot be written, or when another tree is there
    under that number."""
    name = f"tree-{number:03d}"
    path, mask, settings = folder / f"{name}.h5", folder / f"{name}_mask.h5", repr(options)
    _check_replaceable(path, mask, settings)
    generator = numpy_generator(options.seed, "vessels", number)
    shape = (options.slices, options.size, options.size)
    segments = grow(
        (float(shape[0]), float(shape[1]), float(shape[2])), options.root_radius, options.smallest_radius, generator
    )
    fraction, signal = blood(segments, shape)
    image = (1 - fraction) * _tissue(shape, generator) + fraction * signal
    phase = gaussian_filter(generator.normal(size=shape), (4, options.size / 6, options.size / 6))
    image = image * np.exp(1.5j * phase / max(float(np.abs(phase).max()), 1e-9))
    heights = np.arange(shape[0]) - shape[0] / 2.0
    maps, _ = coil_maps(heights, shape[1:], (200.0 / shape[1], 200.0 / shape[2]), options.coils, generator)
    std = 1 / options.snr
    noise_shape = (options.coils, 4096)
    noise = std * (generator.normal(size=noise_shape) + 1j * generator.normal(size=noise_shape))
    kspace = to_kspace(maps * image[:, None])
    kspace = kspace + std * (generator.normal(size=kspace.shape) + 1j * generator.normal(size=kspace.shape))
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    described = ScanDescription(
        (shape[0], options.coils, *shape[1:]), contrast=CONTRAST, voxel_size=(1.0, 1.0, 1.0), affine=affine,
        noise=noise.astype(np.complex64),
        header=Header(subject=name, vendor="simulation", origin="simulated vessel tree (Murray's law)"),
    )  # fmt: skip
    with atomic_path(mask) as temporary, hdf5_for_writing(temporary) as file:
        file.create_dataset("lesion", data=(fraction > 0).astype(np.uint8), compression="gzip")
        file.attrs["affine"] = affine
        file.attrs[SETTINGS] = settings
    with write_fastmri(path, described) as writer:
        for index, lines in enumerate(kspace.astype(np.complex64)):
            writer.put(index, lines, reference=np.abs(image[index]).astype(np.float32))
    return path


def _check_replaceable(path: Path, mask: Path, settings: str) -> None:
    """Raise ReconError unless what is there, if anything, was made with the same ``settings`` and is made again."""
    if mask.is_file():
        with foreign_hdf5(mask) as file:
            same = text_attribute(file, SETTINGS) == settings
    else:
        same = not path.exists()
    if not same:
        raise ReconError(f"{path}: is a tree of other settings, or no tree; choose another --out")


def blood(segments: Sequence[Segment], shape: tuple[int, int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How much of each 1-mm voxel is blood, and the signal of that blood, ``[slice, readout, phase]``.

    A voxel at the distance d from the centre line of a vessel of radius r is filled to ``r - d + 1/2`` at most 1, and
    a vessel thinner than a voxel fills no more than its cross-section.
    """
    fraction, signal = np.zeros(shape), np.full(shape, SATURATED)
    for segment in segments:
        margin = segment.radius + 1.5
        low = np.floor(np.minimum(segment.start, segment.end) - margin).astype(int).clip(0)
        high = np.ceil(np.maximum(segment.start, segment.end) + margin).astype(int)
        box = tuple(slice(a, max(a, min(b + 1, n))) for a, b, n in zip(low, high, shape, strict=True))
        points = np.moveaxis(np.asarray(np.mgrid[box], float), 0, -1)
        along = segment.end - segment.start
        position = np.clip(((points - segment.start) @ along) / max(float(along @ along), 1e-9), 0, 1)
        distance = np.linalg.norm(points - segment.start - position[..., None] * along, axis=-1)
        filled = np.clip(segment.radius - distance + 0.5, 0, 1) * min(1.0, np.pi * segment.radius**2)
        fresh = SATURATED + (1 - SATURATED) * min(segment.radius, 1.0)
        signal[box] = np.where(filled > fraction[box], fresh, signal[box])
        fraction[box] = np.maximum(fraction[box], filled)
    return fraction, signal


def _tissue(shape: tuple[int, int, int], generator: np.random.Generator) -> NDArray[np.float64]:
    rows, columns = np.meshgrid(np.linspace(-1, 1, shape[1]), np.linspace(-1, 1, shape[2]), indexing="ij")
    head = (rows / 0.86) ** 2 + (columns / 0.78) ** 2 < 1
    texture = gaussian_filter(generator.normal(size=shape), (3, 4, 4))
    return TISSUE * (1 + 0.06 * texture / texture.std()) * head
