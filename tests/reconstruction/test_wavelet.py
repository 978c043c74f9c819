"""L1-wavelet: the minimiser it claims to be, whatever the unit, for odd sizes too; and the oracle that tunes it."""

import math

import numpy as np
import pytest

from recon.benchmark.oracle import best_over_weights
from recon.errors import ReconError
from recon.quality.metrics import nrmse
from recon.reconstruction.wavelet import default_weight, l1_wavelet


def fft2(image: np.ndarray) -> np.ndarray:
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))


def ifft2(kspace: np.ndarray) -> np.ndarray:
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))


def problem(readout: int, phase: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Whitened kspace (noise 1 per real component), maps, random phase-line mask and the true image."""
    generator = np.random.default_rng(seed)
    y, x = np.meshgrid(np.linspace(-1, 1, readout), np.linspace(-1, 1, phase), indexing="ij")
    image = 40 * ((y / 0.8) ** 2 + (x / 0.7) ** 2 < 1) - 20 * (np.hypot(y - 0.2, x + 0.1) < 0.3)
    image = image * np.exp(0.5j * y)
    maps = np.stack([np.exp(-((y - a) ** 2 + (x - b) ** 2) + 1j * a * x) for a in (-1, 1) for b in (-1, 1)])
    maps /= np.sqrt((np.abs(maps) ** 2).sum(0))
    noise = generator.normal(size=(2, *maps.shape))
    mask = generator.random(phase) < 0.5
    mask[phase // 2 - 6 : phase // 2 + 6] = True
    kspace = (fft2(maps * image) + noise[0] + 1j * noise[1]) * mask
    return kspace.astype(np.complex64), maps.astype(np.complex64), mask, image


@pytest.mark.parametrize("shape", [(48, 40), (45, 37)])
def test_beats_the_zero_filled_image_and_has_converged(shape):
    kspace, maps, mask, image = problem(*shape)
    found = l1_wavelet(kspace, maps, mask, default_weight())
    zero_filled = (maps.conj() * ifft2(kspace)).sum(0)
    assert found.shape == shape
    assert found.dtype == np.complex64
    assert nrmse(found, np.abs(image)) < 0.6 * nrmse(zero_filled, np.abs(image))
    longer = l1_wavelet(kspace, maps, mask, default_weight(), iterations=300)
    assert np.linalg.norm(found - longer) < 3e-3 * np.linalg.norm(longer)


def test_a_vanishing_weight_fits_the_data_and_a_large_one_gives_nothing():
    kspace, maps, mask, _ = problem(32, 32)
    fitted = l1_wavelet(kspace, maps, mask, 1e-6, iterations=300)
    residual = (fft2(maps * fitted) - kspace) * mask
    assert np.linalg.norm(residual) < 0.1 * np.linalg.norm(kspace)
    assert not l1_wavelet(kspace, maps, mask, 1e6).any()


def test_unit_of_the_data_does_not_matter():
    kspace, maps, mask, _ = problem(32, 32)
    once = l1_wavelet(kspace, maps, mask, default_weight())
    scaled = l1_wavelet(1e-4 * kspace, maps, mask, default_weight(1e-4))
    np.testing.assert_allclose(scaled / 1e-4, once, atol=1e-3 * np.abs(once).max(), rtol=0)


def test_two_dimensional_masks_and_global_random_state_left_alone():
    _, maps, _, image = problem(32, 32)
    mask = np.random.default_rng(1).random((32, 32)) < 0.6
    mask[10:22, 10:22] = True
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    found = l1_wavelet(fft2(maps * image).astype(np.complex64) * mask, maps, mask, 0.2)
    assert nrmse(found, np.abs(image)) < 0.1
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mask": np.ones(31, bool)}, "differ in size"),
        ({"maps": np.ones((3, 32, 32), np.complex64)}, "differ in size"),
        ({"maps": np.zeros((4, 32, 32), np.complex64)}, "maps are all zero"),
        ({"kspace": np.full((4, 32, 32), np.inf, np.complex64)}, "NaN or infinite"),
        ({"weight": 0.0}, "weight must be positive"),
        ({"weight": math.nan}, "weight must be positive"),
    ],
)
def test_wrong_input_is_one_clear_error(change, words):
    kspace, maps, mask, _ = problem(32, 32)
    arguments = {"kspace": kspace, "maps": maps, "mask": mask, "weight": 1.0, **change}
    with pytest.raises(ReconError, match=words):
        l1_wavelet(**arguments)


def test_the_oracle_finds_the_minimum_between_the_weights_tried():
    generator = np.random.default_rng(0)
    reference = 1 + generator.random((1, 16, 16))
    calls = []

    def reconstruct(weight: float) -> np.ndarray:
        calls.append(weight)
        return reference * (1 + (math.log(weight / 3.3)) ** 2)

    best = best_over_weights(reconstruct, reference, [2.0**power for power in range(-4, 6)], refinements=8)
    assert best.weight == pytest.approx(3.3, rel=0.05)
    assert best.nrmse == pytest.approx(nrmse(best.image, reference))
    assert best.evaluations == len(calls) == 18
    assert not best.at_the_edge
    grid = best_over_weights(reconstruct, reference, [2.0**power for power in range(-4, 6)], refinements=0)
    assert grid.weight == pytest.approx(4)
    assert best.nrmse < grid.nrmse


def test_the_oracle_says_when_the_range_was_too_narrow():
    reference = np.ones((1, 8, 8))
    best = best_over_weights(lambda weight: reference * (1 + weight), reference, [1.0, 2.0, 4.0])
    assert best.weight == 1
    assert best.at_the_edge
    with pytest.raises(ReconError, match="positive and rising"):
        best_over_weights(lambda weight: reference, reference, [1.0, 0.5])


def test_the_default_weight_is_near_the_oracle_on_a_real_head(shared_data):
    """Fully sampled 16-channel head, noise added to an image signal-to-noise ratio of 20, R = 4."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(shared_data / "kspace" / "mchiew_sense_raw_data.mat") as file:
        raw = np.squeeze(file["raw"][()])
    kspace = (raw["real"] + 1j * raw["imag"]).astype(np.complex64)
    coil_images = ifft2(kspace)
    reference = np.sqrt((np.abs(coil_images) ** 2).sum(0))
    noise_std = reference[reference > 0.1 * np.percentile(reference, 99)].mean() / 20
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(2, *kspace.shape))
    # maps from the noise-free low frequencies: this is about the weight, not about calibration
    window = np.outer(np.hanning(24), np.hanning(24))
    low = np.zeros_like(kspace)
    low[:, 36:60, 36:60] = kspace[:, 36:60, 36:60] * window
    maps = ifft2(low)
    maps /= np.sqrt((np.abs(maps) ** 2).sum(0))
    mask = np.zeros(96, bool)
    mask[::4] = True
    mask[40:56] = True
    noisy = ((kspace / noise_std + noise[0] + 1j * noise[1]) * mask).astype(np.complex64)
    maps = maps.astype(np.complex64)
    target = reference / noise_std
    best = best_over_weights(
        lambda w: l1_wavelet(noisy, maps, mask, w), target, [0.2, 0.4, 0.6, 0.8, 1.2], refinements=0
    )
    assert nrmse(l1_wavelet(noisy, maps, mask, default_weight()), target) < 1.1 * best.nrmse
