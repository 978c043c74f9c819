"""The root-sum-of-squares image: the reference that fully sampled k-space gives without any model."""

import numpy as np
from numpy.typing import NDArray

from recon.acquisition.fourier_numpy import centre_crop, to_image
from recon.acquisition.masks import every_line_sampled
from recon.errors import ReconError
from recon.scan import Scan


def root_sum_of_squares(kspace: NDArray, image_shape: tuple[int, int]) -> NDArray[np.float32]:
    """Magnitude image ``[readout, phase]`` of ``kspace`` ``[coil, readout, phase]``, cropped to ``image_shape``."""
    image = np.abs(centre_crop(to_image(kspace), image_shape))
    # In double precision: the square of 1e20, and that of 1e-20, is none in single precision.
    return np.sqrt((image.astype(np.float64) ** 2).sum(axis=0)).astype(np.float32)


def reference_image(scan: Scan, index: int) -> NDArray[np.float32]:
    """The reference of one slice: as stored in the file, or the root sum of squares of fully sampled k-space (with
    zeros for the missing readout end of an asymmetric echo).

    Returns magnitude ``[readout, phase]`` float32 of ``scan.image_shape``. Raises ReconError when the scan is
    undersampled and stores none.
    """
    if scan.read_reference is not None:
        return scan.read_reference(index)
    if not every_line_sampled(scan.mask, scan.phase_limits):
        raise ReconError(
            f"{scan.path}: undersampled {scan.acceleration:.1f}x and without a stored reference; "
            "give the fully sampled scan as the reference"
        )
    return root_sum_of_squares(scan.read_kspace(index), scan.image_shape)
