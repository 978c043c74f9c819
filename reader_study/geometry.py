"""Where the sequences of a case lie, so that the viewer and a PACS can show one place in all of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader_study.volumes import DisplayVolume
from recon.errors import ReconError

Floats = NDArray[np.float64]
_APART = 0.5  # of a voxel's shortest edge, by which the arms' grids may lie apart


@dataclass(frozen=True)
class Position:
    """A series in space, in RAS+ mm from the centre of the case's first sequence: nothing of the scanner's own origin.

    ``origin`` is the centre of voxel (0, 0, 0), ``axes`` the unit vectors along slice, row and column. Rounded so that
    Python and JavaScript write the same digits.
    """

    origin: tuple[float, float, float]
    axes: tuple[tuple[float, float, float], ...]

    def as_mapping(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"origin": list(self.origin), "axes": [list(axis) for axis in self.axes]}


def positions(volumes: Mapping[str, DisplayVolume], where: str) -> dict[str, Position | None]:
    """The position of each sequence's series; None for all where one of them does not know its own.

    Raises ReconError where nothing says which slices belong together: no positions, and other numbers of slices.
    """
    names = list(volumes)
    unknown = [name for name in names if volumes[name].affine is None]
    if unknown:
        counts = {name: len(volumes[name].pixels) for name in names}
        if len(set(counts.values())) > 1:
            shown = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise ReconError(
                f"{where}: {unknown[0]} does not say where it lies, and the sequences have different numbers of slices "
                f"({shown}), so that they cannot be scrolled together; give images with an orientation (NIfTI, DICOM)"
            )
        return dict.fromkeys(names)
    centre = _centre(volumes[names[0]])
    return {name: _position(volumes[name], centre) for name in names}


def check_arms_in_place(volumes: Mapping[str, DisplayVolume], where: str) -> None:
    """Raises ReconError where two arms' series do not cover the same place: linked scrolling would tell them."""
    corners = {name: _corners(volume) for name, volume in volumes.items() if volume.affine is not None}
    if not corners:
        return
    if len(corners) < len(volumes):
        lacking = next(name for name in volumes if name not in corners)
        raise ReconError(f"{where}: arm '{lacking}' does not say where it lies, as other arms do")
    first, *others = corners
    spacing = volumes[first].spacing
    assert spacing is not None  # it comes with the affine
    for other in others:
        apart = float(np.linalg.norm(corners[first] - corners[other], axis=1).max())
        if apart > _APART * min(spacing):
            raise ReconError(
                f"{where}: arm '{other}' lies up to {apart:.1f} mm from arm '{first}', which linked scrolling would "
                "show; bring both to one grid first"
            )


def _position(volume: DisplayVolume, centre: Floats) -> Position:
    affine = volume.affine
    assert affine is not None  # the caller has looked
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(axes)  # the nearest right angles, where a file was sheared by rounding
    origin = np.round(affine[:3, 3] - centre, 3) + 0.0
    turned = np.round((left @ right).T, 4) + 0.0
    first, second, third = (tuple(axis) for axis in turned.tolist())
    return Position(tuple(origin.tolist()), (first, second, third))


def _centre(volume: DisplayVolume) -> Floats:
    return np.asarray(_corners(volume).mean(axis=0))


def _corners(volume: DisplayVolume) -> Floats:
    """The centres of the eight corner voxels, in mm."""
    assert volume.affine is not None
    ends = np.array(volume.pixels.shape, np.float64) - 1
    corners = np.array(np.meshgrid(*([0.0, end] for end in ends))).reshape(3, -1).T
    return np.asarray(corners @ volume.affine[:3, :3].T + volume.affine[:3, 3])
