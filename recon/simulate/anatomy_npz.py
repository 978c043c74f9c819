"""Labelled heads in npz archives; their skull, scalp and partial volume come from the T1-weighted image."""

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, gaussian_filter

from recon.errors import ReconError, naming
from recon.foreign.archive import packed_arrays
from recon.simulate.anatomy import (
    CSF,
    DEEP_GREY,
    FAT,
    GREY,
    SCALP,
    TISSUES,
    WHITE,
    Anatomy,
    AnatomySource,
)
from recon.simulate.anatomy_grid import bounding_box_affine
from recon.simulate.anatomy_names import licence_beside

# The Pediatric Template of Brain Perfusion set holds some children several times (1-based positions in its file).
_PTBP_REPEATS = (
    (4, 5),
    (6, 7, 8),
    (19, 20, 21),
    (22, 23, 24),
    (29, 30, 31),
    (34, 35),
    (39, 40, 41),
    (44, 45),
    (46, 47),
    (49, 50),
)


def npz_sources(path: Path) -> list[AnatomySource]:
    """One head for each subject of the archive. Raises ReconError when it is damaged or lacks an array."""
    t1, _, groups = _npz_arrays(path)
    prefix = re.split(r"[_\d]", path.stem)[0] or path.stem
    if groups is None:
        groups = [f"{prefix}-{number:02d}" for number in range(1, len(t1) + 1)]
        if path.stem.startswith("ptbp60") and len(t1) == 60:
            for repeat in _PTBP_REPEATS:
                for number in repeat:
                    groups[number - 1] = f"{prefix}-{repeat[0]:02d}"

    def loader(index: int) -> Callable[[], Anatomy]:
        return lambda: _npz_anatomy(path, index, f"{prefix}-{index + 1:02d}", groups[index])

    return [AnatomySource(f"{prefix}-{i + 1:02d}", groups[i], None, loader(i)) for i in range(len(t1))]


@lru_cache(maxsize=2)
def _npz_arrays(path: Path) -> tuple[NDArray[Any], NDArray[Any], list[str] | None]:
    with packed_arrays(path) as archive:
        if "labels" not in archive.names or "t1" not in archive.names:
            raise ReconError(f"{path}: needs the arrays 't1' and 'labels', has {', '.join(archive.names) or 'none'}")
        t1, labels = archive.read("t1"), archive.read("labels")
        groups = [str(group) for group in archive.read("groups")] if "groups" in archive.names else None
    if t1.ndim == 3:
        t1, labels = t1[None], labels[None]
    if t1.shape != labels.shape or t1.ndim != 4:
        raise ReconError(f"{path}: t1 {t1.shape} and labels {labels.shape} must both be [subject, slice, row, column]")
    if t1.dtype.kind not in "iuf" or labels.dtype.kind not in "iub" or 0 in t1.shape or not np.isfinite(t1).all():
        raise ReconError(f"{path}: 't1' must be finite real numbers and 'labels' whole numbers; write them again")
    if groups is not None and len(groups) != len(t1):
        raise ReconError(f"{path}: names {len(groups)} groups for {len(t1)} subjects; give one for each")
    return t1, labels, groups


def _npz_anatomy(path: Path, index: int, subject: str, group: str) -> Anatomy:
    t1, labels, _ = _npz_arrays(path)
    # Slices at the rim of a resampled stack are blended with nothing: a fraction of the others' labelled area.
    area = (labels[index] > 0).sum(axis=(1, 2))
    if area.max() == 0:
        raise ReconError(f"{path}: subject {index + 1} has no labels")
    usable = np.flatnonzero(area > 0.5 * area.max())
    image = t1[index, usable[0] : usable[-1] + 1].astype(np.float32)
    tissue = labels[index, usable[0] : usable[-1] + 1]
    brain = np.stack([binary_fill_holes(plane > 0) for plane in tissue])
    # A slab of a few slices shows neither vertex nor base. Its deep grey matter tells the height: 5 mm and upwards.
    affine = bounding_box_affine(brain, lowest=5.0 if len(image) < 30 else None, slice_step=1.0)
    with naming(path):
        fractions = fractions_from_image(image, tissue, brain)
    return Anatomy(
        subject=subject,
        group=group,
        voxel_size=(1.0, 1.0, 1.0),
        affine=affine,
        brain=brain,
        source=path.name,
        licence=licence_beside(path),
        kind="semi-synthetic",
        fractions=fractions,
    )


def fractions_from_image(
    t1: NDArray[np.float32], labels: NDArray[np.uint8], brain: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Tissue fractions ``[tissue, slice, row, column]`` from labels and the T1-weighted image they were drawn on.

    Within the brain a voxel's intensity lies between the mean intensities of CSF, grey and white matter; where it lies
    is its partial volume. Labels only say which tissues are near. Outside, bright is fat, medium is skin or muscle,
    dark is CSF next to the brain and bone or air beyond.
    """
    even = t1 / _shading(t1, labels)
    level = {code: float(np.median(even[labels == code])) for code in (1, 2, 3, 4) if (labels == code).any()}
    if not {1, 2, 3} <= level.keys() or not level[1] < level[2] < level[3]:
        raise ReconError("the labels 1 (CSF), 2 (grey), 3 (white) do not order the T1 image from dark to bright")
    near = np.stack([gaussian_filter((labels == code).astype(np.float32), (0, 0.8, 0.8)) for code in (1, 2, 3, 4)])
    white = np.clip((even - level[2]) / (level[3] - level[2]), 0, 1)
    fluid = np.clip((level[2] - even) / (level[2] - level[1]), 0, 1)
    by_intensity = np.stack([fluid, 1 - white - fluid, white])
    weight = by_intensity * (near[:3] + 0.04)
    weight /= np.maximum(weight.sum(0), 1e-4)
    deep = np.clip(near[3] * 1.2, 0, 1)
    soft = np.clip(gaussian_filter(brain.astype(np.float32), (0, 0.6, 0.6)), 0, 1)
    fractions = np.zeros((len(TISSUES), *t1.shape), np.float32)
    fractions[[CSF, GREY, WHITE]] = weight * (1 - deep) * soft
    # Deep nuclei are between grey and white matter themselves; what is brighter than they is partly white matter.
    surplus = np.clip((even - level.get(4, level[2])) / max(level[3] - level.get(4, level[2]), 1e-3), 0, 0.8)
    fractions[DEEP_GREY] = deep * (1 - surplus) * soft
    fractions[WHITE] += deep * surplus * soft

    relative = t1 / level[3]
    outside = 1 - soft
    fat = np.clip((relative - 0.55) / 0.5, 0, 1)
    skin = np.clip((relative - 0.14) / 0.3, 0, 1) * (1 - fat)
    fractions[FAT] = fat * outside
    fractions[SCALP] = skin * outside
    wide = gaussian_filter(brain.astype(np.float32), (0, 2.0, 2.0))
    rim = np.clip((wide - 0.12) / 0.1, 0, 1)
    fractions[CSF] += rim * (1 - fat - skin) * outside
    return fractions


def _shading(t1: NDArray[np.float32], labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The image's own receive shading: a quadratic polynomial in the plane through log white-matter intensity."""
    where = (labels == 3) & (t1 > 0)
    _, rows, columns = t1.shape
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * y, x**2, y**2])
    picked = np.argwhere(where)[::7]
    if len(picked) < 100:
        return np.ones((1, rows, columns), np.float32)
    design = terms[:, picked[:, 1], picked[:, 2]].T
    values = np.log(t1[tuple(picked.T)])
    coefficients = np.linalg.lstsq(design, values - values.mean(), rcond=None)[0]
    surface = np.clip(np.tensordot(coefficients, terms, 1), -0.5, 0.5)
    return np.exp(surface)[None].astype(np.float32)
