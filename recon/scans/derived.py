"""Scans made from a scan, in memory and read as lazily: undersampled, noisier, turned, fewer slices, fewer coils.

Each has a digest and an identity of its own, derived from the original's, so that provenance and random streams stay
apart. No other place changes a scan's mask or calibration.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.acquisition.fourier_numpy import centre_crop, to_image, to_kspace
from recon.acquisition.masks import calibration_extent, centre_block, every_line_sampled
from recon.acquisition.rss import reference_image
from recon.errors import ReconError
from recon.header import identity_of
from recon.scan import Scan
from recon.seeding import numpy_generator


def with_mask(scan: Scan, mask: NDArray[np.bool_]) -> Scan:
    """The scan with only the positions of ``mask`` (``[phase]`` or ``[readout, phase]``) acquired, and without the
    reference image that its file may store. A separate calibration scan stays, and so does its extent.

    Raises ReconError when the mask leaves no sample."""
    acquired = mask & scan.mask if mask.ndim == scan.mask.ndim else _two(mask, scan) & _two(scan.mask, scan)
    if not acquired.any():
        raise ReconError(f"{scan.path}: the mask leaves no sample")
    separate = scan.calibration_kspace is not None
    return replace(
        scan,
        **_names(scan, "mask", acquired.tobytes().hex()),
        read_kspace=lambda index: scan.read_kspace(index) * acquired,
        mask=acquired,
        calibration=scan.calibration if separate else calibration_extent(acquired, scan.shape[2]),
        read_reference=None,
    )


def with_calibration(scan: Scan, lines: int) -> Scan:
    """The scan as if only its ``lines`` central phase lines were there to calibrate on, or as many as are sampled.

    Every line stays in k-space. A separate calibration scan is put aside: coil maps and scale come from those lines.
    The extent is (0, 0) when k-space's centre is not sampled.
    """
    block = np.zeros(scan.shape[3], bool)
    block[centre_block(scan.shape[3], min(lines, scan.shape[3]))] = True
    return replace(
        scan,
        **_names(scan, "calibration", lines),
        calibration=calibration_extent(scan.mask & block, scan.shape[2]),
        calibration_kspace=None,
    )


def with_axes_swapped(scan: Scan) -> Scan:
    """A fully sampled scan whose readout and phase axes have changed places, so that undersampling runs along the other
    image axis. Readout oversampling is removed first.

    Raises ReconError when the scan is undersampled or its k-space edges were not encoded: neither could be told apart
    from measured data after the swap.
    """
    if not scan.mask.all() or scan.phase_limits not in (None, (0, scan.shape[3])):
        raise ReconError(f"{scan.path}: only a scan with every k-space position measured can swap readout and phase")
    slices, coils, readout, phase = scan.shape
    kept = min(scan.image_shape[0], readout)

    def read(index: int) -> NDArray[np.complex64]:
        kspace = scan.read_kspace(index)
        if kept < readout:
            kspace = to_kspace(centre_crop(to_image(kspace), (kept, phase)))
        return np.ascontiguousarray(kspace.swapaxes(-1, -2))

    affine, voxel = scan.affine, scan.voxel_size
    return replace(
        scan,
        **_names(scan, "axes swapped"),
        shape=(slices, coils, phase, kept),
        read_kspace=read,
        mask=np.ones(kept, bool),
        calibration=(phase, kept),
        image_shape=(scan.image_shape[1], scan.image_shape[0]),
        voxel_size=None if voxel is None else (voxel[1], voxel[0], voxel[2]),
        affine=None if affine is None else affine[:, [1, 0, 2, 3]],
        phase_limits=None,
        calibration_kspace=None,
        read_reference=lambda index: np.ascontiguousarray(reference_image(scan, index).T),
    )


def with_noise(scan: Scan, snr: float, seed: int, whitening: NDArray[np.complex64]) -> Scan:
    """The scan with complex Gaussian noise added until its image SNR is ``snr``.

    Image SNR: the 99th percentile, over all slices, of the root-sum-of-squares image of the whitened channels, over the
    noise standard deviation per real component in each of them. ``whitening`` ``[coil, coil]`` brings the scan's own
    noise to one; the added noise has the same correlation between coils. Raises ReconError when the scan is noisier.
    """
    if not (math.isfinite(snr) and snr > 0):
        raise ReconError(f"the image SNR must be positive, not {snr}")
    images = []
    for index in range(scan.shape[0]):
        whitened = np.tensordot(whitening, scan.read_kspace(index), 1)
        images.append(np.sqrt((np.abs(to_image(whitened)) ** 2).sum(0)))
    total = float(np.percentile(np.stack(images), 99)) / snr
    if total < 1:
        raise ReconError(
            f"{scan.path}: its image SNR is only {total * snr:.1f}; {snr:g} cannot be reached by adding noise"
        )
    added = math.sqrt(total**2 - 1)
    colouring = np.linalg.inv(whitening).astype(np.complex64)

    def read(index: int) -> NDArray[np.complex64]:
        kspace = scan.read_kspace(index)
        generator = numpy_generator(seed, scan.identity, "noise", index)
        noise = generator.standard_normal((2, *kspace.shape), np.float32)
        noisy = kspace + np.tensordot(colouring, np.complex64(added) * (noise[0] + 1j * noise[1]), 1)
        return np.where(scan.mask, noisy, 0).astype(np.complex64)

    return replace(
        scan,
        **_names(scan, "noise", float(snr), seed),
        read_kspace=read,
        noise=None if scan.noise is None else (scan.noise * total).astype(np.complex64),
        noise_covariance=None if scan.noise_covariance is None else scan.noise_covariance * total**2,
        calibration_kspace=None,
        read_reference=None,
    )


def without_coils(scan: Scan, coils: Sequence[int]) -> Scan:
    """The scan without some of its coils: dead ones, copies of others. A stored reference image, which was made of all
    of them, is left out. Raises ReconError when the scan does not have them, or no others."""
    kept = np.setdiff1d(np.arange(scan.shape[1]), coils)
    strange = sorted(set(coils) - set(range(scan.shape[1])))
    if strange or not kept.size:
        wrong = f"no coil {strange[0]}" if strange else "no coil would be left"
        raise ReconError(f"{scan.path}: {wrong}; the scan has coils 0 to {scan.shape[1] - 1}")
    separate, covariance = scan.calibration_kspace, scan.noise_covariance
    return replace(
        scan,
        **_names(scan, "without coils", *sorted(set(coils))),
        shape=(scan.shape[0], kept.size, *scan.shape[2:]),
        read_kspace=lambda index: scan.read_kspace(index)[kept],
        noise=None if scan.noise is None else scan.noise[kept],
        noise_covariance=None if covariance is None else covariance[np.ix_(kept, kept)],
        calibration_kspace=None if separate is None else lambda index: separate(index)[kept],
        read_reference=None,
    )


def with_slices(scan: Scan, slices: range) -> Scan:
    """Some of the slices. Raises ReconError when the scan does not have them."""
    if not slices or min(slices) < 0 or max(slices) >= scan.shape[0]:
        raise ReconError(f"{scan.path}: no such slice; the scan has slices 0 to {scan.shape[0] - 1}")
    separate, reference = scan.calibration_kspace, scan.read_reference
    affine = scan.affine
    if affine is not None:
        affine = affine.copy()
        affine[:3, 3] += slices[0] * affine[:3, 2]
        affine[:3, 2] *= slices.step
    return replace(
        scan,
        **_names(scan, "slices", *slices),
        shape=(len(slices), *scan.shape[1:]),
        read_kspace=lambda index: scan.read_kspace(slices[index]),
        affine=affine,
        calibration_kspace=None if separate is None else lambda index: separate(slices[index]),
        read_reference=None if reference is None else lambda index: reference(slices[index]),
    )


def require_fully_sampled(scan: Scan) -> None:
    """Raise ReconError unless every encoded line was acquired."""
    if not every_line_sampled(scan.mask, scan.phase_limits):
        raise ReconError(
            f"{scan.path}: undersampled {scan.acceleration:.1f}x, so there is no reference to compare with; "
            "'recon benchmark --hold-out' scores such a scan on held-out samples"
        )


def _two(mask: NDArray[np.bool_], scan: Scan) -> NDArray[np.bool_]:
    return np.broadcast_to(mask, (scan.shape[2], scan.shape[3]))


def _names(scan: Scan, *words: object) -> dict[str, Any]:
    """Digest and identity of what ``words`` did to the scan."""
    said = [str(word) for word in words]
    return {"digest": identity_of(scan.digest, *said), "identity": identity_of(scan.identity, *said)}
