"""The simulated scanner: normalised maps, a transform that is right for odd sizes, noise as stated."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.acquisition.fourier_numpy import to_image, to_kspace
from recon.errors import ReconError
from recon.simulate.coils import coil_maps
from recon.simulate.deformation import random_displacement
from recon.simulate.fields import smooth_field
from recon.simulate.scanner import noise_correlation, simulate_kspace


def _maps(shape: tuple[int, int] = (48, 40), coils: int = 6, slices: int = 2) -> np.ndarray:
    generator = np.random.default_rng(5)
    return coil_maps(np.linspace(-20, 20, slices), shape, (5.0, 5.0), coils, generator)[0]


def test_maps_are_normalised_smooth_and_different():
    maps, shading = coil_maps(np.array([-10.0, 30.0]), (64, 48), (4.0, 4.0), 8, np.random.default_rng(1))
    assert maps.dtype == np.complex64
    np.testing.assert_allclose(np.sum(np.abs(maps) ** 2, axis=1), 1, atol=1e-5)
    assert shading.shape == (2, 64, 48)
    assert (shading > 0).all()
    # Smooth wherever a head can be; the corners of the field of view lie behind the coils.
    rows, columns = np.ogrid[-32:32, -24:24]
    head = np.hypot(rows * 4, columns * 4) < 105
    assert np.abs(np.diff(maps, axis=-1))[..., head[:, 1:] & head[:, :-1]].max() < 0.15
    gram = np.abs(np.einsum("scxy,sdxy->cd", maps.conj(), maps)) / (2 * 64 * 48)
    off_diagonal = gram - np.diag(np.diag(gram))
    assert off_diagonal.max() < 0.9 * np.diag(gram).min() + 0.05  # no two coils see the same
    # Every coil is strongest in its own part of the head.
    peaks = {int(np.argmax(np.abs(maps[0, coil, 8:-8, 8:-8]))) for coil in range(8)}
    assert len(peaks) == 8


@settings(max_examples=15, deadline=None)
@given(rows=st.integers(8, 33), columns=st.integers(8, 33))
def test_transform_is_centred_and_orthonormal(rows: int, columns: int):
    image = np.zeros((rows, columns), np.complex64)
    image[rows // 2, columns // 2] = 1
    kspace = to_kspace(image.copy())
    np.testing.assert_allclose(kspace, 1 / np.sqrt(rows * columns), atol=1e-6)
    np.testing.assert_allclose(to_image(kspace.copy()), image, atol=1e-6)


def test_snr_is_as_stated():
    """Measured on the optimal combination of noisy minus noise-free data, with correlated receivers."""
    generator = np.random.default_rng(11)
    maps = _maps((96, 80))
    image = np.zeros((2, 96, 80), np.complex64)
    brain = np.zeros(image.shape, bool)
    brain[:, 20:70, 15:60] = True
    image[brain] = 0.7 + 0.6 * generator.random(int(brain.sum())) * np.exp(0.3j)
    correlation = noise_correlation(6, generator, 0.3)
    acquired = simulate_kspace(image, maps, generator, snr=25.0, brain=brain, correlation=correlation)
    clean = to_kspace(image[:, None] * maps)
    noise = to_image(acquired.kspace - clean)
    weights = np.linalg.solve(correlation.astype(complex), maps.reshape(2, 6, -1)).reshape(maps.shape)
    combined = np.sum(weights.conj() * noise, axis=1) / np.sum(weights.conj() * maps, axis=1)
    # Mean over the brain of signal over local noise; the local level is known up to one factor, which the data give.
    level = 1 / np.sqrt(np.real(np.sum(maps.conj() * weights, axis=1)))
    scale = np.sqrt(np.mean(np.abs(combined[brain] / level[brain]) ** 2) / 2)
    measured = np.mean(np.abs(image[brain]) / (scale * level[brain]))
    assert measured == pytest.approx(25.0, rel=0.03)


def test_noise_scan_and_covariance_agree():
    generator = np.random.default_rng(2)
    maps = _maps()
    image = np.ones((2, 48, 40), np.complex64)
    acquired = simulate_kspace(
        image, maps, generator, snr=10, brain=np.ones(image.shape, bool), correlation=noise_correlation(6, generator)
    )
    sample = acquired.noise @ acquired.noise.conj().T / acquired.noise.shape[1]
    size = np.abs(np.diag(acquired.noise_covariance)).mean()
    assert np.abs(sample - acquired.noise_covariance).max() < 0.08 * size
    # The noise in k-space is the same noise.
    residual = acquired.kspace - to_kspace(image[:, None] * maps)
    flat = residual.transpose(1, 0, 2, 3).reshape(6, -1)
    assert np.abs(flat @ flat.conj().T / flat.shape[1] - acquired.noise_covariance).max() < 0.08 * size


@pytest.mark.parametrize("readout", [48, 47])
def test_oversampling_widens_the_field_of_view(readout: int):
    generator = np.random.default_rng(2)
    maps = _maps((readout, 40), slices=1)
    image = generator.standard_normal((1, readout, 40)).astype(np.complex64)
    acquired = simulate_kspace(image, maps, generator, snr=1e6, brain=np.ones(image.shape, bool), oversampling=2)
    assert acquired.kspace.shape == (1, 6, 2 * readout, 40)
    images = to_image(acquired.kspace)
    start = readout - readout // 2
    np.testing.assert_allclose(images[0, :, start : start + readout], image * maps[0], atol=1e-3)


def test_shapes_and_snr_are_checked():
    maps = _maps()
    brain = np.ones((2, 48, 40), bool)
    image = np.ones((2, 48, 40), np.complex64)
    generator = np.random.default_rng(0)
    with pytest.raises(ReconError, match="do not fit"):
        simulate_kspace(image[:1], maps, generator, snr=10, brain=brain)
    for snr in (0.0, -3.0, float("nan")):
        with pytest.raises(ReconError, match="SNR"):
            simulate_kspace(image, maps, generator, snr=snr, brain=brain)
    with pytest.raises(ReconError, match="no brain"):
        simulate_kspace(image, maps, generator, snr=10, brain=~brain)


@settings(max_examples=10, deadline=None)
@given(length=st.floats(2, 40), seed=st.integers(0, 1000))
def test_fields_have_unit_variance_over_draws(length: float, seed: int):
    generator = np.random.default_rng(seed)
    fields = np.stack([smooth_field((1, 40, 40), (5.0, 1.5, 1.5), length, generator) for _ in range(60)])
    assert np.isfinite(fields).all()
    assert 0.7 < fields.std() < 1.3


@pytest.mark.parametrize("seed", range(5))
def test_displacements_do_not_fold(seed: int):
    field = random_displacement((4, 64, 64), (5.0, 3.0, 3.0), np.random.default_rng(seed), amplitude=12.0)
    gradients = np.stack([np.gradient(part, 5.0, 3.0, 3.0) for part in field])  # [component, axis, ...]
    jacobian = np.moveaxis(gradients, (0, 1), (-2, -1)) + np.eye(3)
    assert (np.linalg.det(jacobian) > 0).all()
