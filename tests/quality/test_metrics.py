"""Image metrics: equal to fastMRI's where fastMRI defines them, and right in closed form elsewhere."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import convolve, gaussian_filter

from recon.errors import ReconError
from recon.quality import metrics


def volumes(seed: int = 0, shape: tuple[int, int, int] = (3, 33, 28)) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    reference = np.abs(generator.normal(size=shape)).cumsum(-1) * (1 + np.arange(shape[0]))[:, None, None]
    return np.abs(reference + 0.3 * generator.normal(size=shape)), reference


def test_equal_to_fastmri():
    fastmri = pytest.importorskip("fastmri.evaluate")
    image, reference = volumes()
    assert metrics.nrmse(image, reference) ** 2 == pytest.approx(float(fastmri.nmse(reference, image)), rel=1e-12)
    assert metrics.psnr(image, reference) == pytest.approx(float(fastmri.psnr(reference, image)), rel=1e-12)
    assert metrics.ssim(image, reference) == pytest.approx(float(fastmri.ssim(reference, image)[0]), rel=1e-12)
    # float32 as fastMRI's files hold them: the same to float32's own accuracy
    image, reference = image.astype(np.float32), reference.astype(np.float32)
    assert metrics.ssim(image, reference) == pytest.approx(float(fastmri.ssim(reference, image)[0]), rel=1e-5)


def test_hfen_is_the_matlab_laplacian_of_gaussian():
    image, reference = volumes()
    y, x = np.mgrid[-7:8, -7:8]
    gauss = np.exp(-(x**2 + y**2) / (2 * 1.5**2))
    gauss /= gauss.sum()
    kernel = gauss * (x**2 + y**2 - 2 * 1.5**2) / 1.5**4
    kernel -= kernel.mean()
    np.testing.assert_allclose(
        metrics.laplacian_of_gaussian(reference)[1], convolve(reference[1], kernel, mode="constant"), atol=1e-10
    )
    filtered = [np.stack([convolve(one, kernel, mode="constant") for one in volume]) for volume in (image, reference)]
    expected = np.linalg.norm(filtered[0] - filtered[1]) / np.linalg.norm(filtered[1])
    assert metrics.hfen(image, reference) == pytest.approx(expected, rel=1e-9)


def test_hfen_sees_lost_detail_more_than_nrmse_does():
    y, x = np.mgrid[-32:32, -32:32]
    disc = (np.hypot(y, x) < 20)[None] + 0.1
    blurred = gaussian_filter(disc, (0, 1.5, 1.5))
    assert metrics.hfen(blurred, disc) > 2 * metrics.nrmse(blurred, disc)


def test_no_hidden_rescaling():
    _, reference = volumes()
    assert metrics.nrmse(1.1 * reference, reference) == pytest.approx(0.1)
    assert metrics.hfen(1.1 * reference, reference) == pytest.approx(0.1)
    assert metrics.scale(1.1 * reference, reference) == pytest.approx(1 / 1.1)


@settings(max_examples=25, deadline=None)
@given(factor=st.floats(1e-6, 1e6), seed=st.integers(0, 100))
def test_common_unit_does_not_matter(factor: float, seed: int):
    image, reference = volumes(seed)
    before, after = metrics.evaluate(image, reference), metrics.evaluate(factor * image, factor * reference)
    for name in ("nrmse", "psnr", "ssim", "hfen", "scale"):
        assert getattr(after.volume, name) == pytest.approx(getattr(before.volume, name), rel=1e-6)


def test_equal_images():
    _, reference = volumes()
    same = metrics.evaluate(reference, reference).volume
    assert (same.nrmse, same.psnr, same.hfen) == (0, math.inf, 0)
    assert same.ssim == pytest.approx(1)


def test_per_slice_uses_the_range_of_the_volume_and_agrees_with_the_volume():
    image, reference = volumes()
    result = metrics.evaluate(image, reference)
    assert len(result.slices) == 3
    assert result.volume.ssim == pytest.approx(np.mean([one.ssim for one in result.slices]))
    norms = [np.linalg.norm(one) for one in reference]
    pooled = np.linalg.norm([one.nrmse * norm for one, norm in zip(result.slices, norms, strict=True)])
    assert result.volume.nrmse == pytest.approx(pooled / np.linalg.norm(norms))
    assert result.slices[0].psnr == pytest.approx(metrics.psnr(image[0], reference[0], data_range=reference.max()))


def test_complex_images_count_by_magnitude():
    image, reference = volumes()
    turned = image * np.exp(1j * np.linspace(0, 3, image.size).reshape(image.shape))
    assert metrics.nrmse(turned, reference) == pytest.approx(metrics.nrmse(image, reference))


def test_mask_leaves_the_outside_out():
    image, reference = volumes()
    mask = np.zeros(reference.shape, bool)
    mask[:2, 8:20, 8:20] = True
    spoiled = image.copy()
    spoiled[2] = 1e3
    spoiled[:, :, :3] = 1e3
    before, after = metrics.evaluate(image, reference, mask), metrics.evaluate(spoiled, reference, mask)
    assert after.volume.nrmse == before.volume.nrmse
    assert after.volume.psnr == before.volume.psnr
    assert after.volume.ssim == pytest.approx(before.volume.ssim)
    assert math.isnan(before.slices[2].nrmse)  # the mask does not touch this slice
    everything = metrics.evaluate(image, reference, np.ones(reference.shape, bool))
    assert everything.volume == metrics.evaluate(image, reference).volume


def test_an_empty_slice_is_undefined_not_an_error():
    image, reference = volumes()
    reference[1] = 0
    result = metrics.evaluate(image, reference)
    assert math.isnan(result.slices[1].nrmse)
    assert math.isfinite(result.volume.nrmse)


@pytest.mark.parametrize(
    ("image", "reference", "mask", "words"),
    [
        (np.ones((2, 9, 9)), np.ones((2, 9, 8)), None, "different grids"),
        (np.full((1, 9, 9), np.nan), np.ones((1, 9, 9)), None, "image: NaN"),
        (np.ones((1, 9, 9)), np.full((1, 9, 9), np.inf), None, "reference: NaN or infinite"),
        (np.ones((1, 9, 9)), np.zeros((1, 9, 9)), None, "reference is empty"),
        (np.ones((1, 9, 9)), np.ones((1, 9, 9)), np.zeros((1, 9, 9), bool), "mask is empty"),
        (np.ones((1, 9, 9)), np.ones((1, 9, 9)), np.ones((9, 8), bool), "differ in shape"),
        (np.ones((1, 9, 9)), np.ones((1, 9, 9)), np.ones((1, 9, 9)), "expected booleans"),
        (np.ones(9), np.ones(9), None, "expected \\[slice, readout, phase\\]"),
        (np.ones((1, 5, 9)), np.ones((1, 5, 9)), None, "at least 7 x 7"),
        (np.array([["a"]]), np.ones((1, 1)), None, "expected numbers"),
    ],
)
def test_what_cannot_be_measured_says_so(image, reference, mask, words):
    with pytest.raises(ReconError, match=words):
        metrics.evaluate(image, reference, mask)
