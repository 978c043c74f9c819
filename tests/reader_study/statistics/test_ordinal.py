"""Cumulative link models against published fits."""

import numpy as np
import pytest

from reader_study.statistics.ordinal import cumulative_link, cumulative_link_mixed
from recon.errors import ReconError
from tests.reader_study.published import RATINGS, printed


def wine():
    scores = np.array([[float(digit) for digit in bottle] for bottle in RATINGS["wine"]["bottles"]]).ravel()
    warm, contact = np.repeat([0, 0, 0, 0, 1, 1, 1, 1], 9), np.repeat([0, 0, 1, 1, 0, 0, 1, 1], 9)
    return scores, np.column_stack([warm, contact]), np.tile(np.arange(9), 8)


def test_wine_cumulative_link_model():
    scores, design, _ = wine()
    found = cumulative_link(scores, design, ("temp", "contact"))
    assert [f"{value:.4f}" for value in found.coefficients] == ["2.5031", "1.5278"]
    assert [f"{value:.4f}" for value in found.thresholds] == ["-1.3444", "1.2508", "3.4669", "5.0064"]
    assert printed(found.log_likelihood, "-86.49")


def test_wine_cumulative_link_mixed_model():
    """Published with the same data (judge as random intercept, ten quadrature nodes)."""
    scores, design, judge = wine()
    found = cumulative_link_mixed(scores, design, ("temp", "contact"), judge)
    assert [f"{value:.2f}" for value in found.coefficients] == ["3.06", "1.83"]
    assert [f"{value:.2f}" for value in found.thresholds] == ["-1.62", "1.51", "4.23", "6.09"]
    assert f"{found.random_deviation**2:.2f}" == "1.29"
    assert found.log_likelihood > cumulative_link(scores, design, ("temp", "contact")).log_likelihood


def test_ordinal_model_refuses_what_it_cannot_fit():
    with pytest.raises(ReconError, match="every score is the same"):
        cumulative_link(np.ones(6), np.arange(6.0)[:, None], ("arm",))
    with pytest.raises(ReconError, match="finite"):
        cumulative_link(np.array([1, np.nan, 2]), np.arange(3.0)[:, None], ("arm",))
