"""ESPIRiT coil maps (Uecker et al., Magn Reson Med 71:990 (2014)), batched over slices, CPU and GPU.

The calibration matrix's row space gives kernels; in image space they form, at each pixel, a Hermitian matrix
G(r) [coil, coil] whose eigenvectors with eigenvalue one are the coil maps. Three things make it fast:

* the kernels come from an eigendecomposition of the small Gram matrix, not from an SVD of the tall one;
* G(r) is band-limited to (2k - 1)^2 coefficients, so it is formed in that space and evaluated at any grid by two
  small matrix products instead of one full-size FFT for each pair of kernel and coil;
* the eigenvectors are found on a coarse grid, interpolated, and refined at full size by a few block power steps.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from recon.errors import ReconError


@dataclass(frozen=True)
class EspiritOptions:
    """Defaults follow common practice (sigpy, BART): kernel width in samples, singular value threshold relative to
    the largest, and the eigenvalue below which a pixel lies outside the object. ``noise`` is the standard deviation
    per real component of the calibration, 0 when unknown: singular vectors that noise alone explains are dropped."""

    kernel: int = 6
    threshold: float = 0.02
    crop: float = 0.95
    sets: int = 1
    noise: float = 0.0
    coarse: int = 64
    refinements: int = 6


def espirit_maps(
    calibration: Tensor, shape: tuple[int, int], options: EspiritOptions = EspiritOptions()
) -> tuple[Tensor, Tensor]:
    """Coil maps from fully sampled calibration kspace.

    ``calibration`` is ``[slice, coil, readout, phase]`` complex, the centre of kspace. Returns maps
    ``[slice, set, coil, readout, phase]`` of ``shape`` with ``sum_c |S_c|^2 = 1`` where the eigenvalue exceeds
    ``crop`` and zero elsewhere, and the eigenvalues ``[slice, set, readout, phase]``. The phase is that of the
    calibration's principal virtual coil, which is smooth where any one coil's phase would be noise.

    Raises ReconError when the calibration is smaller than the kernel or holds no signal.
    """
    if min(calibration.shape[-2:]) < options.kernel:
        raise ReconError(
            f"calibration of {calibration.shape[-2]}x{calibration.shape[-1]} samples is smaller than the "
            f"{options.kernel}x{options.kernel} ESPIRiT kernel; acquire or keep more calibration lines"
        )
    _check_signal(calibration)
    maps, values = zip(*(_one_slice(entry, shape, options) for entry in calibration), strict=True)
    return torch.stack(maps), torch.stack(values)


def _check_signal(calibration: Tensor) -> None:
    if not bool((calibration.abs().amax((1, 2, 3)) > 0).all()):
        raise ReconError("the calibration region holds only zeros; coil maps cannot be estimated from it")


def _one_slice(calibration: Tensor, shape: tuple[int, int], options: EspiritOptions) -> tuple[Tensor, Tensor]:
    coils = calibration.shape[0]
    coefficients = _gram_coefficients(_kernels(calibration, options), options.kernel)
    reference = _principal_coil(calibration)

    coarse_shape = (min(options.coarse, shape[0]), min(options.coarse, shape[1]))
    gram = _evaluate(coefficients, coarse_shape, shape)
    start = torch.zeros((*coarse_shape, coils, options.sets), dtype=gram.dtype, device=gram.device)
    start += torch.randn((coils, options.sets), generator=torch.Generator().manual_seed(0), dtype=gram.dtype).to(
        gram.device
    )  # any vector not orthogonal to the answer will do; the fixed one keeps results repeatable
    vectors = _power(gram, start, 40)[0]
    vectors = _align(vectors, reference)

    maps = torch.empty((options.sets, coils, *shape), dtype=calibration.dtype, device=calibration.device)
    values = torch.empty((options.sets, *shape), dtype=torch.float32, device=calibration.device)
    rows = max(1, 2**22 // (shape[1] * coils * coils))  # keeps the block of G(r) in cache-sized pieces
    fine = _interpolate(vectors, shape)
    for first in range(0, shape[0], rows):
        block = slice(first, min(first + rows, shape[0]))
        gram = _evaluate(coefficients, shape, shape, block)
        found, eigenvalues = _power(gram, fine[block], options.refinements)
        found = _align(found, reference)
        maps[:, :, block] = found.permute(3, 2, 0, 1)
        values[:, block] = eigenvalues.permute(2, 0, 1)
    maps *= (values > options.crop).unsqueeze(1)
    return maps, values


def _kernels(calibration: Tensor, options: EspiritOptions) -> Tensor:
    """The row space of the calibration matrix: ``[kernel, coil, k, k]``, zero for kernels of noise."""
    k, coils = options.kernel, calibration.shape[0]
    patches = calibration.unfold(1, k, 1).unfold(2, k, 1).permute(1, 2, 0, 3, 4).reshape(-1, coils * k * k)
    values, vectors = torch.linalg.eigh(patches.mH @ patches)
    # Upper edge of the Marchenko-Pastur law: what patches of pure noise would reach.
    edge = 2 * options.noise**2 * (patches.shape[0] ** 0.5 + patches.shape[1] ** 0.5) ** 2
    largest = values[-1]
    keep = values > torch.maximum(options.threshold**2 * largest, (0.25 * largest).clamp_max(edge))
    return (vectors * keep).mT.reshape(-1, coils, k, k)  # zeros for what is dropped: no count to wait for on a GPU


def _gram_coefficients(kernels: Tensor, k: int) -> Tensor:
    """Fourier coefficients of G(r): ``[coil, coil, 2k - 1, 2k - 1]``, the kernels' summed cross-correlation."""
    size = 2 * k - 1
    spectra = torch.fft.fft2(kernels, s=(size, size)).flatten(-2)  # kernel, coil, frequency
    product = torch.einsum("kif,kjf->ijf", spectra.conj(), spectra)
    lags = torch.fft.ifft2(product.unflatten(-1, (size, size)))
    return torch.fft.fftshift(lags, dim=(-2, -1)) / k**2


def _evaluate(coefficients: Tensor, grid: tuple[int, int], full: tuple[int, int], rows: slice = slice(None)) -> Tensor:
    """G(r) at ``grid`` positions spread over the field of view: ``[row, column, coil, coil]``."""
    size = coefficients.shape[-1]
    bases = []
    for points, extent in zip(grid, full, strict=True):
        # Position in the full-size image's pixels, so that coarse and fine grids see the same field of view.
        position = (torch.arange(points, dtype=torch.float64) * (extent / points) - extent // 2) / extent
        lag = torch.arange(size, dtype=torch.float64) - size // 2
        angle = -2 * torch.pi * torch.outer(position, lag)
        bases.append(torch.polar(torch.ones_like(angle), angle).to(coefficients))
    partial = torch.einsum("xa,ijab->xbij", bases[0][rows], coefficients)
    return torch.einsum("yb,xbij->xyij", bases[1], partial)


def _power(gram: Tensor, start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Block power iteration: eigenvectors ``[row, column, coil, set]``, largest first, and their eigenvalues."""
    vectors = _orthonormal(start)
    image = vectors
    for _ in range(steps):
        image = gram @ vectors
        vectors = _orthonormal(image)
    image = gram @ vectors
    return vectors, (vectors.conj() * image).sum(-2).real


def _orthonormal(vectors: Tensor) -> Tensor:
    """Gram-Schmidt over the last axis; there are only one or two sets."""
    columns: list[Tensor] = []
    for column in vectors.unbind(-1):
        for previous in columns:
            column = column - previous * (previous.conj() * column).sum(-1, keepdim=True)
        columns.append(column / column.norm(dim=-1, keepdim=True).clamp_min(1e-20))
    return torch.stack(columns, -1)


def _principal_coil(calibration: Tensor) -> Tensor:
    """Weights ``[coil]`` of the virtual coil that sees most of the calibration signal."""
    samples = calibration.flatten(1)
    _, vectors = torch.linalg.eigh(samples @ samples.mH)
    return vectors[:, -1]


def _align(vectors: Tensor, reference: Tensor) -> Tensor:
    """Rotate each pixel's vector so that the virtual coil ``reference`` sees it with phase zero."""
    seen = torch.einsum("i,...is->...s", reference.conj(), vectors)
    return vectors * torch.exp(-1j * seen.angle()).unsqueeze(-2)


def _interpolate(vectors: Tensor, shape: tuple[int, int]) -> Tensor:
    """Nearest coarse vector for each pixel of ``shape``; the power steps do the rest."""
    rows = (torch.arange(shape[0], device=vectors.device) * vectors.shape[0]) // shape[0]
    columns = (torch.arange(shape[1], device=vectors.device) * vectors.shape[1]) // shape[1]
    return vectors[rows][:, columns]
