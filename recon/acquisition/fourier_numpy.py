"""Centred orthonormal Fourier transforms and crops of numpy arrays; see ``recon.acquisition.fourier`` for tensors.

The transforms are scipy's, which stay in single precision under every numpy and round alike.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from recon.errors import ReconError


def centred_ifft2(kspace: NDArray) -> NDArray[np.complex64]:
    """Orthonormal centred inverse FFT over the last two axes (readout, phase), right for odd sizes."""
    shifted = fft.ifftshift(kspace, axes=(-2, -1))
    image = fft.ifft2(shifted, axes=(-2, -1), norm="ortho")
    return fft.fftshift(image, axes=(-2, -1)).astype(np.complex64, copy=False)


def centred_fft2(image: NDArray) -> NDArray[np.complex64]:
    """Orthonormal centred FFT over the last two axes (readout, phase), right for odd sizes."""
    shifted = fft.ifftshift(image, axes=(-2, -1))
    kspace = fft.fft2(shifted, axes=(-2, -1), norm="ortho")
    return fft.fftshift(kspace, axes=(-2, -1)).astype(np.complex64, copy=False)


def centre_crop(image: NDArray, shape: tuple[int, int]) -> NDArray:
    """The central ``shape`` of the last two axes; index ``n // 2`` stays the centre, odd sizes included."""
    if image.shape[-2] < shape[0] or image.shape[-1] < shape[1]:
        raise ReconError(f"cannot crop {image.shape[-2]} x {image.shape[-1]} to {shape[0]} x {shape[1]}")
    starts = [size // 2 - wanted // 2 for size, wanted in zip(image.shape[-2:], shape, strict=True)]
    return image[..., starts[0] : starts[0] + shape[0], starts[1] : starts[1] + shape[1]]
