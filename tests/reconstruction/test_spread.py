"""The prior's law of variances reaches the standard deviations of a result, and nothing else of it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from recon import load_prior, open_scan, reconstruct
from recon.scans.derived import with_mask
from tests.small_world import write_small_prior, write_small_scan


@pytest.mark.parametrize("table", [0.2, 9.0])
def test_the_scans_own_denoising_error_widens_or_narrows_the_standard_deviation(tmp_path: Path, table: float) -> None:
    """A table of errors that is too low or too high for the scan, and a law that follows the scan: exponent 1.5 below a
    ratio of one, 0.5 above."""
    scan = open_scan(write_small_scan(tmp_path / "scan.h5", slices=1, noise=0.02))
    mask = np.zeros(scan.mask.shape, bool)
    mask[..., ::3] = True
    mask[..., 14:26] = True
    scan = with_mask(scan, mask)
    prior = load_prior(write_small_prior(tmp_path / "prior"))
    wrong = dataclasses.replace(
        prior.facts, denoiser_variances=tuple(table * value for value in prior.facts.denoiser_variances)
    )
    law = dataclasses.replace(
        wrong,
        amplifications=(0.01, 100.0),
        variance_factors=(1.3, 1.3),
        denoising_ratios=(0.01, 100.0),
        denoising_exponents=(1.5, 0.5),
    )
    plain, lawful = (
        reconstruct(scan, dataclasses.replace(prior, facts=facts), samples=2, seed=1) for facts in (wrong, law)
    )
    (audit,) = lawful.audit["slices"]
    ratio = audit["denoising_ratio"]
    assert (ratio < 0.8) if table > 1 else (ratio > 1.2)
    assert audit["denoising_inflation"] >= 1
    assert lawful.audit["figures"]["denoising_inflation"] >= 1
    factor = 1.3 * ratio ** (1.5 if ratio < 1 else 0.5)
    assert lawful.std is not None
    assert plain.std is not None
    inside = plain.std > 0
    np.testing.assert_allclose(lawful.std[inside] / plain.std[inside], np.sqrt(factor), rtol=2e-3)
    np.testing.assert_array_equal(lawful.reconstruction, plain.reconstruction)
