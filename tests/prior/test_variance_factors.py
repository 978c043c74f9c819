"""How the spread of posterior samples is corrected: a law that is fitted, and kept within what was measured."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recon.prior.variance_factors import VarianceFactors, fit_variance_factors


def planted(amplification: np.ndarray, denoising_ratio: np.ndarray) -> np.ndarray:
    """Where the denoiser errs less than its table, nothing has lowered the table."""
    return 1.1 * amplification**-0.3 * np.where(denoising_ratio < 1, denoising_ratio**1.5, denoising_ratio**0.5)


def test_a_planted_law_is_found_where_noise_and_denoising_error_vary() -> None:
    generator = np.random.default_rng(0)
    denoising_ratio = np.repeat([0.6, 0.8, 1.1, 1.5], 36)
    noise = np.tile([0.5, 1.0, 2.0], 48)
    amplification = denoising_ratio**1.6 * noise * generator.lognormal(0, 0.1, 144)
    ratios = planted(amplification, denoising_ratio) * generator.lognormal(0, 0.1, 144)
    law = fit_variance_factors(amplification, denoising_ratio, ratios)
    assert law.denoising_exponents == pytest.approx((1.5, 0.5), abs=0.2)
    left = [ratio / law.at(*place) for ratio, *place in zip(ratios, amplification, denoising_ratio, strict=True)]
    for level in (0.6, 0.8, 1.1, 1.5):
        assert np.mean(np.array(left)[denoising_ratio == level]) == pytest.approx(1, abs=0.04)


def test_an_error_that_was_lost_in_noise_does_not_bend_the_law() -> None:
    """The estimate of the scan's own error ends at a floor of nearly nothing, whose logarithm outweighs all others."""
    denoising_ratio = np.array([0.8, 1.0, 1.2, 1.5] * 4)
    amplification = np.repeat([0.5, 1.0, 2.0, 4.0], 4)
    ratios = planted(amplification, denoising_ratio)
    lost = fit_variance_factors([*amplification, 1.0], [*denoising_ratio, 1e-5], [*ratios, 0.4])
    assert lost.denoising_ratios == (0.2, 1.5)
    for place in zip(amplification, denoising_ratio, strict=True):
        assert lost.at(*place) == pytest.approx(planted(*place), rel=0.3)


def test_what_cannot_be_told_apart_is_shared_and_not_made_up() -> None:
    """Of one noise level both grow together: huge exponents of opposite sign would fit as well."""
    ratio = np.array([0.8, 1.0, 1.2, 1.5])
    law = fit_variance_factors(ratio**2, ratio, ratio**0.4 * np.array([1.01, 0.99, 1.0, 1.0]))
    slope = np.diff(np.log(law.factors)) / np.diff(np.log(law.amplifications))
    assert 0 < law.denoising_exponents[1] < 0.4
    assert 0 < slope[0] < 0.4
    assert law.at(1.44, 1.2) == pytest.approx(1.2**0.4, rel=0.08)


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e3))
def test_outside_what_was_measured_it_stays(amplification: float, denoising_ratio: float) -> None:
    law = VarianceFactors((0.5, 4.0), (1.4, 0.9), (0.75, 1.5), (1.2, 0.4))
    inside = law.at(min(max(amplification, 0.5), 4.0), min(max(denoising_ratio, 0.75), 1.5))
    assert law.at(amplification, denoising_ratio) == pytest.approx(inside)
    assert VarianceFactors().at(amplification, denoising_ratio) == 1
    assert "0.75 times its table" in str(law)
    assert "table" not in str(VarianceFactors((0.5, 4.0), (1.4, 0.9)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"amplifications": (1.0, 2.0)},
        {"amplifications": (2.0, 1.0), "factors": (1.0, 1.0)},
        {"amplifications": (1.0,), "factors": (-1.0,)},
        {"amplifications": (1.0,), "factors": (1.0,), "denoising_ratios": (3.0,)},
        {
            "amplifications": (1.0,),
            "factors": (1.0,),
            "denoising_ratios": (3.0, 2.0),
            "denoising_exponents": (1.0, 1.0),
        },
        {"amplifications": (1.0,), "factors": (1.0,), "denoising_ratios": (2.0, 3.0)},
        {
            "amplifications": (1.0,),
            "factors": (1.0,),
            "denoising_ratios": (2.0, 3.0),
            "denoising_exponents": (float("nan"), 1.0),
        },
    ],
)
def test_numbers_that_are_no_law_are_refused(wrong: dict) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match="variance factors"):
        VarianceFactors(**wrong)
