"""Heads from elsewhere (``--anatomy DIR``): labelled npz, labelled NIfTI, and real images in one contrast.

- ``*.npz`` with ``t1`` and ``labels`` ``[subject, slice, row, column]`` (or one subject's ``[slice, row, column]``): labels
  0 background, 1 CSF, 2 grey, 3 white, 4 deep grey matter. Skull and scalp, which no label names, come from the image, and
  so does the partial volume of every voxel. An optional array ``groups`` names the person of each subject.
- NIfTI with whole numbers 0 to 3 (or 4), the same labels; skull and scalp are then the built-in layers.
- NIfTI whose name tells the contrast (``..._FLAIR.nii.gz``, T1, T1w, T2, PD, DWI): a real magnitude. Only its acquisition
  is simulated: semi-synthetic. Files of one subject on one grid are read together.

``licence.txt`` in the folder, if there, is quoted in every manifest.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, binary_fill_holes, gaussian_filter, label, zoom

from recon.errors import ReconError
from recon.simulate.anatomy import (
    CSF,
    DEEP_GREY,
    FAT,
    GREY,
    SCALP,
    TISSUES,
    WHITE,
    Anatomy,
    bounding_box_affine,
    brain_distance,
    builtin_anatomy,
    filled_brain,
    radiological,
    radiological_affine,
)

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
_CONTRAST_WORDS = {
    "FLAIR": "FLAIR",
    "FL": "FLAIR",
    "T1": "T1",
    "T1W": "T1",
    "SPGR": "T1",
    "MPRAGE": "T1",
    "T2": "T2",
    "T2W": "T2",
    "LATE": "T2",
    "PD": "PD",
    "PDW": "PD",
    "ERLY": "PD",
    "DWI": "DWI",
}
_NOT_AN_IMAGE = re.compile(r"mask|lesion|seg|label|gt|dlmuse|dlwmls|atlas|lpba", re.IGNORECASE)


@dataclass(frozen=True)
class AnatomySource:
    """A head that can be loaded: listing a folder of hundreds costs no memory."""

    subject: str
    group: str
    contrasts: tuple[str, ...] | None  # what was measured; None: any contrast can be simulated
    load: Callable[[], Anatomy]


def builtin_sources() -> list[AnatomySource]:
    """The heads that come with the package: one."""
    return [AnatomySource("icbm152", "icbm152", None, builtin_anatomy)]


def find_anatomies(folder: str | Path) -> list[AnatomySource]:
    """Every head in ``folder`` (or in one file), in a fixed order.

    Raises ReconError when it does not exist, or holds nothing that can be used.
    """
    folder = Path(folder)
    if not folder.exists():
        raise ReconError(f"{folder}: no such folder; give --anatomy a folder with npz or NIfTI files")
    files = sorted(folder.rglob("*")) if folder.is_dir() else [folder]
    sources: list[AnatomySource] = []
    images: dict[str, dict[str, Path]] = {}
    for path in files:
        name = path.name.lower()
        if name.endswith(".npz"):
            sources += _npz_sources(path)
        elif name.endswith((".nii", ".nii.gz")):
            contrast = contrast_of_name(path.name)
            if _NOT_AN_IMAGE.search(path.name) is None and contrast is not None:
                key = f"{path.parent}/{re.sub(_contrast_pattern(), '', _stem(path))}"
                images.setdefault(key, {})[contrast] = path
            elif _is_tissue_map(path):
                subject = _stem(path)
                sources.append(AnatomySource(subject, person_of_name(subject), None, _labelled_loader(path, subject)))
    for paths in images.values():
        sources += _image_sources(paths)
    if not sources:
        raise ReconError(
            f"{folder}: no anatomy found; needed: npz with 't1' and 'labels', NIfTI tissue labels 0-4, or NIfTI images "
            "named by contrast (..._FLAIR.nii.gz)"
        )
    return sources


def contrast_of_name(name: str) -> str | None:
    """The contrast that a file name tells, or None: ``p01_study1_T1W.nii.gz`` is T1."""
    found = re.findall(_contrast_pattern(), _stem(Path(name)))
    return _CONTRAST_WORDS[found[-1].strip("_-").upper()] if found else None


def person_of_name(name: str) -> str:
    """The person that a file name tells, so that repeated scans stay together: ``MNI_p07``, ``p07_study2`` are p07."""
    for token in re.split(r"[_\s]+", name):
        if re.search(r"\d", token) and not re.match(r"(?i)(study|ses|session|visit|run|tp)[-]?\d", token):
            return token
    return name


def _contrast_pattern() -> str:
    words = "|".join(sorted(_CONTRAST_WORDS, key=len, reverse=True))
    return rf"(?i)[_-]?(?:{words})(?![A-Za-z0-9])"


def _stem(path: Path) -> str:
    return re.sub(r"(?i)\.nii(\.gz)?$|\.npz$", "", path.name)


def _licence(path: Path) -> str:
    note = path.parent / "licence.txt"
    return note.read_text(encoding="utf-8", errors="replace").strip()[:500] if note.is_file() else "see the data's own licence"


@lru_cache(maxsize=2)
def _npz_arrays(path: Path) -> tuple[NDArray[Any], NDArray[Any], list[str] | None]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if "labels" not in archive or "t1" not in archive:
                raise ReconError(f"{path}: needs the arrays 't1' and 'labels', has {', '.join(archive.files) or 'none'}")
            t1, labels = archive["t1"], archive["labels"]
            groups = [str(entry) for entry in archive["groups"]] if "groups" in archive else None
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise ReconError(f"{path}: truncated or not an npz archive ({error})") from error
    if t1.ndim == 3:
        t1, labels = t1[None], labels[None]
    if t1.shape != labels.shape or t1.ndim != 4:
        raise ReconError(f"{path}: t1 {t1.shape} and labels {labels.shape} must both be [subject, slice, row, column]")
    return t1, labels, groups


def _npz_sources(path: Path) -> list[AnatomySource]:
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


def _npz_anatomy(path: Path, index: int, subject: str, group: str) -> Anatomy:
    t1, labels, _ = _npz_arrays(path)
    # Slices at the rim of a resampled stack are blended with nothing: a fraction of the others' labelled area.
    area = (labels[index] > 0).sum(axis=(1, 2))
    usable = np.flatnonzero(area > 0.5 * area.max())
    if area.max() == 0:
        raise ReconError(f"{path}: subject {index + 1} has no labels")
    image = t1[index, usable[0] : usable[-1] + 1].astype(np.float32)
    tissue = labels[index, usable[0] : usable[-1] + 1]
    brain = np.stack([binary_fill_holes(plane > 0) for plane in tissue])
    # A slab of a few slices shows neither vertex nor base. Its deep grey matter tells the height: 5 mm and upwards.
    affine = bounding_box_affine(brain, lowest=5.0 if len(image) < 30 else None, slice_step=1.0)
    return Anatomy(
        subject=subject,
        group=group,
        voxel_size=(1.0, 1.0, 1.0),
        affine=affine,
        brain=brain,
        source=path.name,
        licence=_licence(path),
        kind="semi-synthetic",
        fractions=fractions_from_image(image, tissue, brain),
    )


def fractions_from_image(
    t1: NDArray[np.float32], labels: NDArray[np.uint8], brain: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Tissue fractions ``[tissue, slice, row, column]`` from labels and the T1-weighted image they were drawn on.

    Within the brain a voxel's intensity lies between the mean intensities of CSF, grey and white matter; where it lies is
    its partial volume. Labels only say which tissues are near. Outside, bright is fat, medium is skin or muscle, dark is
    CSF next to the brain and bone or air beyond.
    """
    even = t1 / _shading(t1, labels)
    level = {code: float(np.median(even[labels == code])) for code in (1, 2, 3, 4) if (labels == code).any()}
    if not {1, 2, 3} <= level.keys() or not level[1] < level[2] < level[3]:
        raise ReconError("the labels 1 (CSF), 2 (grey), 3 (white) do not order the T1 image from dark to bright")
    near = np.stack([gaussian_filter((labels == code).astype(np.float32), (0, 0.8, 0.8)) for code in (1, 2, 3, 4)])
    white = np.clip((even - level[2]) / (level[3] - level[2]), 0, 1)
    fluid = np.clip((level[2] - even) / (level[2] - level[1]), 0, 1)
    guess = np.stack([fluid, 1 - white - fluid, white])
    weight = guess * (near[:3] + 0.04)
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


def _load_nifti(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64], tuple[float, float, float]]:
    """``[slice, row, column]`` float32, its affine to RAS+ mm and the voxel size (slice, row, column)."""
    import nibabel

    try:
        image = nibabel.as_closest_canonical(nibabel.load(path))
        volume = np.asarray(image.dataobj, np.float32)
    except Exception as error:  # nibabel raises many kinds for a damaged file
        raise ReconError(f"{path}: truncated or not NIfTI ({error})") from error
    volume = np.squeeze(volume)
    if volume.ndim != 3 or min(volume.shape) < 4:
        raise ReconError(f"{path}: a 3-D volume is needed, this has shape {volume.shape}")
    if not np.isfinite(volume).all():
        raise ReconError(f"{path}: has NaN or infinite values; replace them first")
    zooms = [float(size) for size in image.header.get_zooms()[:3]]
    affine = radiological_affine(np.asarray(image.affine, float), volume.shape[::-1])
    return radiological(volume), affine, (zooms[2], zooms[1], zooms[0])


def _is_tissue_map(path: Path) -> bool:
    import nibabel

    try:
        image = nibabel.load(path)
        if image.get_data_dtype().kind not in "ui":
            return False
        codes = np.unique(np.asarray(image.dataobj))
    except Exception as error:
        raise ReconError(f"{path}: truncated or not NIfTI ({error})") from error
    return bool(np.isin(codes, (0, 1, 2, 3, 4)).all() and np.isin((1, 2, 3), codes).all())


def _labelled_loader(path: Path, subject: str) -> Callable[[], Anatomy]:
    def load() -> Anatomy:
        labels, affine, voxel_size = _load_nifti(path)
        brain = filled_brain(labels > 0)
        fractions = np.zeros((len(TISSUES), *labels.shape), np.float32)
        for code, tissue in ((1, CSF), (2, GREY), (3, WHITE), (4, DEEP_GREY)):
            fractions[tissue] = gaussian_filter((labels == code).astype(np.float32), 0.5)
        return Anatomy(
            subject=subject,
            group=person_of_name(subject),
            voxel_size=voxel_size,
            affine=_mni_affine(affine, brain, voxel_size),
            brain=brain,
            source=path.name,
            licence=_licence(path),
            kind="semi-synthetic",
            fractions=fractions,
            distance=brain_distance(brain, voxel_size),
        )

    return load


def _image_sources(paths: dict[str, Path]) -> list[AnatomySource]:
    """One head for the contrasts that share a grid, else one for each."""
    import nibabel

    grids: dict[tuple[Any, ...], dict[str, Path]] = {}
    for contrast, path in paths.items():
        try:
            header = nibabel.load(path)
        except Exception as error:
            raise ReconError(f"{path}: truncated or not NIfTI ({error})") from error
        key = (tuple(header.shape), tuple(np.round(header.affine, 3).ravel()))
        grids.setdefault(key, {})[contrast] = path
    sources = []
    for members in grids.values():
        first = next(iter(members.values()))
        subject = re.sub(_contrast_pattern(), "", _stem(first)).strip("_-") or first.stem
        if len(grids) > 1:
            subject += "_" + "-".join(members)
        person = person_of_name(subject)
        sources.append(AnatomySource(subject, person, tuple(sorted(members)), _image_loader(members, subject, person)))
    return sources


def _image_loader(paths: dict[str, Path], subject: str, group: str) -> Callable[[], Anatomy]:
    def load() -> Anatomy:
        measured = {}
        for contrast, path in paths.items():
            volume, affine, voxel_size = _load_nifti(path)
            measured[contrast] = np.clip(volume, 0, None)
        brain = _brain_of_image(next(iter(measured.values())), voxel_size)
        return Anatomy(
            subject=subject,
            group=group,
            voxel_size=voxel_size,
            affine=_mni_affine(affine, brain, voxel_size),
            brain=brain,
            source=", ".join(path.name for path in paths.values()),
            licence=_licence(next(iter(paths.values()))),
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
        return binary_erosion(mask, disc, iterations=max(int(round(millimetre / 3.0)), 1))

    level = zoom(image, factors, order=1, grid_mode=True, mode="nearest")
    depths = range(3, 22, 3)
    inner = [coarse, *(shrink(coarse, depth) for depth in depths)]
    shells = [outer & ~deeper for outer, deeper in zip(inner[:-1], inner[1:], strict=True)]
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
