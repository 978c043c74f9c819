"""From a scan to the calibrated, whitened, compressed and scaled problem y = A x + n that every method solves.

    y [slice, coil, readout, phase]: kspace in units of the image scale; n: sigma per real component
    x [slice, set, readout, phase]: complex image, nearly real and of order one inside the head

Two choices make one prior serve any scan. The scale comes from the calibration lines alone: half the 99th percentile
of the root-sum-of-squares image of those lines. And the coil maps carry the low-resolution phase of the image, again
from the calibration lines alone (as in homodyne and virtual-coil methods), so that x is real but for what the
calibration could not resolve. Training images are made by the same code, so both statistics are the same there.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recon.acquisition.coils import apply_coil_matrix, compression_matrix
from recon.acquisition.espirit import EspiritOptions, espirit_maps
from recon.acquisition.field_of_view import too_small
from recon.acquisition.fourier import centre_slice, to_image, to_kspace
from recon.acquisition.guard import Guard, guard_scale, pad, unpad
from recon.acquisition.masks import SMALLEST_CALIBRATION
from recon.acquisition.noise import (
    Noise,
    covariance_of,
    noise_from_edges,
    noise_from_outer_kspace,
    patch_covariances,
)
from recon.acquisition.noise_misfit import noise_misfit
from recon.acquisition.reference_scan import own_centre, own_phase, relative_gain
from recon.errors import ReconError, naming
from recon.scan import Scan

CONTAMINATED = 0.8  # noise in the calibration's null space over that of a noise estimate which holds signal
ORDINARY = (1e-12, 1e12)  # largest kspace value whose square single precision can hold with room on either side
STRONGEST = 1e15  # of a kspace value over the noise: beyond, squares in single precision overflow
FAINTEST = 1e-6  # of the image scale over the noise: nothing is to be seen of the object then
SCALE_STATISTIC = "half the 99th percentile of the root-sum-of-squares image of the calibration lines"

# ESPIRiT eigenvalue above which a pixel belongs to the object. Noise in the calibration lowers the eigenvalues of true
# signal: the customary 0.95 cuts away parts of the head at an image SNR of 20.
SUPPORT = 0.8


@dataclass(frozen=True)
class CoilPreprocessing:
    """What is estimated once a scan: noise, whitening and coil compression.

    ``whiten_compress [virtual coil, coil]`` whitens and compresses; ``restore_coils [coil, virtual coil]`` undoes it.
    ``sigma`` is the noise relative to the image scale, the median over the slices looked at: what a scan's schedule
    follows.

    Both matrices are for kspace divided by ``unit``: a power of two, 1 for values of ordinary size, which keeps the
    squares of others within single precision. ``noise`` is in the file's units.
    """

    noise: Noise
    whiten_compress: Tensor
    restore_coils: Tensor
    sigma: float
    unit: float = 1.0
    strongest: float = math.inf  # kspace value in the file's units whose whitened square single precision still holds


@dataclass(frozen=True)
class Problem:
    """A batch of slices ready to be reconstructed; see the module's docstring for shapes and units.

    With a ``guard`` band (samples at each end of readout and phase, see ``recon.acquisition.guard``) kspace, mask, maps
    and images are those of the larger grid; what is shown is not.
    """

    slices: tuple[int, ...]
    kspace: Tensor  # [slice, coil, readout, phase], zero where not acquired
    mask: Tensor  # [phase] or [readout, phase]
    maps: Tensor  # [slice, set, coil, readout, phase]
    scale: Tensor  # [slice]: image units are the file's units times this and ``unit``
    sigma: Tensor  # [slice]: noise standard deviation per real component of ``kspace``
    restore_coils: Tensor  # [coil of the file, coil]
    crop: tuple[slice, slice]  # readout, phase: what of the image is shown
    guard: Guard = (0, 0)
    unit: float = 1.0
    apart: Tensor | None = None  # [slice, coil, readout, phase]: lines of a calibration scan of its own, without guard

    @property
    def guard_scale(self) -> float:
        """By what kspace and ``sigma`` were multiplied for the grid with the guard band."""
        sizes = zip(self.kspace.shape[-2:], self.guard, strict=True)
        return guard_scale([size - 2 * width for size, width in sizes], self.guard)

    def without_guard(self, image: Tensor) -> Tensor:
        """``image [..., readout, phase]`` on the grid without the guard band: its acquired band of kspace."""
        axes = tuple(axis for axis, width in zip((-2, -1), self.guard, strict=True) if width)
        return to_image(unpad(to_kspace(image, axes), self.guard), axes) / self.guard_scale if axes else image

    def magnitude(self, image: Tensor) -> Tensor:
        """Root-sum-of-squares over the file's own coils of ``image [slice, ..., set, readout, phase]``, in the
        file's units, cropped: ``[slice, ..., readout, phase]``. This is what a fully sampled scan's RSS shows."""
        extra = image.dim() - 4
        scale = self.scale.reshape(-1, *[1] * (extra + 2))
        if self.maps.shape[1] == 1 and self.guard == (0, 0):
            weight = apply_coil_matrix(self.restore_coils, self.maps[:, 0]).norm(dim=1)
            weight = weight.reshape(weight.shape[0], *[1] * extra, *weight.shape[1:])
            shown = image.squeeze(-3).abs() * weight
        else:
            flat = image.reshape(image.shape[0], -1, *image.shape[-3:])
            each = [torch.stack([self._combined(i, one) for one in images]) for i, images in enumerate(flat)]
            shown = torch.stack(each).reshape(*image.shape[:-3], *each[0].shape[-2:])
        return (shown * scale)[..., self.crop[0], self.crop[1]] * self.unit

    def _combined(self, index: int, image: Tensor) -> Tensor:
        """Root-sum-of-squares ``[readout, phase]`` of one ``image [set, readout, phase]`` of slice ``index``: one at a
        time, because its coil images fill a processor's cache."""
        coils = apply_coil_matrix(
            self.restore_coils, self.without_guard((self.maps[index] * image.unsqueeze(1)).sum(0))
        )
        return _root_sum_of_squares(coils, 0)


def read_slices(
    scan: Scan, slices: Sequence[int], device: torch.device | str = "cpu", strongest: float = math.inf
) -> Tensor:
    """Kspace ``[slice, coil, readout, phase]`` of some slices; raises ReconError on NaN, infinity, values above
    ``strongest``, or only zeros. All is looked at before it goes to the device, for which nobody should wait."""
    parts = []
    for index in slices:
        kspace = scan.read_kspace(index)
        if not np.isfinite(kspace).all():
            raise ReconError(f"{scan.path}: kspace of slice {index} has NaN or infinite values; repair or drop it")
        if not kspace.any():
            raise ReconError(f"{scan.path}: kspace of slice {index} is all zero; nothing was acquired there")
        _check_strength(scan, float(np.abs(kspace).max()), strongest)
        parts.append(torch.from_numpy(np.ascontiguousarray(kspace)))
    return torch.stack(parts).to(device)


def in_unit(values: Tensor, unit: float) -> Tensor:
    """``values`` divided by ``unit``, exactly: it is a power of two."""
    return values if unit == 1 else (values.to(torch.complex128) / unit).to(values.dtype)


def _unit_of(kspace: Tensor) -> float:
    largest = float(torch.view_as_real(kspace).abs().max())
    return 1.0 if ORDINARY[0] < largest < ORDINARY[1] else 2.0 ** math.floor(math.log2(largest))


def preprocess_coils(
    scan: Scan, *, coils: int | None = None, noise_sigma: float | None = None, device: torch.device | str = "cpu"
) -> CoilPreprocessing:
    """Noise covariance and coil compression of a scan, from its noise scan or from at most four of its slices.

    ``coils`` limits the virtual coils (None keeps all); ``noise_sigma`` replaces the estimate by white noise of this
    standard deviation per real component, in the file's units. Raises ReconError when calibration is too small, or
    noise and signal do not fit each other.
    """
    check_calibration(scan)
    chosen = representative_slices(scan.shape[0])
    kspace = read_slices(scan, chosen, device)
    unit, largest = _unit_of(kspace), float(kspace.abs().max())
    if noise_sigma is None and (misfit := noise_misfit(scan, largest)):
        raise ReconError(f"{scan.path}: {misfit}")
    with naming(scan.path):
        kspace = in_unit(kspace, unit)
        noise = _noise(scan, kspace, chosen, noise_sigma, unit)
        whitening = noise.whitening().to(device)
        calibration = apply_coil_matrix(whitening, calibration_kspace(scan, kspace, chosen, unit))
        gain = float(torch.linalg.matrix_norm(whitening, 2))
        strongest = STRONGEST * unit / gain
        _check_strength(scan, largest, strongest)
        kept = min(coils or scan.shape[1], scan.shape[1])
        compression = _decomposed(compression_matrix, calibration, kept)
        restore_coils = torch.linalg.inv(whitening) @ compression.mH
        calibration, shape = _shown_calibration(scan, apply_coil_matrix(compression, calibration))
        scale = float(calibration_scale(calibration, shape).median())
        if not scale > FAINTEST:
            words = "noise_sigma as given" if noise.source == "given" else noise.source
            raise ReconError(
                f"its noise ({words}) is {1 / scale if scale else math.inf:.0e} times its signal; the noise "
                "belongs to another scan, or was given in other units"
            )
    return CoilPreprocessing(
        replace(noise, covariance=noise.covariance.to(torch.complex128) * unit**2),
        compression @ whitening,
        restore_coils,
        1 / scale,
        unit,
        strongest,
    )


def representative_slices(count: int) -> list[int]:
    """The at most four slices of ``count`` that noise, coil compression and noise level of a scan are estimated of."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, 6)).round()})[1:-1] or [count // 2]


def _decomposed(decompose: Callable[..., Any], *values: Any) -> Any:
    """What ``decompose`` gives. Raises ReconError where linear algebra finds no eigenvectors in damaged values."""
    try:
        return decompose(*values)
    except torch.linalg.LinAlgError as error:
        raise ReconError(
            "its calibration lines cannot be decomposed: their values differ too much in size; export the scan again"
        ) from error


def _check_strength(scan: Scan, largest: float, strongest: float) -> None:
    """Raises ReconError when the ``largest`` value, whitened by the noise, may exceed what single precision can
    square."""
    if not largest <= strongest:
        raise ReconError(
            f"{scan.path}: a kspace value of {largest:.0e} is more than {STRONGEST:.0e} times the noise: it is "
            "damaged, or the noise is not this scan's; export the scan again"
        )


def check_calibration(scan: Scan) -> None:
    """Raise ReconError when the calibration region, or the grid, is too small for coil maps."""
    if (small := too_small(scan)) is not None:
        raise ReconError(f"{scan.path}: {small}")
    readout, phase = scan.calibration
    if min(readout, phase) < SMALLEST_CALIBRATION:
        raise ReconError(
            f"{scan.path}: calibration region of {readout}x{phase} samples (readout x phase), at least "
            f"{SMALLEST_CALIBRATION} fully sampled central lines are needed; acquire or keep more calibration lines"
        )


def _noise(scan: Scan, kspace: Tensor, chosen: Sequence[int], noise_sigma: float | None, unit: float) -> Noise:
    """The noise of ``kspace``, which is in ``unit``."""
    coils = scan.shape[1]
    if noise_sigma is not None:
        if not noise_sigma > 0:
            raise ReconError(f"noise standard deviation must be positive, not {noise_sigma}")
        relative = noise_sigma / unit
        if not 1e-30 < relative < 1e30:
            raise ReconError(f"noise_sigma {noise_sigma:g} is not this scan's; give it in the file's units")
        return Noise(2 * relative**2 * torch.eye(coils, dtype=torch.complex128), "given", 0)
    if scan.noise is not None:
        return covariance_of(in_unit(torch.from_numpy(scan.noise), unit).to(kspace.device), "noise scan")
    if scan.noise_covariance is not None:
        covariance = torch.from_numpy(scan.noise_covariance).to(torch.complex128) / unit**2
        return Noise(covariance.to(kspace.device), "stored covariance", 0)
    mask = torch.from_numpy(scan.mask).to(kspace.device)
    if mask.dim() == 1:
        noise = noise_from_edges(kspace, mask, scan.calibration[1])
    else:
        noise = noise_from_outer_kspace(kspace, mask)
    # Both still see the tails of the object in scans of high SNR; the calibration's null space does not.
    patches = patch_covariances(calibration_kspace(scan, kspace, chosen, unit))
    whitening = noise.whitening().to(kspace.device)
    level = median([entry.noise_level(whitening) for entry in patches]) if patches else 1.0
    if level < CONTAMINATED:
        # Most of that estimate was signal, and so are its correlations: only a white level can be had.
        white = median([entry.noise_level() for entry in patches])
        return Noise(2 * white**2 * torch.eye(coils, dtype=torch.complex128), "calibration null space", 0)
    return replace(noise, covariance=noise.covariance * level**2) if level < 1 else noise


def calibration_kspace(
    scan: Scan, kspace: Tensor, slices: Sequence[int], unit: float = 1.0, strongest: float = math.inf
) -> Tensor:
    """The fully sampled centre of ``kspace``, which is in ``unit``, or, where there is one, of the separate calibration
    scan. Raises ReconError when that holds values above ``strongest``."""
    if scan.calibration_kspace is not None:
        parts = [scan.calibration_kspace(index) for index in slices]
        for part in parts:
            _check_strength(scan, float(np.abs(part).max()), strongest)
        kspace = in_unit(torch.stack([torch.from_numpy(part) for part in parts]).to(kspace.device), unit)
    rows = centre_slice(kspace.shape[-2], scan.calibration[0])
    columns = centre_slice(kspace.shape[-1], scan.calibration[1])
    return kspace[..., rows, columns]


def calibrate(
    scan: Scan,
    preprocessing: CoilPreprocessing,
    slices: Sequence[int],
    *,
    map_sets: int = 1,
    device: torch.device | str = "cpu",
    guard: Guard = (0, 0),
) -> Problem:
    """The problem of some slices of a scan. A slice's problem does not depend on which others are in the batch."""
    mask = torch.from_numpy(scan.mask).to(device)
    unit = preprocessing.unit
    kspace = in_unit(read_slices(scan, slices, device, preprocessing.strongest), unit)
    calibration = calibration_kspace(scan, kspace, slices, unit, preprocessing.strongest)
    whiten_compress = preprocessing.whiten_compress.to(device)
    kspace = apply_coil_matrix(whiten_compress, kspace * mask)
    calibration = apply_coil_matrix(whiten_compress, calibration)
    readout_crop = centre_slice(kspace.shape[-2], min(scan.image_shape[0], kspace.shape[-2]))
    calibration, shape = _shown_calibration(scan, calibration)
    if shape[0] < kspace.shape[-2]:
        kspace = to_kspace(to_image(kspace, (-2,))[..., readout_crop, :], (-2,))
        readout_crop = slice(0, shape[0])
    grid = (shape[0] + 2 * guard[0], shape[1] + 2 * guard[1])
    with naming(scan.path):
        maps, _ = _decomposed(espirit_maps, calibration, grid, EspiritOptions(sets=map_sets, noise=1.0, crop=SUPPORT))
    scale = calibration_scale(calibration, shape)
    if scan.calibration_kspace is None:
        maps = maps * low_resolution_phase(calibration, maps)
    else:
        extent = (calibration.shape[-2], calibration.shape[-1])
        centre = own_centre(pad(kspace, guard), pad(mask, guard), extent)
        scale = scale * relative_gain(centre, calibration)
        maps = maps * own_phase(centre, maps)
    return Problem(
        slices=tuple(slices),
        kspace=pad(kspace, guard) * (guard_scale(shape, guard) / scale)[:, None, None, None],
        mask=pad(mask, guard),
        maps=maps,
        scale=scale,
        sigma=guard_scale(shape, guard) / scale,
        restore_coils=preprocessing.restore_coils.to(device),
        crop=(readout_crop, centre_slice(shape[1], min(scan.image_shape[1], shape[1]))),
        guard=guard,
        unit=unit,
        apart=None if scan.calibration_kspace is None else calibration,
    )


def _shown_calibration(scan: Scan, calibration: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """The calibration of the field of view that is worked on, and its image shape.

    Rows are independent along a fully sampled readout, so oversampling is dropped before the work, not after."""
    if scan.mask.ndim == 1 and scan.image_shape[0] < scan.shape[2]:
        cropped = _crop_field_of_view(calibration, scan.shape[2], scan.image_shape[0])
        return cropped, (scan.image_shape[0], scan.shape[3])
    return calibration, (scan.shape[2], scan.shape[3])


def _crop_field_of_view(calibration: Tensor, full: int, kept: int) -> Tensor:
    """Calibration lines of a scan whose readout field of view is cropped from ``full`` to ``kept`` samples."""
    padded = calibration.new_zeros((*calibration.shape[:-2], full, calibration.shape[-1]))
    padded[..., centre_slice(full, calibration.shape[-2]), :] = calibration
    cropped = to_kspace(to_image(padded, (-2,))[..., centre_slice(full, kept), :], (-2,))
    return cropped[..., centre_slice(kept, min(kept, max(1, calibration.shape[-2] * kept // full))), :]


def _root_sum_of_squares(coils: Tensor, axis: int) -> Tensor:
    """Of complex coil images, summed over ``axis``: on a processor several times as fast as their ``norm``."""
    return (coils.real.square() + coils.imag.square()).sum(axis).sqrt()


def _window(size: int, like: Tensor) -> Tensor:
    """A Hann window over the calibration lines: keeps truncation ripples out of scale and phase."""
    return torch.hann_window(size + 2, periodic=False, device=like.device)[1:-1]


def _smooth_images(calibration: Tensor, shape: tuple[int, int]) -> Tensor:
    """Low-resolution coil images ``[slice, coil, readout, phase]`` of ``shape`` from the windowed calibration."""
    window = torch.outer(*(_window(size, calibration) for size in calibration.shape[-2:]))
    padded = calibration.new_zeros((*calibration.shape[:-2], *shape))
    rows, columns = (centre_slice(n, c) for n, c in zip(shape, calibration.shape[-2:], strict=True))
    padded[..., rows, columns] = calibration * window
    return to_image(padded)


def calibration_scale(calibration: Tensor, shape: tuple[int, int]) -> Tensor:
    """``[slice]``: see ``SCALE_STATISTIC``. The readout is cut to the extent of the phase direction, so that one
    scan gives the same scale with a square calibration region as with full readout lines."""
    extent = min(calibration.shape[-2:])
    square = calibration[..., centre_slice(calibration.shape[-2], extent), centre_slice(calibration.shape[-1], extent)]
    combined = _root_sum_of_squares(_smooth_images(square, shape), 1)
    return 0.5 * torch.stack([entry.flatten().quantile(0.99) for entry in combined])


def low_resolution_phase(calibration: Tensor, maps: Tensor) -> Tensor:
    """``[slice, set, 1, readout, phase]`` unit phasors: the phase of the coil-combined calibration image."""
    combined = (maps.conj() * _smooth_images(calibration, (maps.shape[-2], maps.shape[-1])).unsqueeze(1)).sum(2, True)
    return torch.polar(torch.ones_like(combined.real), combined.angle())
