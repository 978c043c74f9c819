"""Centred orthonormal Fourier transforms and crops of numpy arrays; see ``recon.acquisition.fourier`` for tensors.

The transforms are scipy's, which stay in single precision under every numpy and round alike.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from recon.errors import ReconError

IMAGE_AXES = (-2, -1)  # readout, phase


def to_kspace(image: NDArray, axes: tuple[int, ...] = IMAGE_AXES) -> NDArray[np.complex64]:
    """Image to kspace over ``axes`` (default readout, phase); unitary, right for odd sizes."""
    kspace = fft.fftn(centre_first(image, axes), axes=axes, norm="ortho")
    return centre_in_the_middle(kspace, axes).astype(np.complex64, copy=False)


def to_image(kspace: NDArray, axes: tuple[int, ...] = IMAGE_AXES) -> NDArray[np.complex64]:
    """Kspace to image over ``axes`` (default readout, phase); the inverse and the adjoint of ``to_kspace``."""
    image = fft.ifftn(centre_first(kspace, axes), axes=axes, norm="ortho")
    return centre_in_the_middle(image, axes).astype(np.complex64, copy=False)


def centre_first(array: NDArray, axes: tuple[int, ...] = IMAGE_AXES) -> NDArray:
    """``array`` with its centre, index ``n // 2``, moved to index 0 of ``axes``."""
    return np.asarray(fft.ifftshift(array, axes=axes))


def centre_in_the_middle(array: NDArray, axes: tuple[int, ...] = IMAGE_AXES) -> NDArray:
    """``array`` with index 0 of ``axes`` moved to its centre, ``n // 2``."""
    return np.asarray(fft.fftshift(array, axes=axes))


def centre_crop(image: NDArray, shape: tuple[int, int]) -> NDArray:
    """The central ``shape`` of the last two axes; index ``n // 2`` stays the centre, odd sizes included."""
    if image.shape[-2] < shape[0] or image.shape[-1] < shape[1]:
        raise ReconError(f"cannot crop {image.shape[-2]} x {image.shape[-1]} to {shape[0]} x {shape[1]}")
    starts = [size // 2 - wanted // 2 for size, wanted in zip(image.shape[-2:], shape, strict=True)]
    return image[..., starts[0] : starts[0] + shape[0], starts[1] : starts[1] + shape[1]]
