"""Heads to simulate: tissue fractions (or a real magnitude) on a voxel grid, with where they come from.

The built-in head is the ICBM 152 average (2009a, nonlinear, symmetric; Fonov et al., NeuroImage 54:313, 2011) that the
nilearn package ships. Its template is stripped to the brain; a head without scalp is not what a scanner sees, so the
skull, the marrow and the scalp are layers by distance from the brain (``distance``), with the thicknesses that
``recon.simulate.subject`` draws for each subject.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_closing, binary_fill_holes, distance_transform_edt, gaussian_filter, zoom

from recon.errors import ReconError

# Order of the tissue axis. ``scalp`` is skin and muscle. What is missing to 1 is cortical bone or air: no signal.
TISSUES = ("csf", "grey", "white", "deep_grey", "fat", "scalp", "marrow")
BRAIN_TISSUES = ("grey", "white", "deep_grey")
_BUILTIN_HEIGHTS = (-50.0, 90.0)  # mm, MNI
CSF, GREY, WHITE, DEEP_GREY, FAT, SCALP, MARROW = range(len(TISSUES))


@dataclass(frozen=True)
class Anatomy:
    """One head. Arrays are ``[slice, row, column]``: rows run from anterior to posterior, columns from the patient's
    right to left (the radiological view), slices from inferior to superior.

    Either ``fractions`` is given (the images are then simulated by the signal equations) or ``measured`` (a real
    magnitude by contrast: only the acquisition is simulated, which is called semi-synthetic).
    """

    subject: str  # names the head: never a patient's name
    group: str  # the person: repeated scans of one person share it, and splits must go by it
    voxel_size: tuple[float, float, float]  # mm along slice, row, column
    affine: NDArray[np.float64]  # 4x4: (slice, row, column) index -> approximate MNI mm (right, anterior, superior)
    brain: NDArray[np.bool_]  # [slice, row, column] inside the dura, CSF included
    source: str
    licence: str
    kind: str  # "simulated" or "semi-synthetic"
    fractions: NDArray[np.float32] | None = None  # [tissue, slice, row, column] in 0..1, sum <= 1
    distance: NDArray[np.float32] | None = None  # mm from the brain (negative inside); None: fractions hold the skull
    measured: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)  # contrast -> magnitude
    probabilistic: bool = False  # fractions are a group average: each subject draws its own boundaries from them

    def __post_init__(self) -> None:
        if self.fractions is None and not self.measured:
            raise ReconError(f"{self.source}: neither tissue fractions nor a measured image")


@dataclass(frozen=True)
class AnatomySource:
    """A head that can be loaded: listing a folder of hundreds costs no memory."""

    subject: str
    group: str
    contrasts: tuple[str, ...] | None  # what was measured; None: any contrast can be simulated
    load: Callable[[], Anatomy]


@lru_cache(maxsize=1)
def builtin_anatomy() -> Anatomy:
    """The ICBM 152 head from the nilearn package (1 mm), read from the installed files: nothing is downloaded.

    Raises ReconError when this release of nilearn does not ship the template.
    """
    import nibabel

    folder = _nilearn_data()
    volumes = []
    for name in ("t1", "gm", "wm"):
        path = folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
        if not path.is_file():
            raise ReconError(
                f"{path}: the installed nilearn does not ship the ICBM 152 template; install nilearn 0.10-0.14"
            )
        image = nibabel.as_closest_canonical(nibabel.load(path))
        volumes.append(radiological(np.asarray(image.dataobj, np.float32)))
    affine = radiological_affine(np.asarray(image.affine), volumes[0].shape)
    # Only heights that are ever imaged: a quarter less to filter and to keep.
    first, last = (round((height - affine[2, 3]) / affine[2, 0]) for height in _BUILTIN_HEIGHTS)
    t1, grey, white = (volume[first : last + 1] for volume in volumes)
    affine[2, 3] += first * affine[2, 0]
    brain = filled_brain(t1 > 0)
    grey, white = grey / np.float32(255), white / np.float32(255)
    fractions = np.zeros((len(TISSUES), *t1.shape), np.float32)
    deep = deep_grey_weight(t1.shape, affine)
    fractions[WHITE] = white * brain
    fractions[GREY] = grey * (1 - deep) * brain
    fractions[DEEP_GREY] = grey * deep * brain
    fractions[CSF] = np.clip(1 - grey - white, 0, 1) * brain
    return Anatomy(
        subject="icbm152",
        group="icbm152",
        voxel_size=(1.0, 1.0, 1.0),
        affine=affine,
        brain=brain,
        source="ICBM 152 2009a symmetric (nilearn)",
        licence="ICBM 152 licence (free use with the copyright notice); nilearn BSD-3-Clause",
        kind="simulated",
        fractions=fractions,
        distance=brain_distance(brain, (1.0, 1.0, 1.0)),
        probabilistic=True,
    )


def radiological(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """RAS+ ``[x, y, z]`` to ``[slice, row, column]``: rows from anterior, columns from the patient's right."""
    return np.ascontiguousarray(volume[::-1, ::-1].transpose(2, 1, 0))


def radiological_affine(affine: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Affine of a ``radiological`` volume of ``shape`` [slice, row, column] from its RAS+ image's affine."""
    slices_rows_columns = np.zeros((4, 4))
    slices_rows_columns[0, 2], slices_rows_columns[0, 3] = -1, shape[2] - 1
    slices_rows_columns[1, 1], slices_rows_columns[1, 3] = -1, shape[1] - 1
    slices_rows_columns[2, 0] = 1
    slices_rows_columns[3, 3] = 1
    return affine @ slices_rows_columns


def bounding_box_affine(brain: NDArray[np.bool_], lowest: float | None, slice_step: float) -> NDArray[np.float64]:
    """Approximate MNI coordinates from the extent of the brain, for volumes whose header knows nothing of MNI.

    The widest and longest extents are set to those of the MNI brain (x -70..70, y -105..72 mm); the top slice lies at
    80 mm unless ``lowest`` gives the height of slice 0. Good enough to find a vascular territory, no more.
    """
    slices, rows, columns = (np.flatnonzero(brain.any(axis)) for axis in ((1, 2), (0, 2), (0, 1)))
    row_step = -177.0 / max(rows[-1] - rows[0], 1)
    column_step = -140.0 / max(columns[-1] - columns[0], 1)
    affine = np.eye(4)[[2, 1, 0, 3]].astype(float)
    affine[0, 2], affine[0, 3] = column_step, 70.0 - column_step * columns[0]
    affine[1, 1], affine[1, 3] = row_step, 72.0 - row_step * rows[0]
    affine[2, 0] = slice_step
    affine[2, 3] = lowest if lowest is not None else 80.0 - slice_step * slices[-1]
    return affine


def filled_brain(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A brain mask without holes, sulci closed: what lies inside the dura. ``[slice, row, column]`` bool."""
    half = zoom(mask.astype(np.float32), 0.5, order=1, grid_mode=True, mode="nearest") > 0.4
    closed = np.pad(half, 6)
    closed = binary_closing(closed, iterations=4)[6:-6, 6:-6, 6:-6]
    factors = np.divide(mask.shape, closed.shape)
    smooth = gaussian_filter(zoom(closed.astype(np.float32), factors, order=1, grid_mode=True, mode="nearest"), 1.5)
    filled = np.stack([binary_fill_holes(plane) for plane in (smooth > 0.5) | mask])
    return filled


def brain_distance(brain: NDArray[np.bool_], voxel_size: tuple[float, float, float]) -> NDArray[np.float32]:
    """Signed distance in mm from the brain's hull (negative inside), computed at half the resolution."""
    half = zoom(brain.astype(np.float32), 0.5, order=1, grid_mode=True, mode="nearest") > 0.5
    spacing = [2 * size for size in voxel_size]
    signed = distance_transform_edt(~half, spacing) - distance_transform_edt(half, spacing)
    factors = np.divide(brain.shape, half.shape)
    return zoom(gaussian_filter(signed.astype(np.float32), 1.0), factors, order=1, grid_mode=True, mode="nearest")


def deep_grey_weight(shape: tuple[int, ...], affine: NDArray[np.float64]) -> NDArray[np.float32]:
    """Where grey matter is deep (striatum, pallidum, thalamus): 1 inside, smoothly 0 outside; ``[slice, row, column]``.

    An ellipsoid a side around the nuclei's MNI extents (|x| 0-33, y -35..22, z -12..22 mm), short of the insula.
    """
    x, y, z = millimetres(shape, affine)
    radius = np.sqrt(((np.abs(x) - 14) / 20) ** 2 + ((y + 6) / 31) ** 2 + ((z - 5) / 19) ** 2)
    return (1 / (1 + np.exp(np.clip((radius - 1) * 25, -30, 30)))).astype(np.float32)


def millimetres(shape: tuple[int, ...], affine: NDArray[np.float64]) -> tuple[NDArray[np.float32], ...]:
    """MNI x, y, z in mm of every voxel, as arrays that broadcast to ``shape``; the affine must have no rotation."""
    axes = []
    for world in range(3):
        row = affine[world, :3]
        axis = int(np.argmax(np.abs(row)))
        values = row[axis] * np.arange(shape[axis]) + affine[world, 3]
        axes.append(values.astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)]))
    return tuple(axes)


def _nilearn_data() -> Path:
    # Found without importing nilearn, which would take seconds for nothing but its folder.
    from importlib.util import find_spec

    found = find_spec("nilearn")
    if found is None or found.origin is None:
        raise ReconError("nilearn is not installed, and the built-in anatomy comes with it; run 'pip install nilearn'")
    return Path(found.origin).parent / "datasets" / "data"
