"""The SENSE operator: image -> coil images -> masked kspace.

    (A x)_c = M F sum_s S_{s,c} x_s        Pruessmann et al., Magn Reson Med 42:952 (1999)

Images are ``[..., set, readout, phase]``, coil maps ``[..., set, coil, readout, phase]``, kspace
``[..., coil, readout, phase]``; masks ``[phase]`` or ``[readout, phase]``. One map set is the ordinary case; a
second one describes a field of view smaller than the head (Uecker et al., Magn Reson Med 71:990 (2014)).
"""

import torch
from torch import Tensor

from recon.acquisition.fourier import to_image, to_kspace


def forward(image: Tensor, maps: Tensor, mask: Tensor) -> Tensor:
    """``A x``: kspace at the acquired positions, zero elsewhere."""
    return to_kspace((maps * image.unsqueeze(-3)).sum(-4)) * mask


def adjoint(kspace: Tensor, maps: Tensor, mask: Tensor) -> Tensor:
    """``A^H y``: the coil-combined zero-filled image."""
    return (maps.conj() * to_image(kspace * mask).unsqueeze(-4)).sum(-3)


def normal(image: Tensor, maps: Tensor, mask: Tensor) -> Tensor:
    """``A^H A x``.

    The shifts of the image before the transform and after its inverse cancel, so that only the mask is shifted."""
    axes = tuple(range(-mask.dim(), 0))
    shifted = torch.fft.ifftshift(mask, axes)
    spectrum = (
        torch.fft.fft2((maps * image.unsqueeze(-3)).sum(-4))
        if mask.dim() == 2
        else torch.fft.fft((maps * image.unsqueeze(-3)).sum(-4))
    )
    masked = spectrum * shifted
    coils = torch.fft.ifft2(masked) if mask.dim() == 2 else torch.fft.ifft(masked)
    return (maps.conj() * coils.unsqueeze(-4)).sum(-3)


def inner(left: Tensor, right: Tensor) -> Tensor:
    """``<left, right>`` over set, readout and phase: the sum of conj(left) * right, one value for each batch entry."""
    return torch.linalg.vecdot(left.flatten(-3), right.flatten(-3))
