"""The data of a 1-D mask row by row: after the transform along the fully sampled readout the rows stand alone.

y_c[r, k] = w_k sum_p F[k, p] sum_s S_sc[r, p] x_s[r, p],    w = 1 / relative noise of an acquired line, else 0
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from recon.acquisition.fourier import to_image, to_kspace
from recon.acquisition.problem import Problem


@dataclass(frozen=True)
class HybridData:
    """``lines [slice, column, coil, readout, phase]`` of equal noise: column 0 the weighted data, column 1 a probe of
    random signs, which tells how many degrees of residual_dof a fit leaves in each line."""

    lines: Tensor
    maps: Tensor  # [slice, 1, set, coil, readout, phase]
    weight: Tensor  # [slice, phase]

    def adjoint(self) -> Tensor:
        """``A^H y`` of both columns: ``[slice, column, set, readout, phase]``."""
        return (self.maps.conj() * to_image(self.lines * self._weights(), (-1,)).unsqueeze(2)).sum(3)

    def residual_energy(self, fit: Tensor) -> Tensor:
        """``|y - A x|^2`` of each line: ``[slice, column, phase]`` for ``fit`` in the form of ``adjoint``."""
        gap = self.lines - to_kspace((self.maps * fit.unsqueeze(3)).sum(2), (-1,)) * self._weights()
        return (torch.view_as_real(gap) ** 2).sum((2, 3, 5))

    def _weights(self) -> Tensor:
        return self.weight[:, None, None, None, :]


def hybrid_data(problem: Problem, weight: Tensor) -> HybridData:
    """The data of ``problem`` in rows, and the same probe for every slice, so that none depends on its batch."""
    kspace = problem.kspace
    signs = torch.randint(0, 2, kspace.shape[1:], generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    probe = (signs.to(kspace.device, kspace.dtype) * (weight > 0)[:, None, None, :]).expand_as(kspace)
    data = to_image(kspace, (-2,)) * weight[:, None, None, :]
    return HybridData(torch.stack((data, probe), 1), problem.maps.unsqueeze(1), weight)
