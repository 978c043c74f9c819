"""Fourier transforms, the SENSE operator, coil compression and noise: unitarity, adjoints, unit variance."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recon.acquisition import sense
from recon.acquisition.coils import apply_coil_matrix, compression_matrix
from recon.acquisition.fourier import centre_slice, fourier_matrix, to_image, to_kspace
from recon.acquisition.noise import covariance_of, noise_from_edges, noise_from_outer_kspace
from recon.acquisition.problem import preprocess_coils
from recon.errors import ReconError
from recon.scan import Scan

sizes = st.tuples(st.integers(1, 17), st.integers(1, 17))


def complex_normal(seed: int, *shape: int, dtype: torch.dtype = torch.complex128) -> Tensor:
    """Complex numbers of unit variance per real component."""
    real = torch.float64 if dtype == torch.complex128 else torch.float32
    values = torch.randn((*shape, 2), generator=torch.Generator().manual_seed(seed), dtype=real)
    return torch.view_as_complex(values)


def check_adjoint(
    forward: Callable[[Tensor], Tensor], adjoint: Callable[[Tensor], Tensor], image: Tensor, data: Tensor
) -> None:
    """``<A x, y> = <x, A^H y>``: the property every linear operator here must have."""
    left = torch.vdot(forward(image).flatten(), data.flatten())
    right = torch.vdot(image.flatten(), adjoint(data).flatten())
    assert abs(left - right) < 1e-10 * (1 + forward(image).norm() * data.norm())


@settings(deadline=None, max_examples=40)
@given(sizes, st.integers(0, 1000))
def test_the_transform_is_unitary_and_its_inverse_is_its_adjoint(size: tuple[int, int], seed: int) -> None:
    image = complex_normal(seed, *size)
    assert torch.allclose(to_image(to_kspace(image)), image, atol=1e-12)
    assert torch.allclose(to_kspace(image).norm(), image.norm(), rtol=1e-12)
    check_adjoint(to_kspace, to_image, image, complex_normal(seed + 1, *size))


@settings(deadline=None, max_examples=40)
@given(sizes)
def test_centres_lie_at_half_the_size_and_agree_with_the_matrix(size: tuple[int, int]) -> None:
    rows, columns = size
    point = torch.zeros(size, dtype=torch.complex128)
    point[rows // 2, columns // 2] = 1  # a point in the centre has a constant spectrum: no linear phase
    assert torch.allclose(to_kspace(point), torch.full_like(point, (rows * columns) ** -0.5), atol=1e-12)
    constant = torch.ones(size, dtype=torch.complex128)
    assert int(to_kspace(constant).abs().flatten().argmax()) == (rows // 2) * columns + columns // 2
    image = complex_normal(7, *size)
    down, across = (fourier_matrix(n, like=image) for n in size)
    assert torch.allclose(down @ image @ across.mT, to_kspace(image), atol=1e-12)
    shifted = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image.numpy()), norm="ortho"))
    assert np.allclose(to_kspace(image).numpy(), shifted, atol=1e-12)


@given(st.integers(1, 60), st.data())
def test_the_central_slice_keeps_the_centre(size: int, data: st.DataObject) -> None:
    wanted = data.draw(st.integers(1, size))
    chosen = range(size)[centre_slice(size, wanted)]
    assert len(chosen) == wanted
    assert chosen[wanted // 2] == size // 2


@settings(deadline=None, max_examples=30)
@given(sizes, st.integers(1, 2), st.integers(1, 3), st.booleans(), st.integers(0, 1000))
def test_the_sense_operator_and_its_adjoint(
    size: tuple[int, int], sets: int, coils: int, two_dimensional: bool, seed: int
) -> None:
    maps = complex_normal(seed, 2, sets, coils, *size)
    mask = torch.rand(size if two_dimensional else size[1:], generator=torch.Generator().manual_seed(seed)) < 0.5
    image, data = complex_normal(seed + 1, 2, sets, *size), complex_normal(seed + 2, 2, coils, *size)
    check_adjoint(lambda x: sense.forward(x, maps, mask), lambda y: sense.adjoint(y, maps, mask), image, data)
    check_adjoint(
        lambda x: sense.normal(x, maps, mask),
        lambda x: sense.normal(x, maps, mask),
        image,
        complex_normal(9, *image.shape),
    )
    energy = sense.inner(image, sense.normal(image, maps, mask))
    assert torch.allclose(energy.real, sense.forward(image, maps, mask).abs().pow(2).sum((1, 2, 3)))
    explicit = torch.stack(
        [sum(to_kspace(maps[:, s, c] * image[:, s]) for s in range(sets)) * mask for c in range(coils)], 1
    )
    assert torch.allclose(sense.forward(image, maps, mask), explicit)


def test_samples_that_were_not_acquired_do_not_count() -> None:
    maps, image = complex_normal(0, 1, 1, 3, 8, 9), complex_normal(1, 1, 1, 8, 9)
    mask = torch.arange(9) % 2 == 0
    kspace = sense.forward(image, maps, mask)
    assert not kspace[..., ~mask].any()
    polluted = kspace + complex_normal(2, *kspace.shape) * ~mask
    assert torch.allclose(sense.adjoint(polluted, maps, mask), sense.adjoint(kspace, maps, mask))


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 8), st.integers(1, 10), st.integers(0, 100))
def test_compression_is_unitary_and_keeps_the_signal(coils: int, kept: int, seed: int) -> None:
    rank = min(2, coils)
    signal = complex_normal(seed, coils, rank) @ complex_normal(seed + 1, rank, 60)
    calibration = signal.reshape(coils, 6, 10)
    matrix = compression_matrix(calibration, kept)
    count = min(kept, coils)
    assert matrix.shape == (count, coils)
    assert torch.allclose(matrix @ matrix.mH, torch.eye(count, dtype=matrix.dtype), atol=1e-10)
    compressed = apply_coil_matrix(matrix, calibration)
    if kept >= rank:  # two sources in space need no more than two virtual coils
        assert torch.allclose(compressed.norm(), calibration.norm(), rtol=1e-8)
    powers = compressed.abs().pow(2).sum((1, 2))
    assert bool((powers[:-1] >= powers[1:] - 1e-9 * powers[0]).all())


def correlated_covariance(coils: int, seed: int = 0) -> Tensor:
    """A Hermitian positive definite ``E[n n^H]`` with unequal, correlated channels."""
    whiten_compress = torch.eye(coils, dtype=torch.complex128) + 0.3 * complex_normal(seed, coils, coils)
    return (
        whiten_compress
        @ whiten_compress.mH
        * torch.linspace(0.5, 2, coils, dtype=torch.float64).outer(torch.linspace(0.5, 2, coils, dtype=torch.float64))
    )


def correlated_noise(covariance: Tensor, seed: int, *shape: int) -> Tensor:
    """Noise ``[coil, *shape]`` of this covariance."""
    factor = torch.linalg.cholesky(covariance / 2)
    return torch.einsum("ij,j...->i...", factor, complex_normal(seed, covariance.shape[0], *shape))


def test_whitening_gives_unit_variance_in_every_real_component() -> None:
    covariance = correlated_covariance(6)
    noise = covariance_of(correlated_noise(covariance, 1, 40_000).to(torch.complex64), "noise scan")
    assert torch.allclose(noise.covariance, covariance, rtol=0.05, atol=0.05)
    white = noise.whitening().to(torch.complex128) @ correlated_noise(covariance, 2, 40_000)
    assert torch.allclose(white @ white.mH / 40_000, 2 * torch.eye(6, dtype=white.dtype), atol=0.05)
    assert torch.allclose(white.real.var(1), torch.ones(6, dtype=torch.float64), atol=0.03)
    assert torch.allclose(white.imag.var(1), torch.ones(6, dtype=torch.float64), atol=0.03)


def test_few_samples_give_a_covariance_that_can_be_inverted() -> None:
    noise = covariance_of(complex_normal(0, 8, 5), "noise scan")
    assert torch.isfinite(torch.view_as_real(noise.whitening())).all()


@pytest.mark.parametrize("spoil", ["dead", "infinite", "single"])
def test_noise_that_cannot_be_estimated_is_an_error(spoil: str) -> None:
    samples = complex_normal(0, 4, 100)
    if spoil == "dead":
        samples[2] = 0
    elif spoil == "infinite":
        samples[1, 3] = torch.inf
    else:
        samples = samples[:, :1]
    with pytest.raises(ReconError, match="coil\\(s\\) \\[2\\]" if spoil == "dead" else "not finite or too few"):
        covariance_of(samples, "noise scan")


def head_kspace(sigma: float, *, rows: int = 96, columns: int = 88, coils: int = 6, seed: int = 0) -> Tensor:
    """Kspace ``[slice, coil, readout, phase]`` of a textured ellipse in smooth coils, white noise of ``sigma``."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij")
    inside = (y / 0.72) ** 2 + (x / 0.6) ** 2 < 1
    texture = 1 + 0.3 * torch.sin(9 * y) * torch.cos(11 * x) + 0.2 * torch.sin(23 * x * y)
    angles = torch.arange(coils) * 2 * torch.pi / coils
    maps = torch.stack(
        [
            torch.exp(-((y - a.cos()) ** 2 + (x - a.sin()) ** 2) / 1.5) * torch.exp(1j * (y * a.sin() + x * a.cos()))
            for a in angles
        ]
    )
    clean = to_kspace((inside * texture * maps).to(torch.complex64))[None]
    return clean + sigma * complex_normal(seed, *clean.shape, dtype=torch.complex64)


@pytest.mark.parametrize(("acceleration", "sigma"), [(1, 0.02), (2, 0.05), (4, 0.1)])
def test_noise_from_the_empty_edges(acceleration: int, sigma: float) -> None:
    kspace = torch.cat([head_kspace(sigma, seed=s) for s in range(2)])
    mask = torch.arange(88) % acceleration == 0
    mask[centre_slice(88, 20)] = True
    level = (noise_from_edges(kspace * mask, mask, 20).covariance.diagonal().real / 2).sqrt()
    assert float(level.mean()) == pytest.approx(sigma, rel=0.08)


def test_noise_from_outer_kspace() -> None:
    sigma = 0.1
    kspace = torch.cat([head_kspace(sigma, seed=s) for s in range(2)])
    mask = torch.rand(kspace.shape[-2:], generator=torch.Generator().manual_seed(0)) < 0.3
    level = (noise_from_outer_kspace(kspace * mask, mask).covariance.diagonal().real / 2).sqrt()
    assert float(level.mean()) == pytest.approx(sigma, rel=0.1)


def scan_of(kspace: Tensor, mask: Tensor, calibration: tuple[int, int], **changes: object) -> Scan:
    """A scan in memory."""
    arrays = (kspace * mask).to(torch.complex64).numpy()
    shape = tuple(int(n) for n in kspace.shape)
    scan = Scan(
        path=Path("memory.h5"),
        digest="0" * 64,
        shape=shape,  # type: ignore[arg-type]
        read_kspace=lambda index: arrays[index],
        mask=mask.numpy(),
        calibration=calibration,
        image_shape=shape[2:],  # type: ignore[arg-type]
        contrast="T2",
    )
    return dataclasses.replace(scan, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("sigma", [0.003, 0.03])
@pytest.mark.parametrize("two_dimensional", [False, True])
def test_the_receiver_whitens_a_scan_without_noise_scan(sigma: float, two_dimensional: bool) -> None:
    """Down to an SNR of some hundreds, where outer kspace still holds more signal than noise."""
    kspace = torch.cat([head_kspace(sigma, seed=s) for s in range(2)])
    mask = torch.arange(88) % 2 == 0
    mask[centre_slice(88, 24)] = True
    calibration = (96, 24)
    if two_dimensional:
        mask = torch.rand(kspace.shape[-2:], generator=torch.Generator().manual_seed(0)) < 0.3
        mask[centre_slice(96, 24), centre_slice(88, 24)] = True
        calibration = (24, 24)
    preprocessing = preprocess_coils(scan_of(kspace, mask, calibration))
    pure = sigma * complex_normal(5, 6, 20_000, dtype=torch.complex64)
    assert float((preprocessing.whiten_compress @ pure).real.std()) == pytest.approx(1, rel=0.12)
    assert torch.allclose(
        preprocessing.restore_coils @ preprocessing.whiten_compress, torch.eye(6, dtype=torch.complex64), atol=1e-3
    )


def test_a_noise_scan_and_a_given_level_are_taken_as_they_are() -> None:
    kspace = head_kspace(0.02)
    mask = torch.ones(88, dtype=torch.bool)
    covariance = correlated_covariance(6)
    samples = correlated_noise(covariance, 1, 20_000)
    scan = scan_of(kspace, mask, (96, 24), noise=samples.to(torch.complex64).numpy())
    preprocessing = preprocess_coils(scan)
    assert preprocessing.noise.source == "noise scan"
    white = preprocessing.whiten_compress.to(torch.complex128) @ correlated_noise(covariance, 2, 20_000)
    assert torch.allclose(white @ white.mH / 20_000, 2 * torch.eye(6, dtype=white.dtype), atol=0.1)
    stored = preprocess_coils(scan_of(kspace, mask, (96, 24), noise_covariance=covariance.to(torch.complex64).numpy()))
    assert stored.noise.source == "stored covariance"
    assert torch.allclose(stored.noise.covariance.to(torch.complex128), covariance, rtol=1e-5)
    given_level = preprocess_coils(scan, noise_sigma=0.5)
    assert torch.allclose(given_level.noise.covariance, 0.5 * torch.eye(6, dtype=torch.complex128))
    with pytest.raises(ReconError, match="must be positive"):
        preprocess_coils(scan, noise_sigma=0.0)


def test_a_dead_coil_in_a_scan_is_named() -> None:
    kspace = head_kspace(0.02)
    kspace[:, 3] = 0
    with pytest.raises(ReconError, match=r"coil\(s\) \[3\]"):
        preprocess_coils(scan_of(kspace, torch.ones(88, dtype=torch.bool), (96, 24)))
