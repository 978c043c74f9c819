"""The rows of A^H A and their eigenvectors, kept only where the object is.

Coil maps are zero outside the object, and so are the rows and columns of M there (``recon.posterior.hybrid_space``):
those unknowns are modes by themselves, of eigenvalue zero. What is decomposed, stored and multiplied is a row's
support. Rows of about the same support form a block of common width, so that products stay batched.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.acquisition.fourier import fourier_matrix
from recon.posterior.hermitian import eigensystems

STEP = 16  # widths of blocks are multiples of it: few blocks, little padding
NO_SENSITIVITY = 1e-9  # sum_c |S_c|^2, which is one inside the object, below which a pixel is outside


@dataclass(frozen=True)
class NormalRows:
    """A^H A of rows of one width: ``matrices [row, width, width]``, of which the first ``supports`` rows and columns
    are not zero. ``where [row * width]`` are the unknowns among all of slice, set, readout and phase."""

    where: Tensor
    matrices: Tensor
    supports: list[int]


@dataclass(frozen=True)
class Block:
    """U^H of rows of one width, in LAPACK's own order in memory: ``modes [row, mode, width]``."""

    where: Tensor
    modes: Tensor


@dataclass(frozen=True)
class HybridModes:
    """The unitary matrix U of every row; the identity outside the blocks."""

    blocks: tuple[Block, ...]

    def coefficients(self, images: Tensor) -> Tensor:
        """``U^H x`` of ``images [slice, sample, set, readout, phase]``, in the same shape: the coefficient of a row's
        j-th mode stands where the j-th unknown of the row's support stood."""
        return self._applied(images, adjoint=True)

    def images(self, coefficients: Tensor) -> Tensor:
        """``U c``: the inverse of ``coefficients``."""
        return self._applied(coefficients, adjoint=False)

    def _applied(self, images: Tensor, adjoint: bool) -> Tensor:
        flat = images.transpose(0, 1).flatten(1)
        result = flat.clone(memory_format=torch.contiguous_format)
        for block in self.blocks:
            # As rows times a matrix: on a processor twice as fast as a matrix times so few columns.
            where = block.where.expand(flat.shape[0], -1)
            lying = flat.gather(1, where).unflatten(1, block.modes.shape[:2]).transpose(0, 1)
            # conj(x)^T U^H, the conjugate of (U x)^T: the small factor is conjugated, not a copy of all eigenvectors.
            product = lying @ block.modes.mT if adjoint else (lying.conj() @ block.modes).conj_physical()
            result.scatter_(1, where, product.transpose(0, 1).flatten(1))
        return result.unflatten(1, (images.shape[0], *images.shape[2:])).transpose(0, 1)


def hybrid_modes(maps: Tensor, weight: Tensor) -> tuple[HybridModes, Tensor]:
    """Decompose every row's A^H A for ``maps [slice, set, coil, readout, phase]`` and lines weighted by
    ``weight [slice, phase]``.

    Returns the modes and the eigenvalues ``[slice, set, readout, phase]`` at the place of their coefficients, which are
    zero outside the object.
    """
    slices, sets, _, readout, phase = maps.shape
    values = weight.new_zeros(slices * sets * readout * phase)
    blocks = []
    for rows in normal_rows(maps, weight):
        found, modes = _eigensystem(rows)
        values.index_copy_(0, rows.where, found.clamp_min(0).flatten())
        blocks.append(Block(rows.where, modes))
    return HybridModes(tuple(blocks)), values.view(slices, sets, readout, phase)


def normal_rows(maps: Tensor, weight: Tensor, entries: int | None = None) -> Iterator[NormalRows]:
    """Every row's A^H A, width by width: the coil Gram matrix times the point-spread function entry by entry.

    At most about so many ``entries`` of matrices come at a time: few enough stay in a processor's cache."""
    _, sets, coils, readout, phase = maps.shape
    transform = fourier_matrix(phase, like=maps)
    point_spread = transform.mH @ ((weight**2).to(maps.dtype).unsqueeze(-1) * transform)  # [slice, phase, phase]
    rows = maps.permute(0, 3, 2, 1, 4).reshape(-1, coils, sets * phase)
    inside = (rows.real.square() + rows.imag.square()).sum(1) > NO_SENSITIVITY
    order = torch.argsort(inside.logical_not().to(torch.uint8), dim=-1, stable=True)  # the object first
    for width, all_places, all_supports in _widths(inside):
        step = len(all_places) if entries is None else max(1, entries // width**2)
        for begin in range(0, len(all_places), step):
            places, supports = all_places[begin : begin + step], all_supports[begin : begin + step]
            members = torch.tensor(places, device=maps.device)
            chosen = order[members, :width]
            coil_rows = rows[members].gather(2, chosen.unsqueeze(1).expand(-1, coils, -1))
            matrices = coil_rows.mH @ coil_rows
            gaps = _gaps(chosen, supports, phase)
            for matrix, row, position, gap in zip(matrices, places, chosen % phase, gaps, strict=True):
                spread = point_spread[row // readout]
                # It depends on distances alone; picking from it takes longer than all the rest.
                matrix *= spread[position[:, None], position] if gap else spread[:width, :width]
            first = members // readout * sets * readout + members % readout  # of its slice's rows, set by set
            where = (first.unsqueeze(-1) + chosen // phase * readout) * phase + chosen % phase
            yield NormalRows(where.flatten(), matrices, supports)


def _gaps(chosen: Tensor, supports: list[int], phase: int) -> list[bool]:
    """Whether the supports of rows, ``chosen [row, width]``, have gaps, or are wider than the point-spread function.
    On a GPU, for which nobody should wait, yes."""
    if chosen.device.type != "cpu" or chosen.shape[1] > phase:
        return [True] * len(supports)
    return [int(row[support - 1] - row[0]) >= support for row, support in zip(chosen, supports, strict=True)]


def _widths(inside: Tensor) -> list[tuple[int, list[int], list[int]]]:
    """``(width, rows, support of each row)`` for ``inside [row, unknown]``; rows without object are in none.

    The width of a row depends on that row alone, so its products are the same whatever rows it is batched with. The
    one place of the set-up where the processor waits for the device.
    """
    supports = inside.sum(-1).tolist()
    limit = inside.shape[-1]
    by_width: dict[int, list[int]] = {}
    for row, support in enumerate(supports):
        if support:
            by_width.setdefault(min(limit, -(-support // STEP) * STEP), []).append(row)
    return [(width, rows, [supports[row] for row in rows]) for width, rows in sorted(by_width.items())]


def _eigensystem(rows: NormalRows) -> tuple[Tensor, Tensor]:
    """Eigenvalues ``[row, mode]`` and U^H ``[row, mode, unknown]``, which on a processor overwrites the matrices."""
    matrices = rows.matrices
    if matrices.device.type != "cpu":
        found, basis = torch.linalg.eigh(matrices)
        return found, basis.mH.resolve_conj()
    return eigensystems(matrices, rows.supports)
