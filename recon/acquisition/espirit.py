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


def _evaluate(coefficients: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """G(r), ``[row, column, coil, coil]``, at the positions whose waves ``[row, lag]`` and ``[column, lag]`` are."""
    partial = torch.einsum("xa,ijab->xbij", rows, coefficients)
    return torch.einsum("yb,xbij->xyij", columns, partial)


def _largest(gram: Tensor, options: EspiritOptions) -> tuple[Tensor, Tensor]:
    """The largest eigenvalues ``[..., set]`` and eigenvectors ``[..., coil, set]`` of ``gram [..., coil, coil]``; both
    zero where the eigenvalue is certainly below the crop."""
    vectors: list[Tensor] = []
    values: list[Tensor] = []
    rest = gram.flatten(0, -3)
    for _ in range(options.sets):
        found = _power_iteration(rest, options.crop)
        image = rest @ found
        value = (found.conj() * image).sum((-2, -1)).real
        vectors.append(found.squeeze(-1))
        values.append(value)
        if len(vectors) < options.sets:  # what is left between the vectors orthogonal to this one
            half = image - 0.5 * value[:, None, None] * found
            rest = rest - half @ found.mH - found @ half.mH
    pixels = gram.shape[:-2]
    return torch.stack(vectors, -1).unflatten(0, pixels), torch.stack(values, -1).unflatten(0, pixels)


def _power_iteration(gram: Tensor, crop: float) -> Tensor:
    """Unit vectors ``[pixel, coil, 1]``, to which many steps of the power iteration on ``gram [pixel, coil, coil]``
    lead; on a processor zero where the eigenvalue is certainly below ``crop``."""
    power, trace = _unit_trace(gram)
    power, left = _unit_trace(_eighth_power(power))
    if gram.device.type != "cpu":
        return _eigenvector(power)
    # No eigenvalue exceeds the eighth root of the trace of the eighth power: most of the air ends here.
    inside = (trace * left ** (1 / 8) > crop).nonzero().flatten()
    vectors = gram.new_zeros((*gram.shape[:-1], 1))
    return vectors.index_copy_(0, inside, _eigenvector(power[inside]))


def _eigenvector(power: Tensor) -> Tensor:
    """The largest eigenvector ``[pixel, coil, 1]`` of ``power [pixel, coil, coil]``, itself an eighth power."""
    power, _ = _unit_trace(_eighth_power(power))
    # The column of the largest diagonal entry: of all columns the nearest to the eigenvector.
    column = torch.view_as_real(power.diagonal(dim1=1, dim2=2))[..., 0].argmax(-1)
    vector = power.gather(2, column[:, None, None].expand(-1, power.shape[1], 1))
    for _ in range(APPLICATIONS):
        vector = power @ vector
        length = torch.view_as_real(vector).square().sum((1, 2, 3)).sqrt()
        vector = vector / length.clamp_min(1e-20)[:, None, None]
    return vector


def _eighth_power(gram: Tensor) -> Tensor:
    """The eighth power: of an eigenvalue of 1 / coils not yet too small a number for single precision."""
    for _ in range(3):
        gram = gram @ gram
    return gram


def _unit_trace(gram: Tensor) -> tuple[Tensor, Tensor]:
    """``gram [pixel, coil, coil]`` over its trace, and the trace ``[pixel]``."""
    trace = torch.view_as_real(gram.diagonal(dim1=1, dim2=2))[..., 0].sum(-1).clamp_min(1e-30)
    return torch.view_as_complex(torch.view_as_real(gram) / trace[:, None, None, None]), trace


def _principal_coil(calibration: Tensor) -> Tensor:
    """Weights ``[coil]`` of the virtual coil that sees most of the calibration signal."""
    samples = calibration.flatten(1)
    _, vectors = torch.linalg.eigh(samples @ samples.mH)
    return vectors[:, -1]


def _align(vectors: Tensor, reference: Tensor) -> Tensor:
    """Rotate each pixel's vector so that the virtual coil ``reference`` sees it with phase zero."""
    seen = torch.einsum("i,...is->...s", reference.conj(), vectors)
    return vectors * torch.exp(-1j * seen.angle()).unsqueeze(-2)
