"""The standard deviation of few draws, and that of a region's mean, against Gaussian fields of known covariance."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from recon.errors import ReconError
from recon.quality.deviations import (
    autocorrelation,
    contrasts,
    neighbourhood_std,
    pixel_degrees_of_freedom,
    variance_of_sum,
)
from recon.quality.regions import COMMON_ERROR, edge_share, region_mean

SHAPE = (96, 80)


def field(generator: np.random.Generator, width: float = 1.0) -> np.ndarray:
    """A stationary Gaussian field of unit variance, correlated over ``width`` pixels, its level twice as high below."""
    wide = gaussian_filter(generator.standard_normal((SHAPE[0] + 20, SHAPE[1] + 20)), width)
    inner = wide[10:-10, 10:-10] * (2 * width * np.sqrt(np.pi))  # a white field loses so much by the filter
    inner[SHAPE[0] // 2 :] *= 2
    return inner.astype(np.float32)


def test_contrasts_keep_the_variance_and_are_independent() -> None:
    samples = np.random.default_rng(0).standard_normal((5, 200, 200)).astype(np.float32)
    found = contrasts(samples)
    assert found.shape == (4, 200, 200)
    np.testing.assert_allclose((found**2).mean(0), samples.var(0, ddof=1), rtol=1e-4)
    np.testing.assert_allclose(np.corrcoef(found.reshape(4, -1)), np.eye(4), atol=0.02)


def test_the_degrees_of_freedom_are_those_that_repetition_shows() -> None:
    """The relative variance of the estimated variance is 2 / degrees of freedom; more correlated fields have fewer.
    (Where there are hardly three, of a correlation as wide as the neighbourhood, they come out a quarter too many.)
    """
    generator = np.random.default_rng(1)
    inside = np.ones(SHAPE, bool)
    expected = []
    for width in (0.5, 1.0):
        drawn = [field(generator, width)[None] for _ in range(200)]
        spread = np.stack([neighbourhood_std(one)[10:20, 10:40] ** 2 for one in drawn])
        shown = 2 / (spread.var(0).mean() / spread.mean() ** 2)
        told = np.mean([pixel_degrees_of_freedom(autocorrelation(one, inside), 1) for one in drawn[:40]])
        assert told == pytest.approx(shown, rel=0.2)
        expected.append(told)
    assert expected[1] < 0.7 * expected[0]
    two = np.stack([field(generator) for _ in range(2)])
    assert pixel_degrees_of_freedom(autocorrelation(two, inside), 2) == pytest.approx(2 * expected[1], rel=0.25)


def test_the_variance_of_a_sum_of_white_deviations() -> None:
    middle = np.zeros((9, 9))
    middle[4, 4] = 1
    assert variance_of_sum(np.full((4, 5), 2.0), middle) == pytest.approx(80)


@pytest.mark.parametrize(("draws", "width"), [(1, 12), (2, 5)])
def test_intervals_of_region_means_cover_the_truth(draws: int, width: int) -> None:
    """Truth and draws deviate alike; nine intervals in ten hold the truth, from one draw as from four."""
    generator = np.random.default_rng(20)
    covered, ratios = [], []
    image = np.full((1, *SHAPE), 10, np.float32)
    for _ in range(500):
        truth = image + field(generator)
        deviations = np.stack([field(generator) for _ in range(draws)])[None]
        region = np.zeros(image.shape, bool)
        row, column = (int(generator.integers(0, size - width)) for size in SHAPE)
        region[0, row : row + width, column : column + width] = True
        found = region_mean(image, deviations, region, acceleration=None)
        low, high = found.interval(0.9)
        covered.append(low <= truth[region].mean() <= high)
        ratios.append(((truth[region].mean() - 10) ** 2, found.std**2))
    assert 0.85 <= np.mean(covered) <= 0.95
    error, expected = np.mean(ratios, 0)
    assert error / expected == pytest.approx(1, abs=0.3)


def test_slices_of_a_region_are_independent() -> None:
    generator = np.random.default_rng(3)
    deviations = np.stack([field(generator)[None] for _ in range(4)])
    image = np.full((4, *SHAPE), 10, np.float32)
    region = np.zeros(image.shape, bool)
    region[0, 5:15, 5:15] = True
    one = region_mean(image, deviations, region, acceleration=None)
    region[:, 5:15, 5:15] = True
    four = region_mean(image, deviations, region, acceleration=None)
    assert four.std == pytest.approx(one.std / 2, rel=0.35)
    assert four.degrees_of_freedom > 2 * one.degrees_of_freedom


def test_a_region_drawn_around_something_may_err_as_a_whole() -> None:
    """Errors of one sign all over it, of a size that grows with the acceleration, are in the interval; in that of a
    region that was put anywhere they are not."""
    generator = np.random.default_rng(8)
    image = np.full((1, *SHAPE), 10, np.float32)
    region = np.zeros(image.shape, bool)
    region[0, 20:32, 30:40] = True
    own = region_mean(image, np.stack([field(generator) for _ in range(40)])[None], region, acceleration=None).std
    share = np.sqrt(1 - 10 * 8 / 120)
    covered: dict[float | None, list[bool]] = {acceleration: [] for acceleration in (1.0, 3.0, None)}
    for _ in range(200):
        truth = image + field(generator) + 3 * COMMON_ERROR * share * own * generator.standard_normal() * region
        deviations = field(generator)[None, None]
        for acceleration, seen in covered.items():
            low, high = region_mean(image, deviations, region, acceleration=acceleration).interval(0.9)
            seen.append(low <= truth[region].mean() <= high)
    assert np.mean(covered[None]) < np.mean(covered[1.0]) <= np.mean(covered[3.0]) - 0.1
    assert 0.85 <= np.mean(covered[3.0]) <= 0.96


def test_what_a_region_errs_by_as_a_whole_is_the_same_in_all_its_slices() -> None:
    """Its independent errors average away over slices, its common one does not."""
    image = np.full((4, *SHAPE), 10, np.float32)
    deviations = np.repeat(np.stack([field(np.random.default_rng(seed)) for seed in range(8)])[None], 4, 0)
    found = []
    for slices in (1, 4):
        region = np.zeros(image.shape, bool)
        region[:slices, 12:22, 10:20] = True
        around, anywhere = (region_mean(image, deviations, region, acceleration=one).std for one in (3.0, None))
        found.append((anywhere, np.sqrt(around**2 - anywhere**2)))
    (one_own, one_common), (four_own, four_common) = found
    assert four_own == pytest.approx(one_own / 2)
    assert four_common == pytest.approx(one_common)
    assert one_common == pytest.approx(3 * COMMON_ERROR * 0.6 * one_own)


def test_the_mean_of_a_larger_region_is_more_certain() -> None:
    """And how well its standard deviation is known does not depend on what the region was drawn around."""
    image = np.full((1, *SHAPE), 10, np.float32)
    deviations = np.stack([field(np.random.default_rng(seed)) for seed in range(8)])[None]
    found = []
    for width in (3, 6, 12, 24):
        region = np.zeros(image.shape, bool)
        region[0, 10 : 10 + width, 10 : 10 + width] = True
        around, anywhere = (region_mean(image, deviations, region, acceleration=one) for one in (4.0, None))
        share = 1 - max(width - 2, 0) ** 2 / width**2
        assert edge_share(region) == pytest.approx(share)
        assert around.std == pytest.approx(anywhere.std * np.hypot(1, 4 * COMMON_ERROR * np.sqrt(share)))
        assert around.degrees_of_freedom == anywhere.degrees_of_freedom
        assert around.mean == anywhere.mean
        found.append(around.std)
    assert found == sorted(found, reverse=True)
    assert found[0] > 2 * found[-1]


def test_what_cannot_be_measured_is_said() -> None:
    image, region = np.ones((1, 8, 8), np.float32), np.zeros((1, 8, 8), bool)
    deviations = np.ones((1, 1, 8, 8), np.float32)
    with pytest.raises(ReconError, match="empty"):
        region_mean(image, deviations, region, acceleration=None)
    with pytest.raises(ReconError, match="two samples"):
        region_mean(image, None, region, acceleration=None)
    with pytest.raises(ReconError, match="different grids"):
        region_mean(image, deviations[..., :4], region, acceleration=None)
    region[0, 2:5, 2:5] = True
    for acceleration in (0.5, float("nan")):
        with pytest.raises(ReconError, match="acceleration must be at least one"):
            region_mean(image, deviations, region, acceleration=acceleration)
