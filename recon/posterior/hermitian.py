"""Eigenvectors of many Hermitian matrices on a processor, where most of the exact solver's set-up is spent.

At a few hundred unknowns LAPACK gains little by several threads for one matrix. Each thread has its own matrices
instead, so the set-up gets faster with every core as A^H A does, and the result depends on no number of threads.
"""

import math
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor


def eigensystems(matrices: Tensor, supports: list[int]) -> tuple[Tensor, Tensor]:
    """Eigenvalues ``[matrix, mode]`` and U^H ``[matrix, mode, unknown]``, which overwrites ``matrices``.

    Only the first ``supports`` rows and columns are decomposed, the rest of each matrix is zero: that saves most of the
    work where the object is narrow, and the many equal eigenvalues on which single-precision LAPACK can fail.
    """
    values = matrices.real.new_zeros(matrices.shape[:2])
    unit = torch.eye(matrices.shape[-1], dtype=matrices.dtype)

    def decompose(row: int, support: int) -> None:
        found, basis = _hermitian(matrices[row, :support, :support])
        values[row, :support] = found
        matrices[row, :support, :support] = basis.mH
        matrices[row, support:] = unit[support:]

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(decompose, range(len(supports)), supports))
    finally:
        torch.set_num_threads(threads)
    return values, matrices


def _hermitian(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """``eigh``, in double precision where single precision does not converge."""
    try:
        found, basis = torch.linalg.eigh(matrix)
        if math.isfinite(float(found.sum() + torch.view_as_real(basis).sum())):
            return found, basis
    except RuntimeError:  # torch.linalg.LinAlgError
        pass
    found, basis = torch.linalg.eigh(matrix.to(torch.complex128))
    return found.to(matrix.real.dtype), basis.to(matrix.dtype)
