"""What the scanner adds: background phase, coils, the Fourier transform and correlated noise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.acquisition.fourier_numpy import to_kspace
from recon.errors import ReconError
from recon.simulate.fields import smooth_field


@dataclass(frozen=True)
class SimulatedKspace:
    """What the receivers deliver. ``noise_covariance`` is E[n n^H] (twice the covariance per real component)."""

    kspace: NDArray[np.complex64]  # [slice, coil, readout, phase], centred, orthonormal, fully sampled, with noise
    noise_covariance: NDArray[np.complex128]  # [coil, coil], in k-space units
    noise: NDArray[np.complex64]  # [coil, sample], a noise scan of the same receivers
    snr: float  # as defined by ``noise_scale``


def background_phase(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    generator: np.random.Generator,
    strength: float = 1.0,
    sinus: NDArray[np.floating] | None = None,
) -> NDArray[np.float32]:
    """Phase of the image in radians, ``[slice, readout, phase]``: a constant, a quadratic polynomial (shim and echo
    shift), a smooth random part (about 0.4 rad) and, with ``sinus`` (0..1, where air is near), a local dipole-like
    part.

    ``strength`` scales all but the constant: about 1 for a gradient echo, 0.4 for a spin echo.
    """
    axes = np.meshgrid(*(np.linspace(-1, 1, count) if count > 1 else np.zeros(1) for count in shape), indexing="ij")
    through, down, across = (axis.astype(np.float32) for axis in axes)
    terms = (through, down, across, down * across, down**2 - across**2, down**2 + across**2)
    widths = (0.3, 0.8, 0.8, 0.4, 0.4, 0.4)
    phase = np.zeros(shape, np.float32)
    for term, width in zip(terms, widths, strict=True):
        phase += np.float32(width * generator.standard_normal()) * term
    phase += 0.4 * smooth_field(shape, spacing, 25.0, generator)
    if sinus is not None:
        phase += np.float32(generator.uniform(0.5, 2.0)) * sinus.astype(np.float32)
    return (strength * phase + np.float32(generator.uniform(-np.pi, np.pi))).astype(np.float32)


def noise_correlation(coils: int, generator: np.random.Generator, strength: float = 0.15) -> NDArray[np.complex64]:
    """A Hermitian positive definite ``[coil, coil]`` matrix with unit mean diagonal: neighbours couple with correlation
    about ``strength``, receivers differ by some 10 % in noise level."""
    offset = np.abs(np.arange(coils)[:, None] - np.arange(coils)[None, :])
    ring = np.minimum(offset, coils - offset)
    coupling = np.eye(coils, dtype=np.complex128)
    for step, share in ((1, 0.5), (2, 0.15)):
        where = (ring == step) & (coils > step)
        random = generator.standard_normal((coils, coils)) + 1j * generator.standard_normal((coils, coils))
        coupling += strength * share * where * random / np.sqrt(2) * 2
    coupling *= np.exp(0.1 * generator.standard_normal(coils))[:, None]
    covariance = coupling @ coupling.conj().T
    return (covariance / np.real(np.trace(covariance)) * coils).astype(np.complex64)


def noise_scale(
    images: NDArray[np.complexfloating],
    maps: NDArray[np.complex64],
    brain: NDArray[np.bool_],
    correlation: NDArray[np.complex64],
    snr: float,
) -> float:
    """Standard deviation per real component (mean over coils) that gives the stated SNR.

    SNR = mean over ``brain`` of |x| / n, where n is the standard deviation per real component of the noise in the
    optimally combined image. The combination w^H y with w = Psi^-1 s / (s^H Psi^-1 s) has n = 1 / sqrt(s^H Psi^-1 s)
    (Roemer et al., Magn Reson Med 16:192, 1990), Psi being the covariance per real component. ``images`` are
    [slice, readout, phase], ``maps`` [slice, coil, readout, phase].

    Raises ReconError when the SNR is not positive or the brain is empty.
    """
    if not np.isfinite(snr) or snr <= 0:
        raise ReconError(f"SNR {snr} must be a positive number")
    if not brain.any():
        raise ReconError("the imaged slices hold no brain, so that no SNR can be set")
    whitener = np.linalg.inv(np.linalg.cholesky(correlation.astype(np.complex128)))
    total, count = 0.0, 0
    for image, sensitivity, inside in zip(images, maps, brain, strict=True):
        s = sensitivity[:, inside]
        gain = np.sqrt(np.sum(np.abs(whitener @ s) ** 2, axis=0))
        total += float(np.sum(np.abs(image[inside]) * gain))
        count += int(inside.sum())
    return total / count / snr


def simulate_kspace(
    images: NDArray[np.complexfloating],
    maps: NDArray[np.complex64],
    generator: np.random.Generator,
    *,
    snr: float,
    brain: NDArray[np.bool_],
    correlation: NDArray[np.complex64] | None = None,
    oversampling: int = 1,
    noise_samples: int = 4096,
) -> SimulatedKspace:
    """Fully sampled multi-coil k-space of complex ``images`` [slice, readout, phase] at a stated SNR.

    ``maps`` are ``[slice, coil, readout, phase]`` with sum_c |S_c|^2 = 1, ``brain`` is where the SNR is defined (see
    ``noise_scale``), ``correlation`` the coils' noise correlation (identity when None). ``oversampling`` 2 acquires
    twice the field of view along the readout, as scanners do. Raises ReconError for shapes that do not fit.
    """
    slices, coils, readout, phase = maps.shape
    if images.shape != (slices, readout, phase) or brain.shape != images.shape:
        raise ReconError(f"images {images.shape}, brain {brain.shape} and coil maps {maps.shape} do not fit together")
    if correlation is None:
        correlation = np.eye(coils, dtype=np.complex64)
    sigma = noise_scale(images, maps, brain, correlation, snr)
    noise_factor = (sigma * np.linalg.cholesky(correlation.astype(np.complex128))).astype(np.complex64)
    wide = readout * oversampling
    # Index of the centre (n // 2) of the small grid goes to the centre of the wide one: right for odd sizes too.
    start = wide // 2 - readout // 2
    kspace = np.empty((slices, coils, wide, phase), np.complex64)
    for index in range(slices):
        coil_images = np.zeros((coils, wide, phase), np.complex64)
        coil_images[:, start : start + readout] = images[index].astype(np.complex64) * maps[index]
        kspace[index] = to_kspace(coil_images)
        kspace[index] += _noise(noise_factor, (wide, phase), generator)
    return SimulatedKspace(
        kspace=kspace,
        noise_covariance=(2 * noise_factor @ noise_factor.conj().T).astype(np.complex128),
        noise=_noise(noise_factor, (noise_samples,), generator),
        snr=snr,
    )


def _noise(
    noise_factor: NDArray[np.complex64], shape: tuple[int, ...], generator: np.random.Generator
) -> NDArray[np.complex64]:
    """Complex noise ``[coil, *shape]`` with covariance ``noise_factor noise_factor^H`` per real component."""
    coils = noise_factor.shape[0]
    white = generator.standard_normal((coils, int(np.prod(shape)), 2), dtype=np.float32).view(np.complex64)[..., 0]
    # Not by a matrix product, whose last bits depend on the number of threads: the noise is the same on every machine.
    return np.einsum("ck,ks->cs", noise_factor, white, optimize=False).reshape(coils, *shape)
