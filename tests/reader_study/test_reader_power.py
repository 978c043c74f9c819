"""The power simulation against formulas and against the analysis itself."""

import numpy as np
import pytest

from reader_study.power import Design, draw_scores, latent_means, planned_claims, simulate
from reader_study.power_options import Assumptions
from reader_study.statistics import obuchowski_rockette
from reader_study.statistics.non_inferiority import compare_by_case_means
from recon.errors import ReconError


@pytest.mark.parametrize("scale", [None, (1, 5)])
def test_type_one_error_of_the_primary_test(scale):
    """Two fixed readers, 30 cases, case x arm deviation .5: between .02 and .03 at nominal .025."""
    design = Design(2, 30, True, margin=0.5, alpha=0.025, scale=scale)
    found = simulate(design, Assumptions(case_arm=0.5), -0.5, 40_000, np.random.default_rng(7))
    assert 0.02 < found.claimed < 0.03
    assert found.pooled_rows > 0.045


def test_random_readers_hold_their_error_where_fixed_readers_do_not():
    assumptions = Assumptions(reader_arm=0.3)
    random = Design(5, 40, False, margin=0.5, alpha=0.025, scale=None)
    found = simulate(random, assumptions, -0.5, 10_000, np.random.default_rng(8))
    assert found.claimed < 0.04
    assert found.pooled_rows > 0.2


def test_simulated_and_analytic_power_agree():
    for fixed in (True, False):
        design = Design(4, 40, fixed, margin=0.4, alpha=0.025, scale=(1, 5))
        found = simulate(design, Assumptions(), 0.0, 8_000, np.random.default_rng(9))
        assert found.claimed == pytest.approx(found.analytic, abs=0.03)
    again = simulate(design, Assumptions(), 0.0, 8_000, np.random.default_rng(9))
    assert again == found


def test_power_of_a_preference_study_holds_its_level():
    design = Design(2, 60, True, margin=0.2, alpha=0.025, scale=(-1, 1), preference=True)
    found = simulate(design, Assumptions(), -0.2, 10_000, np.random.default_rng(10))
    assert 0.015 < found.claimed < 0.03


def test_power_names_effects_that_the_scale_cannot_hold():
    design = Design(2, 30, True, margin=0.5, alpha=0.025, scale=(1, 5))
    with pytest.raises(ReconError, match="does not fit on the scale 1 to 5"):
        simulate(design, Assumptions(), 2.0, 100, np.random.default_rng(0))
    with pytest.raises(ReconError, match="standard deviation 'case_arm'"):
        Assumptions(case_arm=-1)


@pytest.mark.parametrize("fixed", [True, False])
def test_the_simulated_analysis_is_the_one_that_analyze_runs(fixed):
    """The vectorised test of the power simulation against the scalar functions, study by study."""
    design = Design(3, 12, fixed, margin=0.3, alpha=0.025, scale=(1, 5))
    assumptions = Assumptions()
    means = latent_means(design, assumptions, -0.1)
    studies = draw_scores(design, assumptions, means, 60, np.random.default_rng(11))
    claims, _ = planned_claims(design, studies)
    for study, claimed in zip(studies, claims, strict=True):
        if fixed:
            expected = compare_by_case_means(study, 0.3).claimed
        else:
            components = obuchowski_rockette.components(study)
            expected = obuchowski_rockette.difference(components, 0.3).claimed
        assert claimed == expected
    assert 0 < claims.sum() < 60
