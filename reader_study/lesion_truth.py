"""The lesions that are there, as masks by case: read when the study is exported, and again when it is analysed.

Between the two stands their SHA-256 in the log's export line, so that they are frozen before anybody reads; no package
and no key holds them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from reader_study.case_truth import FEWEST
from reader_study.protocol import Protocol
from recon.digest import file_sha256
from recon.errors import ReconError
from recon.images.volume import read_volume

Floats = NDArray[np.float64]
_OUTSIDE = 0.01  # share of a mask's voxels that may lie beyond the edge of the images


@dataclass(frozen=True)
class Lesions:
    """The lesions of one case: pieces of the mask that share no face, edge or corner."""

    path: Path  # of the mask
    to_voxels: Floats  # RAS+ mm to the index of the mask
    spacing: Floats  # mm along the axes of the mask
    voxels: tuple[NDArray[np.int64], ...]  # of each lesion `[voxel, axis]`

    def distances(self, place: Floats) -> Floats:
        """mm from ``place`` (RAS+ mm) to the surface of each lesion's voxels; 0 inside."""
        index = self.to_voxels[:3, :3] @ place + self.to_voxels[:3, 3]
        found = [
            np.linalg.norm(np.maximum(np.abs(own - index) - 0.5, 0) * self.spacing, axis=1).min() for own in self.voxels
        ]
        return np.array(found, dtype=np.float64)

    def places(self) -> Floats:
        """The centres of all lesions' voxels in RAS+ mm, `[voxel, axis]`."""
        voxels = np.concatenate([np.zeros((0, 3), np.int64), *self.voxels]).astype(np.float64)
        back = np.linalg.inv(self.to_voxels)
        return np.asarray(voxels @ back[:3, :3].T + back[:3, 3])


def mask_files(protocol: Protocol, pattern: str) -> dict[str, Path]:
    """The mask of every analysed case by a pattern with ``{case}``; an empty mask says that there is no lesion.

    Raises ReconError for a protocol without marks, a pattern without its placeholder, and a mask that is missing.
    """
    if protocol.localisation is None:
        raise ReconError(f"--lesions {pattern}: the protocol has no key 'localisation'; nobody marks lesions")
    if "{case}" not in pattern:
        raise ReconError(f"--lesions {pattern}: the pattern needs {{case}}")
    files = {case: Path(pattern.replace("{case}", case)) for case in protocol.case_ids}
    for case, path in files.items():
        if not path.is_file():
            raise ReconError(f"case {case}: the lesion mask is missing ({path} does not exist)")
    return files


def read_lesions(path: Path, case: str) -> Lesions:
    """The lesions in a mask (NIfTI; non-zero is lesion). Raises ReconError where it is no mask in space."""
    try:
        volume = read_volume(path)
    except ReconError as error:
        raise ReconError(f"case {case}, lesion mask: {error}") from error
    values = np.asarray(volume.values)
    if values.ndim != 3 or volume.affine is None:
        raise ReconError(f"case {case}: the lesion mask {path} is not one volume that says where it lies; give NIfTI")
    if not np.isfinite(values).all():
        raise ReconError(f"case {case}: the lesion mask {path} has NaN or infinite values")
    if not np.array_equal(values, np.rint(values)):
        raise ReconError(f"case {case}: the lesion mask {path} has values between integers; a mask is 0 and not 0")
    labels, count = ndimage.label(values.transpose(1, 2, 0) != 0, structure=np.ones((3, 3, 3), int))
    places = np.argwhere(labels > 0)
    own = labels[labels > 0]
    spacing = np.asarray(np.linalg.norm(volume.affine[:3, :3], axis=0), np.float64)
    voxels = tuple(places[own == number] for number in range(1, count + 1))
    return Lesions(path, np.asarray(np.linalg.inv(volume.affine), np.float64), spacing, voxels)


def read_masks(protocol: Protocol, pattern: str) -> dict[str, Lesions]:
    """The lesions of every case. Raises ReconError for a mask that cannot be read, and for too few of either kind."""
    found = {case: read_lesions(path, case) for case, path in mask_files(protocol, pattern).items()}
    kinds = sum(bool(one.voxels) for one in found.values()), sum(not one.voxels for one in found.values())
    if min(kinds) < FEWEST:
        raise ReconError(
            f"the lesion masks have lesions in {kinds[0]} cases and none in {kinds[1]}; {FEWEST} of each are needed"
        )
    return found


def freeze_lesions(
    protocol: Protocol,
    known: Mapping[str, Lesions],
    grids: Mapping[tuple[str, str], tuple[Floats, tuple[int, int, int]]],
) -> dict[str, str]:
    """Check the masks of all cases against the images; gives the SHA-256 of each for the log.

    ``grids``: (case, sequence) -> matrix from (slice, row, column) to RAS+ mm, and the number of each. Raises
    ReconError for a mask whose lesions lie outside the images.
    """
    for case, lesions in known.items():
        places = lesions.places()
        shown = np.zeros(len(places), bool)
        for name in protocol.sequence_names:
            affine, shape = grids[case, name]
            back = np.linalg.inv(affine)
            index = places @ back[:3, :3].T + back[:3, 3]
            shown |= ((index > -0.5) & (index < np.array(shape) - 0.5)).all(axis=1)
        if shown.size and (~shown).mean() > _OUTSIDE:
            raise ReconError(
                f"case {case}: {(~shown).mean():.0%} of the lesion mask {lesions.path} lie outside the images; is it "
                "another case's, or on another grid?"
            )
    return {case: file_sha256(lesions.path) for case, lesions in known.items()}


def frozen_lesions(protocol: Protocol, pattern: str | None, frozen: Mapping[str, str]) -> dict[str, Lesions]:
    """The lesions of every case from the masks that were frozen at the export.

    Raises ReconError where no pattern is given, or a mask is not the one that was frozen.
    """
    if pattern is None:
        raise ReconError(
            "the readers marked lesions; name the masks, as at the export, with --lesions 'masks/{case}.nii.gz'"
        )
    found = {}
    for case, path in mask_files(protocol, pattern).items():
        if file_sha256(path) != frozen.get(case):
            raise ReconError(f"case {case}: {path} is not the lesion mask that was frozen at the export")
        found[case] = read_lesions(path, case)
    return found
