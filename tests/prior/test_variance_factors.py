"""How the spread of posterior samples is corrected: a law that is fitted, and kept within what was measured."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recon.prior.variance_factors import VarianceFactors, fit_variance_factors


def planted(amplification: np.ndarray, acceleration: np.ndarray) -> np.ndarray:
    return 1.1 * amplification**-0.2 * acceleration**0.4


def test_a_planted_law_is_found_where_noise_and_acceleration_vary() -> None:
    generator = np.random.default_rng(0)
    acceleration = np.repeat([1.75, 2.3, 2.8, 3.5], 36)
    noise = np.tile([0.5, 1.0, 2.0], 48)
    amplification = acceleration**1.6 * noise * generator.lognormal(0, 0.1, 144)
    ratios = planted(amplification, acceleration) * generator.lognormal(0, 0.1, 144)
    law = fit_variance_factors(amplification, acceleration, ratios)
    assert law.acceleration_exponent == pytest.approx(0.4, abs=0.1)
    left = [ratio / law.at(*place) for ratio, *place in zip(ratios, amplification, acceleration, strict=True)]
    for rate in (1.75, 2.3, 2.8, 3.5):
        assert np.mean(np.array(left)[acceleration == rate]) == pytest.approx(1, abs=0.04)


def test_what_cannot_be_told_apart_is_shared_and_not_made_up() -> None:
    """Of one noise level both grow together: huge exponents of opposite sign would fit as well."""
    acceleration = np.array([1.75, 2.3, 2.8, 3.5])
    law = fit_variance_factors(acceleration**2, acceleration, acceleration**0.4 * np.array([1.01, 0.99, 1.0, 1.0]))
    slope = np.diff(np.log(law.factors)) / np.diff(np.log(law.amplifications))
    assert 0 < law.acceleration_exponent < 0.4
    assert 0 < slope[0] < 0.4
    assert law.at(4.0, 2.0) == pytest.approx(2**0.4, rel=0.08)


@given(st.floats(1e-6, 1e6), st.floats(1, 1e3))
def test_outside_what_was_measured_it_stays(amplification: float, acceleration: float) -> None:
    law = VarianceFactors((0.5, 4.0), (1.4, 0.9), (1.75, 3.5), 0.4)
    inside = law.at(min(max(amplification, 0.5), 4.0), min(max(acceleration, 1.75), 3.5))
    assert law.at(amplification, acceleration) == pytest.approx(inside)
    assert VarianceFactors().at(amplification, acceleration) == 1
    assert "1.75x" in str(law)
    assert "x" not in str(VarianceFactors((0.5, 4.0), (1.4, 0.9))).replace("exp", "")


@pytest.mark.parametrize(
    "wrong",
    [
        {"amplifications": (1.0, 2.0)},
        {"amplifications": (2.0, 1.0), "factors": (1.0, 1.0)},
        {"amplifications": (1.0,), "factors": (-1.0,)},
        {"amplifications": (1.0,), "factors": (1.0,), "accelerations": (3.0,)},
        {"amplifications": (1.0,), "factors": (1.0,), "accelerations": (3.0, 2.0)},
        {"amplifications": (1.0,), "factors": (1.0,), "acceleration_exponent": float("nan")},
    ],
)
def test_numbers_that_are_no_law_are_refused(wrong: dict) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match="variance factors"):
        VarianceFactors(**wrong)
