"""Lesions and territories from elsewhere: real masks (``--lesion-shapes``) and a territory atlas (``--territories``).

Both are NIfTI in MNI space. A real mask in another person's head is semi-synthetic: the shape is real, the host and the
signal are not. Masks are used as they are or mirrored, and bent by the host's own deformation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from recon.errors import ReconError
from recon.folders import entries
from recon.simulate.fields import smooth_field
from recon.simulate.lesions import Lesion, finish_lesion
from recon.simulate.territories import territory_masks

_LEAST_VOLUME = 0.3  # mL that the imaged slices must show
_TRIES = 40


@dataclass(frozen=True)
class LesionFiles:
    """Where lesions come from when they are not wholly simulated."""

    shapes: tuple[Path, ...] = ()
    territories: Path | None = None


def find_lesion_files(shapes: str | Path | None, territories: str | Path | None) -> LesionFiles:
    """Masks below the folder ``shapes`` and the atlas ``territories``. Raises ReconError when there is nothing."""
    found: tuple[Path, ...] = ()
    if shapes is not None:
        folder = Path(shapes)
        found = tuple(path for path in entries(folder, "*.nii*", deep=True) if path.is_file())
        if not found:
            raise ReconError(f"{folder}: no NIfTI masks; give --lesion-shapes a folder of binary masks in MNI space")
    if territories is not None and not Path(territories).is_file():
        raise ReconError(
            f"{territories}: no such file; give --territories a NIfTI of whole-numbered territories in MNI space"
        )
    return LesionFiles(found, None if territories is None else Path(territories))


def real_lesion(
    shapes: Sequence[Path],
    coordinates: NDArray[np.float32],
    tissue: NDArray[np.float32],
    spacing: tuple[float, float, float],
    generator: np.random.Generator,
    stage: str | None = None,
) -> Lesion:
    """A real mask, drawn at random and mirrored half of the time, on the grid whose MNI ``coordinates`` [3, slice, row,
    column] are given; ``tissue`` is the fraction of brain tissue there. Chronic unless ``stage`` says otherwise.

    Raises ReconError when none of many draws touches the imaged slices.
    """
    voxel = float(np.prod(spacing)) / 1000
    bend = np.stack([2.5 * smooth_field(tissue.shape, spacing, 15.0, generator) for _ in range(3)])
    for _ in range(_TRIES):
        path = shapes[int(generator.integers(len(shapes)))]
        mirror = np.array([generator.choice([-1.0, 1.0]), 1.0, 1.0], np.float32)[:, None, None, None]
        sampled = _sample(path, (coordinates + bend) * mirror, order=1)
        shape = (sampled > 0.5) & (tissue > 0.3)
        if shape.sum() * voxel >= _LEAST_VOLUME and shape.sum() >= 12:
            places = territory_masks(*coordinates)
            shared = {name: int((place & shape).sum()) for name, place in places.items() if name != "lacunar"}
            territory = max(shared, key=lambda name: shared[name])
            return finish_lesion(shape, tissue, spacing, territory, stage or "chronic", generator)
    raise ReconError(f"{shapes[0].parent}: {_TRIES} masks drawn, none touches the imaged slices; image more slices")


def atlas_territories(path: Path, coordinates: NDArray[np.float32]) -> dict[str, NDArray[np.bool_]]:
    """Territories of an atlas at MNI ``coordinates`` [3, slice, row, column], named by their number: ``territory-7``.

    Raises ReconError when the file is not a NIfTI of whole numbers.
    """
    values = _sample(path, coordinates, order=0)
    codes = np.unique(values)
    if not np.allclose(codes, codes.round()) or len(codes) > 500:
        raise ReconError(f"{path}: a territory atlas holds whole numbers, this holds an image")
    return {f"territory-{int(code)}": values == code for code in codes if code > 0}


def _sample(path: Path, coordinates: NDArray[np.float32], order: int) -> NDArray[np.float32]:
    volume, inverse = _volume(path)
    flat = coordinates.reshape(3, -1)
    index = inverse[:3, :3] @ flat + inverse[:3, 3:]
    sampled = map_coordinates(volume, index, order=order, mode="constant", cval=0.0, output=np.float32)
    return sampled.reshape(coordinates.shape[1:])


@lru_cache(maxsize=4)
def _volume(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    import nibabel

    try:
        image: Any = nibabel.load(path)
        volume = np.squeeze(np.asarray(image.dataobj, np.float32))
    except Exception as error:  # nibabel raises many kinds for a damaged file
        raise ReconError(f"{path}: truncated or not NIfTI ({error})") from error
    if volume.ndim != 3 or not np.isfinite(volume).all():
        raise ReconError(f"{path}: a 3-D mask without NaN is needed, this has shape {volume.shape}")
    return volume, np.linalg.inv(np.asarray(image.affine, float))
