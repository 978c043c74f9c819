"""ESPIRiT coil maps (Uecker et al., Magn Reson Med 71:990 (2014)), batched over slices, CPU and GPU.

The calibration matrix's row space gives kernels; in image space they form, at each pixel, a Hermitian matrix
G(r) [coil, coil] whose eigenvectors with eigenvalue one are the coil maps. Three things make it fast:

* the kernels come from an eigendecomposition of the small Gram matrix, not from an SVD of the tall one;
* G(r) is band-limited to (2k - 1)^2 coefficients, so it is formed in that space and evaluated by two small matrix
  products instead of one full-size FFT for each pair of kernel and coil;
* its largest eigenvector comes from squaring it: six batched products are sixty-four steps of the power iteration.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from recon.acquisition.fourier import waves
from recon.errors import ReconError

BLOCK = 2**18  # entries of G(r) worked on at a time, which a processor's cache holds
APPLICATIONS = 2  # of the 64th power to one of its columns: 192 steps of the power iteration; sigpy takes 100


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


def espirit_maps(
    calibration: Tensor, shape: tuple[int, int], options: EspiritOptions = EspiritOptions()
) -> tuple[Tensor, Tensor]:
    """Coil maps from fully sampled calibration kspace.

    ``calibration`` is ``[slice, coil, readout, phase]`` complex, the centre of kspace. Returns maps
    ``[slice, set, coil, readout, phase]`` of ``shape`` with ``sum_c |S_c|^2 = 1`` where the eigenvalue exceeds
    ``crop`` and zero elsewhere, and the eigenvalues ``[slice, set, readout, phase]``, which on a processor are zero
    where they are certainly below ``crop``. The phase is that of the calibration's principal virtual coil, which is
    smooth where any one coil's phase would be noise.

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

    maps = torch.empty((options.sets, coils, *shape), dtype=calibration.dtype, device=calibration.device)
    values = torch.empty((options.sets, *shape), dtype=torch.float32, device=calibration.device)
    # A lag of the correlation is a shift of kspace the other way.
    along = [waves(extent, options.kernel - 1, like=coefficients).conj_physical() for extent in shape]
    entries = BLOCK if calibration.device.type == "cpu" else 64 * BLOCK
    rows = max(1, entries // (shape[1] * coils * coils))
    for first in range(0, shape[0], rows):
        block = slice(first, min(first + rows, shape[0]))
        vectors, eigenvalues = _largest(_evaluate(coefficients, along[0][block], along[1]), options)
        maps[:, :, block] = _align(vectors, reference).permute(3, 2, 0, 1)
        values[:, block] = eigenvalues.permute(2, 0, 1)
    maps *= (values > options.crop).unsqueeze(1)
    return maps, values


def _kernels(calibration: Tensor, options: EspiritOptions) -> Tensor:
    """The row space of the calibration matrix: ``[kernel, coil, k, k]``, zero for kernels of noise."""
    k, coils = options.kernel, calibration.shape[0]
    patches = (calibration.shape[1] - k + 1) * (calibration.shape[2] - k + 1)
    values, vectors = torch.linalg.eigh(_patch_gram(calibration, k))
    # Upper edge of the Marchenko-Pastur law: what patches of pure noise would reach.
    edge = 2 * options.noise**2 * (patches**0.5 + values.shape[0] ** 0.5) ** 2
    largest = values[-1]
    keep = values > torch.maximum(options.threshold**2 * largest, (0.25 * largest).clamp_max(edge))
    # Zeros for what is dropped: no count to wait for on a GPU.
    return (vectors * keep).mT.reshape(-1, k, coils, k).transpose(1, 2)


def _patch_gram(calibration: Tensor, k: int) -> Tensor:
    """The Gram matrix of all patches of ``calibration [coil, readout, phase]``, ``[k * coil * k, k * coil * k]``.

    Products of columns at readout offsets a + 1 and b + 1 sum over the same samples as those at a and b, but for the
    first and one after the last: only those at offset 0 take a product over all of the readout."""
    rows = calibration.unfold(2, k, 1).permute(1, 2, 0, 3).flatten(2)  # [readout, position, coil * k]
    size, (count, width) = rows.shape[0] - k + 1, rows.shape[1:]
    shifted = torch.cat([rows[offset : offset + size] for offset in range(k)], 2).flatten(0, 1)
    gram = calibration.new_empty((k, width, k, width))
    gram[0] = (rows[:size].flatten(0, 1).mH @ shifted).unflatten(1, (k, width))
    gram[1:, :, 0] = gram[0, :, 1:].permute(1, 2, 0).conj()
    before, after = (part.transpose(0, 1).reshape(count, -1) for part in (rows[: k - 1], rows[size:]))
    change = (after.mH @ after - before.mH @ before).unflatten(0, (k - 1, width)).unflatten(2, (k - 1, width))
    for offset in range(k - 1):
        gram[offset + 1, :, 1:] = gram[offset, :, :-1] + change[offset]
    return gram.flatten(2).flatten(0, 1)


def _gram_coefficients(kernels: Tensor, k: int) -> Tensor:
    """Fourier coefficients of G(r): ``[coil, coil, 2k - 1, 2k - 1]``, the kernels' summed cross-correlation."""
    size = 2 * k - 1
    spectra = torch.fft.fft2(kernels, s=(size, size)).flatten(-2)  # kernel, coil, frequency
    product = torch.einsum("kif,kjf->ijf", spectra.conj(), spectra)
    lags = torch.fft.ifft2(product.unflatten(-1, (size, size)))
    return torch.fft.fftshift(lags, dim=(-2, -1)) / k**2


def _evaluate(coefficients: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """G(r), ``[row, column, coil, coil]``, at the positions whose waves ``[row, lag]`` and ``[column, lag]`` are."""
    partial = torch.einsum("xa,ijab->xbij", rows, coefficients)
    return torch.einsum("yb,xbij->xyij", columns, partial)


def _largest(gram: Tensor, options: EspiritOptions) -> tuple[Tensor, Tensor]:
    """The largest eigenvalues ``[..., set]`` and eigenvectors ``[..., coil, set]`` of ``gram [..., coil, coil]``; both
    zero, on a processor, where the eigenvalue is certainly below the crop."""
    pixels, rest = gram.shape[:-2], gram.flatten(0, -3)
    inside = None
    if gram.device.type == "cpu":
        # No eigenvalue exceeds the root of the sum of their squares: nearly all of the air ends here.
        inside = (torch.view_as_real(rest).flatten(1).norm(dim=1) > options.crop).nonzero().flatten()
        rest = rest[inside]
    vectors: list[Tensor] = []
    values: list[Tensor] = []
    for _ in range(options.sets):
        found = _power_iteration(rest)
        image = rest @ found
        value = (found.conj() * image).sum((-2, -1)).real
        vectors.append(found.squeeze(-1))
        values.append(value)
        if len(vectors) < options.sets:  # what is left between the vectors orthogonal to this one
            half = image - 0.5 * value[:, None, None] * found
            rest = rest - half @ found.mH - found @ half.mH
    stacked = [torch.stack(vectors, -1), torch.stack(values, -1)]
    if inside is not None:
        stacked = [one.new_zeros((pixels.numel(), *one.shape[1:])).index_copy_(0, inside, one) for one in stacked]
    return stacked[0].unflatten(0, pixels), stacked[1].unflatten(0, pixels)


def _power_iteration(gram: Tensor) -> Tensor:
    """Unit vectors ``[pixel, coil, 1]``, to which many steps of the power iteration on ``gram [pixel, coil, coil]``
    lead."""
    power = _eighth_power(gram)
    trace = torch.view_as_real(power.diagonal(dim1=1, dim2=2))[..., 0].sum(-1)
    power = _eighth_power(power / trace.clamp_min(1e-30)[:, None, None])  # else too small for single precision
    # The column of the largest diagonal entry: of all columns the nearest to the eigenvector.
    column = torch.view_as_real(power.diagonal(dim1=1, dim2=2))[..., 0].argmax(-1)
    vector = power.gather(2, column[:, None, None].expand(-1, power.shape[1], 1))
    for step in range(APPLICATIONS + 1):
        vector = power @ vector if step else vector
        length = torch.view_as_real(vector).square().sum((1, 2, 3)).sqrt()
        vector = vector / length.clamp_min(1e-20)[:, None, None]
    return vector


def _eighth_power(gram: Tensor) -> Tensor:
    """The eighth power: of an eigenvalue of 1 / coils not yet too small a number for single precision."""
    for _ in range(3):
        gram = gram @ gram
    return gram


def _principal_coil(calibration: Tensor) -> Tensor:
    """Weights ``[coil]`` of the virtual coil that sees most of the calibration signal."""
    samples = calibration.flatten(1)
    _, vectors = torch.linalg.eigh(samples @ samples.mH)
    return vectors[:, -1]


def _align(vectors: Tensor, reference: Tensor) -> Tensor:
    """Rotate each pixel's vector so that the virtual coil ``reference`` sees it with phase zero."""
    seen = torch.einsum("i,...is->...s", reference.conj(), vectors)
    return vectors * torch.exp(-1j * seen.angle()).unsqueeze(-2)
