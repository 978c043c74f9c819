"""The root-sum-of-squares image: the reference that fully sampled k-space gives without any model."""

import numpy as np
from numpy.typing import NDArray

from recon.acquisition.masks import every_line_sampled
from recon.errors import ReconError
from recon.scan import Scan


def centred_ifft2(kspace: NDArray) -> NDArray[np.complex64]:
    """Orthonormal centred inverse FFT over the last two axes (readout, phase), right for odd sizes."""
    shifted = np.fft.ifftshift(kspace, axes=(-2, -1))
    image = np.fft.ifft2(shifted, axes=(-2, -1), norm="ortho")
    return np.fft.fftshift(image, axes=(-2, -1)).astype(np.complex64)


def centred_fft2(image: NDArray) -> NDArray[np.complex64]:
    """Orthonormal centred FFT over the last two axes (readout, phase), right for odd sizes."""
    shifted = np.fft.ifftshift(image, axes=(-2, -1))
    kspace = np.fft.fft2(shifted, axes=(-2, -1), norm="ortho")
    return np.fft.fftshift(kspace, axes=(-2, -1)).astype(np.complex64)


def centre_crop(image: NDArray, shape: tuple[int, int]) -> NDArray:
    """The central ``shape`` of the last two axes; index ``n // 2`` stays the centre, odd sizes included."""
    if image.shape[-2] < shape[0] or image.shape[-1] < shape[1]:
        raise ReconError(f"cannot crop {image.shape[-2]} x {image.shape[-1]} to {shape[0]} x {shape[1]}")
    starts = [size // 2 - wanted // 2 for size, wanted in zip(image.shape[-2:], shape, strict=True)]
    return image[..., starts[0] : starts[0] + shape[0], starts[1] : starts[1] + shape[1]]


def root_sum_of_squares(kspace: NDArray, image_shape: tuple[int, int]) -> NDArray[np.float32]:
    """Magnitude image ``[readout, phase]`` of ``kspace`` ``[coil, readout, phase]``, cropped to ``image_shape``."""
    image = centre_crop(centred_ifft2(kspace), image_shape)
    return np.sqrt((np.abs(image) ** 2).sum(axis=0)).astype(np.float32)


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
