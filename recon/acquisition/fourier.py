"""Centred orthonormal Fourier transforms of complex tensors; odd sizes are right.

The k-space centre and the image centre both lie at index ``n // 2``. Shifting by ``ifftshift`` before and by
``fftshift`` after the transform is what keeps that true for odd sizes.
"""

import torch
from torch import Tensor


def to_kspace(image: Tensor, axes: tuple[int, ...] = (-2, -1)) -> Tensor:
    """Image to kspace over ``axes`` (default readout, phase); unitary."""
    return torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(image, axes), dim=axes, norm="ortho"), axes)


def to_image(kspace: Tensor, axes: tuple[int, ...] = (-2, -1)) -> Tensor:
    """Kspace to image over ``axes`` (default readout, phase); the inverse and the adjoint of ``to_kspace``."""
    return torch.fft.fftshift(torch.fft.ifftn(torch.fft.ifftshift(kspace, axes), dim=axes, norm="ortho"), axes)


def centre_slice(size: int, wanted: int) -> slice:
    """The ``wanted`` central indices of an axis of ``size``, keeping index ``n // 2`` in the centre."""
    start = size // 2 - wanted // 2
    return slice(start, start + wanted)


def fourier_matrix(size: int, *, like: Tensor) -> Tensor:
    """The centred orthonormal transform as a matrix ``[frequency, position]``, complex, on ``like``'s device."""
    index = torch.arange(size, device=like.device, dtype=torch.float64) - size // 2
    angle = -2 * torch.pi * torch.outer(index, index) / size
    return torch.polar(torch.full_like(angle, size**-0.5), angle).to(like.dtype)


def waves(size: int, order: int, *, like: Tensor) -> Tensor:
    """exp(2 pi i b r / size), ``[position, frequency]``, r from the centre and b from ``-order`` to ``order``: what a
    shift of kspace by b becomes in the image. Complex, on ``like``'s device."""
    position = (torch.arange(size, device=like.device, dtype=torch.float64) - size // 2) / size
    frequency = torch.arange(-order, order + 1, device=like.device, dtype=torch.float64)
    angle = 2 * torch.pi * torch.outer(position, frequency)
    return torch.polar(torch.ones_like(angle), angle).to(like.dtype)
