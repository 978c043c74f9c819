"""Areas of fixed readers against published analyses, with holes, and under their null."""

import numpy as np
import pytest
from test_obuchowski_rockette import mrmc

from reader_study.statistics import obuchowski_rockette, roc
from reader_study.statistics.figure_of_merit import area_under_curve
from recon.errors import ReconError
from tests.reader_study.published import printed


def drawn(studies, generator, readers=2, diseased=15, healthy=25):
    """Ratings 1 to 5 `[study, arm, reader, case]` of equal arms, and the truth."""
    truth = np.arange(diseased + healthy) < diseased
    shape = (studies, 2, readers, truth.size)
    case = generator.normal(size=(studies, 1, 1, truth.size))
    latent = 3 + 1.2 * truth + 0.7 * case + 0.5 * generator.normal(size=(studies, 2, 1, truth.size))
    return np.clip(np.rint(latent + 0.5 * generator.normal(size=shape)), 1, 5), truth


@pytest.mark.parametrize("name", ["van_dyke", "franken"])
def test_published_ratings_through_the_report_s_own_functions(name):
    scores, truth = mrmc(name)
    components = roc.components_of_areas(scores, truth)
    fixed = roc.compare_areas(scores, truth, 0.05)
    shared = components.covariance_same_arm - components.covariance_neither
    readers = components.figures.shape[1]
    error = components.variance - components.covariance_same_reader + (readers - 1) * shared
    assert fixed.estimate == pytest.approx(np.diff(components.figures.mean(axis=1))[0])
    if name == "van_dyke":
        assert printed(components.figures.mean(axis=1)[1], ".94083736")
        assert printed(obuchowski_rockette.equality(components).p_value, ".0517")
        assert fixed.standard_error == pytest.approx(np.sqrt(2 * error / readers))
        assert printed((fixed.estimate / fixed.standard_error) ** 2, "5.47595")
        false, true = roc.curve(scores[0, 0], truth)
        assert np.trapezoid(true, false) == pytest.approx(components.figures[0, 0])
    else:
        assert printed(obuchowski_rockette.equality(components).p_value, ".1188")


def test_a_missing_rating_costs_its_own_pair_and_no_more():
    (scores,), truth = drawn(1, np.random.default_rng(1))
    holes = scores.copy()
    holes[1, 0, 3] = np.nan
    whole, less = (roc.compare_areas(x, truth, 0.1) for x in (scores, holes))
    assert whole.cases == less.cases == truth.size
    by_hand = [area_under_curve(np.delete(scores[:, 0], 3, axis=-1), np.delete(truth, 3)),
               area_under_curve(scores[:, 1], truth)]  # fmt: skip
    assert less.estimate == pytest.approx(np.mean([new - old for old, new in by_hand]))
    assert np.isfinite(roc.components_of_areas(holes, truth).variance)
    holes[:, 1, truth] = np.nan
    assert roc.compared_readers(holes, truth).tolist() == [True, False]
    holes[:, 0, truth] = np.nan
    with pytest.raises(ReconError, match="no reader rated two cases"):
        roc.compare_areas(holes, truth, 0.1)


def test_size_of_the_comparison_for_these_readers():
    """500 studies, 15 cases with and 25 without: the one-sided test at 2.5 %."""
    studies, truth = drawn(500, np.random.default_rng(2))
    tests = [roc.compare_areas(scores, truth, 0.0) for scores in studies]
    claims = np.mean([test.claimed or test.high < 0 for test in tests])
    assert 0.02 < claims < 0.075  # two-sided 5 %, standard error 1 %
