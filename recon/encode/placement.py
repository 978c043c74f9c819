"""The first step of every encoder's preparation: check the volume, and take its slice direction from preprocessing or
header."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.encode.encoders import find_row
from recon.encode.geometry import Grid, check_volume, same_grid
from recon.encode.interface import ReferencePreprocessing
from recon.errors import ReconError
from recon.images.slice_axis import header_slice_axis, single_slice_axis


@dataclass(frozen=True, eq=False)
class Placement:
    """A volume that an encoder can take: its grid and the axis taken as its slice direction."""

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    slice_axis: int

    def preprocessing(
        self, encoder: str, grid: Grid, foreground: NDArray[np.bool_], intensity: tuple[float, float]
    ) -> ReferencePreprocessing:
        """What reconstructions of this volume are prepared with: ``foreground`` [depth, height, width] on ``grid``."""
        depth, height, width = grid.values.shape
        return ReferencePreprocessing(
            encoder=encoder,
            shape=self.shape,
            affine=self.affine,
            slice_axis=self.slice_axis,
            grid_shape=(depth, height, width),
            grid_affine=grid.affine,
            foreground=foreground,
            intensity=intensity,
        )


def place_volume(
    encoder: str,
    volume: NDArray[np.floating],
    affine: NDArray[np.float64] | None,
    preprocessing: ReferencePreprocessing | None,
    slice_axis: int | None,
) -> Placement:
    """Check a volume and settle its slice axis: the preprocessing's, else across a single slice, ``slice_axis``, the
    header's.

    Raises ReconError for a volume that no encoder can take, and for a preprocessing of another encoder or another grid.
    """
    check_volume(volume, affine, least_slices=find_row(encoder).least_slices)
    affine = np.asarray(affine, np.float64)
    shape = (int(volume.shape[0]), int(volume.shape[1]), int(volume.shape[2]))
    if preprocessing is not None:
        if preprocessing.encoder != encoder:
            raise ReconError(
                f"the preprocessing is of encoder '{preprocessing.encoder}', not '{encoder}'; make one with this"
            )
        if not same_grid(preprocessing.shape, preprocessing.affine, shape, affine):
            raise ReconError(
                f"reference of shape {preprocessing.shape} and reconstruction of shape {shape} lie on different grids; "
                "give --resample to bring the reconstruction onto the reference's grid"
            )
        return Placement(shape, affine, preprocessing.slice_axis)
    single = single_slice_axis(shape)
    if single is not None:
        return Placement(shape, affine, single.axis)
    if slice_axis is None:
        return Placement(shape, affine, header_slice_axis(affine).axis)
    if slice_axis not in (0, 1, 2):
        raise ReconError(f"slice axis {slice_axis}: give 0, 1 or 2, an axis of the volume")
    return Placement(shape, affine, slice_axis)
