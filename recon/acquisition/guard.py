"""A guard band around kspace, so that coil maps convolve it linearly and not circularly.

A coil's kspace is that of the image convolved with the map's few coefficients, and the convolution draws on kspace
beyond the acquired edge. On a grid of exactly the acquired size the discrete Fourier transform takes it from the
opposite edge instead, so that no image explains the outermost lines. On a grid with a band of never acquired samples
around, which the image may fill, the model is right at the edge, too.
"""

from collections.abc import Sequence

from torch import Tensor

LARGEST_EXTRA = 8  # samples at each end that a faster Fourier transform may cost
WIDTH = 4  # samples at each end: coil maps reach about half an ESPIRiT kernel of 6 samples

Guard = tuple[int, int]
"""Samples at each end of readout and phase."""


def guard_for(mask: Tensor) -> Guard:
    """The guard band of a mask: around both axes when both are phase-encoded (``[readout, phase]``), else along phase
    alone, since rows are independent only along a fully sampled readout.

    Around both axes it is at least ``WIDTH`` and as wide as makes the grid's sides products of 2, 3 and 5 where a few
    samples more do: a Fourier transform of 238 x 188 takes three times as long as one of 240 x 192."""
    if mask.dim() == 1:
        return (0, WIDTH)
    return (_fast(mask.shape[0]), _fast(mask.shape[1]))


def _fast(size: int) -> int:
    widths = range(WIDTH, WIDTH + LARGEST_EXTRA + 1)
    return next((width for width in widths if _has_small_factors(size + 2 * width)), WIDTH)


def _has_small_factors(size: int) -> bool:
    for factor in (2, 3, 5):
        while size % factor == 0:
            size //= factor
    return size == 1


def pad(array: Tensor, guard: Guard) -> Tensor:
    """``array [..., readout, phase]``, or a mask ``[phase]``, with zeros for the guard band."""
    widths = guard[2 - min(array.dim(), 2) :]
    padded = array.new_zeros((*array.shape[: -len(widths)], *_grown(array.shape[-len(widths) :], widths)))
    padded[_inner(padded.shape[-len(widths) :], widths)] = array
    return padded


def unpad(kspace: Tensor, guard: Guard) -> Tensor:
    """``kspace [..., readout, phase]`` without the guard band."""
    return kspace[_inner(kspace.shape[-2:], guard)]


def guard_scale(shape: Sequence[int], guard: Guard) -> float:
    """By what kspace of a grid ``shape`` (readout, phase; band excluded) is multiplied so that the image on the grid
    with the band keeps its values under orthonormal transforms."""
    grown = _grown(shape, guard)
    return float((grown[0] * grown[1] / (shape[0] * shape[1])) ** 0.5)


def _grown(shape: Sequence[int], widths: Sequence[int]) -> tuple[int, ...]:
    return tuple(size + 2 * width for size, width in zip(shape, widths, strict=True))


def _inner(shape: Sequence[int], widths: Sequence[int]) -> tuple:
    return (..., *(slice(width, size - width) for size, width in zip(shape, widths, strict=True)))
