"""The data of a 1-D mask row by row: after the transform along the fully sampled readout the rows stand alone.

y_c[r, k] = w_k sum_p F[k, p] sum_s S_sc[r, p] x_s[r, p],    w = 1 / relative noise of an acquired line, else 0
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from recon.acquisition.fourier import to_image
from recon.acquisition.problem import Problem


@dataclass(frozen=True)
class HybridData:
    """``lines [slice, column, coil, readout, phase]`` of equal noise: column 0 the weighted data, column 1 a probe of
    random signs, which tells how many degrees of residual_dof a fit leaves in each line.

    Lines stand in the order of a discrete Fourier transform, zero frequency first. That the image is centred is a phase
    of the lines, kept with their weights: nothing is shifted."""

    lines: Tensor
    maps: Tensor  # [slice, set, coil, readout, phase]
    weight: Tensor  # complex [slice, 1, 1, 1, phase]

    def adjoint(self) -> Tensor:
        """``A^H y`` of both columns: ``[slice, column, set, readout, phase]``."""
        images = torch.fft.ifft(self.lines * self.weight.conj(), norm="ortho")
        return (self.maps.unsqueeze(1).conj() * images.unsqueeze(2)).sum(3)

    def residual_energy(self, fit: Tensor) -> Tensor:
        """``|y - A x|^2`` of each line: ``[slice, column, phase]`` for ``fit`` in the form of ``adjoint``, of both
        columns or of the first alone; the zero frequency in the centre."""
        images = self.maps[:, None, 0] * fit[:, :, 0, None]
        for index in range(1, fit.shape[2]):
            images = images + self.maps[:, None, index] * fit[:, :, index, None]
        gap = self.lines[:, : fit.shape[1]] - torch.fft.fft(images, norm="ortho") * self.weight
        return torch.fft.fftshift((gap.real.square() + gap.imag.square()).sum((2, 3)), -1)


def hybrid_data(problem: Problem, weight: Tensor) -> HybridData:
    """The data of ``problem`` in rows, its lines weighted by ``weight [slice, phase]``, and the same probe for every
    slice, so that none depends on its batch."""
    kspace, phase = problem.kspace, problem.kspace.shape[-1]
    signs = torch.randint(0, 2, kspace.shape[1:], generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    probe = (signs.to(kspace.device, kspace.dtype) * (weight > 0)[:, None, None, :]).expand_as(kspace)
    data = to_image(kspace, (-2,)) * weight[:, None, None, :]
    lines = torch.fft.ifftshift(torch.stack((data, probe), 1), -1)
    index = torch.arange(phase, device=kspace.device, dtype=torch.float64)
    turn = 2 * torch.pi / phase * (index * (phase // 2) % phase)
    turned = torch.polar(torch.ones_like(turn), turn).to(kspace.dtype)
    return HybridData(lines, problem.maps, torch.fft.ifftshift(weight, -1)[:, None, None, None] * turned)
