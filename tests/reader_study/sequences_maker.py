"""Simulated cases of three series on their own grids: FLAIR, DWI and ADC of one head, for the tests of sequences."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from study_maker import protocol_mapping

SEQUENCES = [{"name": "FLAIR"}, {"name": "DWI"}, {"name": "ADC", "by_arm": False}]
# Of each: shape [x, y, slice], voxel size in mm, where the first slice lies in mm.
GRIDS = {
    "FLAIR": ((40, 44, 4), (4.0, 4.0, 10.0), -20.0),
    "DWI": ((26, 28, 7), (6.0, 6.0, 5.0), -15.0),
    "ADC": ((26, 28, 7), (6.0, 6.0, 5.0), -15.0),
}
TILT = 0.15  # radians about the left-right axis, alike in all


def sequences_mapping(cases: int = 6, **changes: Any) -> dict[str, Any]:
    """A protocol whose cases are three series, of which ADC is the same in both arms."""
    return {**protocol_mapping(cases=cases), "sequences": SEQUENCES, **changes}


def affine_of(name: str) -> np.ndarray:
    """Index to RAS mm: RAS axes, tilted, centred in the plane."""
    shape, size, start = GRIDS[name]
    turn = np.array([[1, 0, 0], [0, np.cos(TILT), -np.sin(TILT)], [0, np.sin(TILT), np.cos(TILT)]])
    affine = np.eye(4)
    affine[:3, :3] = turn * size
    first = np.array([-(shape[0] - 1) / 2 * size[0], -(shape[1] - 1) / 2 * size[1], start])
    affine[:3, 3] = turn @ first + [11.0, -7.0, 30.0]  # the scanner's own origin
    return affine


def head(name: str, case: int, level: float = 3.0, seed: int = 0) -> np.ndarray:
    """An ellipsoid with blobs that differ by case, on the grid of one sequence; noise of ``level``."""
    shape, size, start = GRIDS[name]
    x, y, z = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    mm = [(x - (shape[0] - 1) / 2) * size[0], (y - (shape[1] - 1) / 2) * size[1], start + z * size[2]]
    inside = (mm[0] / 70) ** 2 + (mm[1] / 80) ** 2 + (mm[2] / 60) ** 2 < 1
    image = 60.0 * inside
    places = np.random.default_rng([case, 1])
    for _ in range(8):
        centre = places.uniform([-40, -45, -15], [40, 45, 15])
        away = sum((axis - middle) ** 2 for axis, middle in zip(mm, centre, strict=True))
        contrast = 40 if name != "ADC" else -25
        image += contrast * np.exp(-away / (2 * places.uniform(8, 14) ** 2)) * inside
    noise = np.random.default_rng([case, seed, len(name)]).normal(0, level, shape)
    return (image + np.abs(noise)).astype(np.float32)


def write_sequences(folder: Path, cases: list[str], arms: tuple[str, ...] = ("soc", "dm")) -> str:
    """NIfTI files of all arms; of ADC the reference's alone. Gives the pattern for ``--images``."""
    for number, case in enumerate(cases):
        for place, arm in enumerate(arms):
            (folder / arm / case).mkdir(parents=True, exist_ok=True)
            for name in GRIDS:
                if name == "ADC" and place:
                    continue
                values = head(name, number, 3.0 + 0.4 * place, place)
                nibabel.save(nibabel.Nifti1Image(values, affine_of(name)), folder / arm / case / f"{name}.nii.gz")
    return str(folder / "{arm}" / "{case}" / "{sequence}.nii.gz")
