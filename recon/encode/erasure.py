"""Erasing a lesion from an image: the change an encoder must notice, made without touching anything else."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve

from recon.errors import ReconError

MARGIN = 2  # voxels around the lesion that are replaced with it: its soft edge


def erase_lesion(
    values: NDArray[np.floating],
    lesion: NDArray[np.bool_],
    generator: np.random.Generator,
    *,
    noise_std: float = 0.0,
) -> NDArray[np.float32]:
    """The magnitude image with the lesion filled in slice by slice from its surroundings; elsewhere the same bits.

    ``values`` and ``lesion`` are [readout, phase, slice]. The filling is harmonic (Laplace's equation with the rim as
    boundary) plus noise of ``noise_std`` per real component, so that it is as rough as its surroundings.

    Raises ReconError when the mask is empty, of another shape, or leaves a slice without surroundings.
    """
    if lesion.shape != values.shape or values.ndim != 3:
        raise ReconError(f"lesion mask of shape {lesion.shape} for an image of shape {values.shape}")
    if not lesion.any():
        raise ReconError("the lesion mask is empty; there is nothing to erase")
    erased = np.array(values, np.float32)
    for index in np.flatnonzero(lesion.any(axis=(0, 1))):
        hole = ndimage.binary_dilation(lesion[..., index], iterations=MARGIN)
        if hole.all():
            raise ReconError(f"slice {index}: the lesion covers all of it; nothing is left to fill it from")
        filled = harmonic_fill(erased[..., index], hole)
        noise = noise_std * generator.standard_normal((2, int(hole.sum())))
        erased[..., index][hole] = np.hypot(filled[hole] + noise[0], noise[1])
    return erased


def harmonic_fill(image: NDArray[np.floating], hole: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The image with the solution of Laplace's equation in ``hole``; at the border of the image the slope is zero."""
    numbers = np.full(hole.shape, -1)
    numbers[hole] = np.arange(int(hole.sum()))
    rows, columns, entries = [], [], []
    degree = np.zeros(int(hole.sum()))
    given = np.zeros(int(hole.sum()))
    for axis in (0, 1):
        for step in (-1, 1):
            neighbour = np.roll(np.arange(hole.size).reshape(hole.shape), -step, axis)
            exists = np.ones(hole.shape, bool)
            edge = [slice(None), slice(None)]
            edge[axis] = slice(-1, None) if step == 1 else slice(0, 1)
            exists[tuple(edge)] = False
            inside = hole & exists
            own, other = numbers[inside], neighbour[inside]
            degree += np.bincount(own, minlength=len(degree))
            unknown = numbers.ravel()[other] >= 0
            rows.append(own[unknown])
            columns.append(numbers.ravel()[other[unknown]])
            entries.append(np.full(int(unknown.sum()), -1.0))
            given += np.bincount(own[~unknown], image.ravel()[other[~unknown]].astype(float), minlength=len(degree))
    size = (len(degree), len(degree))
    matrix = sparse.csr_matrix((np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))), size)
    filled = np.array(image, np.float64)
    filled[hole] = spsolve((matrix + sparse.diags(degree)).tocsc(), given)
    return filled
