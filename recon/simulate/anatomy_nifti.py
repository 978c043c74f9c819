"""Heads in NIfTI: tissue labels, or real images in one or more contrasts."""

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, binary_fill_holes, gaussian_filter, label, zoom

from recon.errors import ReconError, naming
from recon.images.nifti_reading import canonical, open_nifti, values_of
from recon.simulate.anatomy import CSF, DEEP_GREY, GREY, TISSUES, WHITE, Anatomy, AnatomySource
from recon.simulate.anatomy_grid import (
    bounding_box_affine,
    brain_distance,
    filled_brain,
    radiological,
    radiological_affine,
)
from recon.simulate.anatomy_names import contrast_pattern, licence_beside, person_of_name, stem_of_name


def is_tissue_map(path: Path) -> bool:
    """Whether a NIfTI holds whole numbers 0 to 3 or 4, all three tissues among them. Raises ReconError when damaged."""
    image = open_nifti(path)
    if image.get_data_dtype().kind not in "ui":
        return False
    codes = np.unique(values_of(path, image))
    return bool(np.isin(codes, (0, 1, 2, 3, 4)).all() and np.isin((1, 2, 3), codes).all())


def labelled_loader(path: Path, subject: str) -> Callable[[], Anatomy]:
    """What loads the head ``subject`` from a NIfTI of tissue labels."""

    def load() -> Anatomy:
        labels, affine, voxel_size = _load_nifti(path)
        brain = filled_brain(labels > 0)
        with naming(path):
            placed = _mni_affine(affine, brain, voxel_size)
        fractions = np.zeros((len(TISSUES), *labels.shape), np.float32)
        for code, tissue in ((1, CSF), (2, GREY), (3, WHITE), (4, DEEP_GREY)):
            fractions[tissue] = gaussian_filter((labels == code).astype(np.float32), 0.5)
        return Anatomy(
            subject=subject,
            group=person_of_name(subject),
            voxel_size=voxel_size,
            affine=placed,
            brain=brain,
            source=path.name,
            licence=licence_beside(path),
            kind="semi-synthetic",
            fractions=fractions,
            distance=brain_distance(brain, voxel_size),
        )

    return load


def image_sources(paths: dict[str, Path]) -> list[AnatomySource]:
    """One head for the contrasts that share a grid, else one for each."""
    grids: dict[tuple[Any, ...], dict[str, Path]] = {}
    for contrast, path in paths.items():
        header = open_nifti(path)
        key = (tuple(header.shape), tuple(np.round(header.affine, 3).ravel()))
        grids.setdefault(key, {})[contrast] = path
    sources = []
    for members in grids.values():
        first = next(iter(members.values()))
        subject = re.sub(contrast_pattern(), "", stem_of_name(first)).strip("_-") or first.stem
        if len(grids) > 1:
            subject += "_" + "-".join(members)
        person = person_of_name(subject)
        sources.append(AnatomySource(subject, person, tuple(sorted(members)), _image_loader(members, subject, person)))
    return sources


def _load_nifti(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64], tuple[float, float, float]]:
    """``[slice, row, column]`` float32, its affine to RAS+ mm and the voxel size (slice, row, column)."""
    image = canonical(path, open_nifti(path))
    volume = np.squeeze(np.asarray(values_of(path, image), np.float32))
    if volume.ndim != 3 or min(volume.shape) < 4:
        raise ReconError(f"{path}: a 3-D volume is needed, this has shape {volume.shape}")
    if not np.isfinite(volume).all():
        raise ReconError(f"{path}: has NaN or infinite values; replace them first")
    zooms = [float(size) for size in image.header.get_zooms()[:3]]
    affine = radiological_affine(np.asarray(image.affine, float), volume.shape[::-1])
    return radiological(volume), affine, (zooms[2], zooms[1], zooms[0])


def _image_loader(paths: dict[str, Path], subject: str, group: str) -> Callable[[], Anatomy]:
    def load() -> Anatomy:
        measured = {}
        for contrast, path in paths.items():
            volume, affine, voxel_size = _load_nifti(path)
            measured[contrast] = np.clip(volume, 0, None)
        first = next(iter(paths.values()))
        with naming(first):
            brain = _brain_of_image(measured[next(iter(paths))], voxel_size)
            placed = _mni_affine(affine, brain, voxel_size)
        return Anatomy(
            subject=subject,
            group=group,
            voxel_size=voxel_size,
            affine=placed,
            brain=brain,
            source=", ".join(path.name for path in paths.values()),
            licence=licence_beside(first),
            kind="semi-synthetic",
            measured=measured,
        )

    return load


def _brain_of_image(image: NDArray[np.float32], voxel_size: tuple[float, float, float]) -> NDArray[np.bool_]:
    """Where the brain is, roughly: the filled head, less the width of skull and scalp unless they were stripped."""
    bright = float(np.percentile(image[image > 0], 90)) if (image > 0).any() else 0.0
    if bright <= 0:
        raise ReconError("the image is empty")
    smooth = gaussian_filter(image, [0.7 / size for size in voxel_size])
    parts, number = label(smooth > 0.12 * bright)
    if number > 1:
        parts = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    head = np.stack([binary_fill_holes(plane) for plane in parts > 0])
    factors = [min(size / 3.0, 1.0) for size in voxel_size]
    coarse = zoom(head.astype(np.float32), factors, order=1, grid_mode=True, mode="nearest") > 0.5
    disc = np.hypot(*np.mgrid[-1:2, -1:2])[None] < 1.3

    def shrink(mask: NDArray[np.bool_], millimetre: float) -> NDArray[np.bool_]:
        return binary_erosion(mask, disc, iterations=max(round(millimetre / 3.0), 1))

    level = zoom(image, factors, order=1, grid_mode=True, mode="nearest")
    depths = range(3, 22, 3)
    inner = [coarse, *(shrink(coarse, depth) for depth in depths)]
    shells = [outer & ~deeper for outer, deeper in itertools.pairwise(inner)]
    core = shrink(coarse, 30)
    if core.any() and all(shell.any() for shell in shells):
        profile = [float(np.median(level[shell])) for shell in shells[1:]]
        darkest = int(np.argmin(profile))
        # Bone is a dark shell below the surface; a stripped brain has none.
        if profile[darkest] < 0.55 * np.median(level[core]):
            coarse = shrink(coarse, depths[darkest + 1] + 3)
    back = np.divide(image.shape, coarse.shape)
    return zoom(coarse.astype(np.float32), back, order=1, grid_mode=True, mode="nearest") > 0.5


def _mni_affine(
    affine: NDArray[np.float64], brain: NDArray[np.bool_], voxel_size: tuple[float, float, float]
) -> NDArray[np.float64]:
    """The file's own affine when it plainly is in MNI space, else one from the brain's extent."""
    occupied = np.argwhere(brain)
    if len(occupied) == 0:
        raise ReconError("no brain was found in the image")
    centre = affine[:3, :3] @ ((occupied.min(0) + occupied.max(0)) / 2) + affine[:3, 3]
    straight = np.count_nonzero(np.abs(affine[:3, :3]) > 1e-3) == 3
    if straight and abs(centre[0]) < 8 and abs(centre[1] + 17) < 12 and -15 < centre[2] < 25:
        return affine
    return bounding_box_affine(brain, lowest=None, slice_step=voxel_size[0])
