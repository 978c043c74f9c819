"""ADC of known decays, at high and at low SNR."""

import numpy as np
import pytest

from recon.errors import ReconError
from recon.quality.diffusion import background_noise, fit_adc, rician_mean

B = (0.0, 500.0, 1000.0)


def magnitudes(adc: np.ndarray, s0: float, noise: float, b_values: tuple[float, ...] = B, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    signal = s0 * np.exp(-np.multiply.outer(b_values, adc))
    real, imaginary = noise * generator.standard_normal((2, *signal.shape))
    return np.abs(signal + real + 1j * imaginary)


def test_exact_decays_are_found() -> None:
    adc = np.linspace(0.2e-3, 3e-3, 60).reshape(3, 4, 5)
    found = fit_adc(magnitudes(adc, 1000.0, 0.0), B, noise=0.1)
    assert found.mask.all()
    np.testing.assert_allclose(found.adc, adc, rtol=1e-3)


@pytest.mark.parametrize("snr", [7.0, 10.0])
def test_low_snr_gives_no_bias_and_an_honest_std(snr: float) -> None:
    """A log-linear fit, the usual one, finds too little where the signal sinks into the noise floor."""
    adc = np.full(20_000, 2.0e-3)
    images = magnitudes(adc, snr, 1.0)
    found = fit_adc(images, B, noise=1.0)
    inside = found.mask
    assert inside.mean() > 0.9
    usual = -np.polyfit(B, np.log(images), 1)[0].mean()
    assert abs(np.median(found.adc[inside]) - 2e-3) < 0.3 * abs(usual - 2e-3)
    assert np.median(found.std[inside]) == pytest.approx(1.4826 * np.median(np.abs(found.adc[inside] - 2e-3)), rel=0.2)


def test_noise_of_the_background() -> None:
    adc = np.full((64, 64), 1e-3)
    images = magnitudes(adc, 50.0, 2.0)
    background = magnitudes(np.zeros((64, 64)), 0.0, 2.0, seed=1)
    whole = np.concatenate([images[2], background[0]])
    assert background_noise(whole) == pytest.approx(2.0, rel=0.1)
    found = fit_adc(np.stack([np.concatenate(pair) for pair in zip(images, background, strict=True)]), B)
    assert not found.mask[64:].mean() > 0.05
    assert np.median(found.adc[:64]) == pytest.approx(1e-3, rel=0.03)


def test_rician_mean_and_its_slope() -> None:
    signal = np.array([0.01, 0.5, 1.0, 3.0, 30.0])
    mean, slope = rician_mean(signal)
    assert mean[0] == pytest.approx(np.sqrt(np.pi / 2), rel=1e-3)
    assert mean[-1] == pytest.approx(np.sqrt(30.0**2 + 1), rel=1e-4)
    step = 1e-5
    numeric = (rician_mean(signal + step)[0] - rician_mean(signal - step)[0]) / (2 * step)
    np.testing.assert_allclose(slope, numeric, rtol=1e-4)


@pytest.mark.parametrize(
    ("images", "b_values", "message"),
    [
        (np.ones((2, 10, 10)), (1000.0, 1000.0), "two different"),
        (np.ones((2, 10, 10)), (0.0, 500.0, 1000.0), "two different"),
        (-np.ones((2, 10, 10)), (0.0, 1000.0), "magnitudes"),
        (np.pad(np.ones((2, 4, 4)), [(0, 0), (6, 6), (6, 6)]), (0.0, 1000.0), "masked"),
    ],
)
def test_what_cannot_be_fitted(images: np.ndarray, b_values: tuple[float, ...], message: str) -> None:
    with pytest.raises(ReconError, match=message):
        fit_adc(images, b_values)


@pytest.mark.parametrize("noise", [1.5, 2.5, 6.0])
def test_noise_of_a_background_of_integers(noise: float) -> None:
    """Files of scanners hold integers, often of a few counts in the background."""
    images = np.concatenate(
        [magnitudes(np.full((64, 64), 1e-3), 200.0, noise)[2], magnitudes(np.zeros((96, 64)), 0.0, noise)[0]]
    )
    assert background_noise(np.rint(images)) == pytest.approx(background_noise(images), rel=0.06)


def test_an_image_or_a_slice_without_signal_is_no_decay() -> None:
    adc = np.full((3, 12, 10), 0.8e-3)
    images = magnitudes(adc, 60.0, 1.0)
    images[1, 2] = 0  # a slice that one of the images does not reach
    found = fit_adc(images, B, noise=1.0)
    assert not found.mask[2].any()
    assert found.mask[:2].mean() > 0.95
    assert np.median(found.adc[found.mask]) == pytest.approx(0.8e-3, rel=0.03)
    images[1] = 0
    with pytest.raises(ReconError, match=r"b = 500 s/mm\^2 is zero everywhere"):
        fit_adc(images, B, noise=1.0)


def test_what_rounding_made_negative_is_no_fault_and_others_are_named_and_counted() -> None:
    images = magnitudes(np.full((3, 12, 10), 0.8e-3), 60.0, 1.0)
    rounded = images.copy()
    rounded[2, 0, 0] = -1e-6
    assert fit_adc(rounded, B, noise=1.0).mask.mean() > 0.95
    for wrong in (np.nan, np.inf, -1.0):
        images[2, 1, 0, :3] = wrong
        with pytest.raises(ReconError, match=r"the image of b = 1000 s/mm\^2 has 3 values"):
            fit_adc(images, B, noise=1.0)
