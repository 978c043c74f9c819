"""The reader-study statistics against published figures, to the printed digits."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reader_study.power import Design, draw_scores, latent_means, planned_claims, simulate
from reader_study.power_options import Assumptions
from reader_study.statistics import agreement, missing, multiplicity, obuchowski_rockette, obuchowski_rockette_power
from reader_study.statistics.blinding_index import blinding_index
from reader_study.statistics.drift import drift, pair_drift
from reader_study.statistics.figure_of_merit import area_under_curve
from reader_study.statistics.interchangeability import interchangeability
from reader_study.statistics.intraclass import intraclass
from reader_study.statistics.non_inferiority import case_differences, compare_by_case_means
from reader_study.statistics.nonparametric import signed_rank
from reader_study.statistics.ordinal import cumulative_link, cumulative_link_mixed
from reader_study.statistics.preference import preference, tango_interval
from reader_study.statistics.repeatability import repeatability
from recon.errors import ReconError

RATINGS = json.loads((Path(__file__).parent / "data" / "oracle_ratings.json").read_text())


def mrmc(name):
    """Published ratings `[treatment, reader, case]` and truth `[case]`."""
    study = RATINGS[name]
    scores = np.array(
        [[[float(digit) for digit in row] for row in study[key]] for key in ("treatment_1", "treatment_2")]
    )
    return scores, np.arange(scores.shape[-1]) >= study["negatives"]


def printed(value, text):
    """Does ``value`` round to the published ``text``?"""
    digits = len(text.partition(".")[2])
    return f"{value:.{digits}f}".replace("0.", ".", 1) == text.replace("0.", ".", 1)


@pytest.fixture(scope="module")
def van_dyke():
    scores, truth = mrmc("van_dyke")
    return obuchowski_rockette.components(scores, truth, area_under_curve)


@pytest.fixture(scope="module")
def franken():
    scores, truth = mrmc("franken")
    return obuchowski_rockette.components(scores, truth, area_under_curve)


def test_van_dyke_mean_squares_and_jackknife_covariances(van_dyke):
    assert van_dyke.cases == 114
    assert printed(van_dyke.arm_means[0], ".89703704")
    assert printed(van_dyke.arm_means[1], ".94083736")
    assert printed(van_dyke.mean_square_arm, ".00479617")
    assert printed(van_dyke.mean_square_arm_reader, ".00055103")
    assert printed(van_dyke.variance, ".00080229")
    assert printed(van_dyke.covariance_same_reader, ".00034661")
    assert printed(van_dyke.covariance_same_arm, ".00034407")
    assert printed(van_dyke.covariance_neither, ".00023903")


def test_van_dyke_random_readers_and_cases(van_dyke):
    test = obuchowski_rockette.equality(van_dyke)
    assert printed(test.statistic, "4.46")
    assert printed(test.df_denominator, "15.26")
    assert printed(test.p_value, ".0517")
    found = obuchowski_rockette.difference(van_dyke, new=0, reference=1)
    assert printed(found.estimate, "-.04380")
    assert printed(found.low, "-.08796")
    assert printed(found.high, ".00036")


def test_van_dyke_fixed_readers_and_fixed_cases(van_dyke):
    readers = obuchowski_rockette.equality(van_dyke, "cases")
    assert printed(readers.statistic, "5.47595")
    assert printed(readers.p_value, ".0193")
    cases = obuchowski_rockette.equality(van_dyke, "readers")
    assert printed(cases.statistic, "8.704")
    assert printed(cases.p_value, ".0420")


def test_van_dyke_non_inferiority(van_dyke):
    found = obuchowski_rockette.difference(van_dyke, 0.05, new=1, reference=0)
    assert printed(found.statistic, "4.5208")
    assert f"{found.p_value:.3e}" == "1.949e-04"
    assert found.claimed


def test_franken_where_cov2_is_smaller_than_cov3(franken):
    assert franken.covariance_same_arm < franken.covariance_neither
    assert printed(franken.arm_means[0], ".84774989")
    assert printed(franken.arm_means[1], ".83689507")
    test = obuchowski_rockette.equality(franken)
    assert printed(test.statistic, "4.69")
    assert test.df_denominator == 3
    assert printed(test.p_value, ".1188")


def test_obuchowski_rockette_power(van_dyke, franken):
    pilot = obuchowski_rockette_power.planning(van_dyke)
    effect = van_dyke.arm_means[1] - van_dyke.arm_means[0]
    assert printed(obuchowski_rockette_power.power(pilot, 10, 165, effect).power, ".80542")
    pilot = obuchowski_rockette_power.planning(franken)
    assert printed(obuchowski_rockette_power.power(pilot, 6, 121, 0.05).power, ".8004469")


def test_likert_means_through_obuchowski_rockette_agree_with_their_closed_form():
    scores = np.random.default_rng(3).normal(size=(2, 3, 17))
    found = obuchowski_rockette.components(scores)
    covariance = np.cov(scores.reshape(6, 17)) / 17
    assert found.variance == pytest.approx(np.diag(covariance).mean())
    assert found.covariance_same_reader == pytest.approx(np.mean([covariance[i, i + 3] for i in range(3)]))
    # With readers fixed, the contrast's variance is that of the per-case mean differences.
    by_case = compare_by_case_means(scores, 0.5)
    fixed = obuchowski_rockette.difference(found, generalises_to="cases")
    assert fixed.estimate == pytest.approx(by_case.estimate)
    assert fixed.standard_error == pytest.approx(by_case.standard_error)


def test_obuchowski_rockette_refuses_missing_scores_and_single_readers():
    scores = np.zeros((2, 2, 5))
    scores[0, 0, 0] = np.nan
    with pytest.raises(ReconError, match="every reader to score every case"):
        obuchowski_rockette.components(scores)
    with pytest.raises(ReconError, match="two or more"):
        obuchowski_rockette.components(np.zeros((2, 1, 5)))


SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float).T


def test_shrout_fleiss_intraclass_correlations():
    found = intraclass(SHROUT_FLEISS)
    expected = {"ICC(1,1)": ".1657", "ICC(2,1)": ".2898", "ICC(3,1)": ".7148"}
    expected |= {"ICC(1,k)": ".4428", "ICC(2,k)": ".6201", "ICC(3,k)": ".9093"}
    for model, text in expected.items():
        assert printed(found[model].coefficient, text), model
        assert found[model].low < found[model].coefficient < found[model].high


def test_intraclass_of_perfect_agreement_is_one():
    found = intraclass(np.array([[1.0, 2, 3, 5], [1, 2, 3, 5]]))
    assert all(value.coefficient == 1 for value in found.values())


TABLE = np.array([[13, 0, 0], [0, 20, 7], [0, 4, 56]])
PAIRED = np.array([(i, j) for i in range(3) for j in range(3) for _ in range(TABLE[i, j])], float).T


def test_weighted_kappa_and_ac1():
    plain = agreement.cohen(TABLE)
    assert printed(plain.kappa, ".79641")
    assert printed(plain.standard_error, ".05891")
    assert printed(agreement.cohen(TABLE, "linear").kappa, ".84290")
    assert printed(agreement.cohen(TABLE, "quadratic").kappa, ".89216")
    assert printed(agreement.gwet(PAIRED, [0, 1, 2]).coefficient, ".84933")
    assert (agreement.cross_table(PAIRED[0], PAIRED[1], [0, 1, 2]) == TABLE).all()


def test_agreement_by_hand():
    """Fleiss' kappa against Scott's pi, Krippendorff's alpha against its small-sample relation to it."""
    margins = (TABLE.sum(axis=0) + TABLE.sum(axis=1)) / 200
    pi = (0.89 - (margins**2).sum()) / (1 - (margins**2).sum())
    assert agreement.fleiss(PAIRED, [0, 1, 2]) == pytest.approx(pi)
    assert agreement.krippendorff(PAIRED, [0, 1, 2], "nominal") == pytest.approx(1 - (1 - pi) * 199 / 200)
    # AC2 with quadratic weights, by its definition.
    weights = agreement.category_weights(3, "quadratic")
    observed = (TABLE / 100 * weights).sum()
    chance = weights.sum() / 6 * (margins * (1 - margins)).sum()
    assert agreement.gwet(PAIRED, [0, 1, 2], "quadratic").coefficient == pytest.approx(
        (observed - chance) / (1 - chance)
    )


def test_krippendorff_ordinal_published_example():
    """Krippendorff 2011, example C: four observers, twelve units, missing values; nominal, ordinal, interval."""
    nan = np.nan
    ratings = np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, nan, nan, nan],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, nan, 3],
            [nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, nan],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, nan],
        ]
    )
    for level, expected in (("nominal", ".743"), ("ordinal", ".815"), ("interval", ".849")):
        assert printed(agreement.krippendorff(ratings, [1, 2, 3, 4, 5], level), expected)


def test_agreement_where_everything_is_one_category_is_not_a_number_and_no_warning():
    same = np.full((2, 6), 4.0)
    assert np.isnan(agreement.cohen(agreement.cross_table(same[0], same[1], [1, 2, 3, 4, 5]), "quadratic").kappa)
    assert np.isnan(agreement.fleiss(same, [1, 2, 3, 4, 5]))
    assert np.isnan(agreement.krippendorff(same, [1, 2, 3, 4, 5]))
    assert agreement.gwet(same, [1, 2, 3, 4, 5]).coefficient == 1


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


def test_tango_interval():
    low, high = tango_interval(40, 20, 160)
    assert printed(low, ".03086")
    assert printed(high, ".21806")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 30))
def test_tango_interval_is_symmetric_and_holds_the_estimate(b, c, ties):
    low, high = tango_interval(b, c, b + c + ties)
    assert -1 <= low <= (b - c) / (b + c + ties) + 1e-9
    assert (b - c) / (b + c + ties) - 1e-9 <= high <= 1
    assert tango_interval(c, b, b + c + ties) == pytest.approx((-high, -low), abs=1e-8)


def test_preference_keeps_ties_in_the_denominator():
    found = preference(12, 4, 24)
    assert found.net == pytest.approx(0.2)
    assert found.p_sign_test == pytest.approx(0.0768, abs=1e-4)
    with pytest.raises(ReconError):
        preference(0, 0, 0)


def test_bang_index_crisp():
    drug, placebo = blinding_index(82, 25, 170), blinding_index(29, 27, 83)
    assert printed(drug.index, ".2058")
    assert printed(drug.standard_error, ".0352")
    assert printed(placebo.index, ".0144")
    assert printed(placebo.standard_error, ".0538")


def test_signed_rank_agrees_with_its_definition():
    differences = np.array([0.5, -0.5, 1.0, 0.0, 1.5, 0.5, -1.0, 2.0, 0.5, 1.0])
    found = signed_rank(differences, 0.5)
    pairs = sorted((a + b) / 2 for i, a in enumerate(differences) for b in differences[i:])
    assert found.test.estimate == pytest.approx(np.median(pairs))
    # For ten differences the exact 95 % interval ends at the ninth Walsh average from either side (tables of V).
    assert (found.test.low, found.test.high) == (pairs[8], pairs[-9])
    assert found.test.low <= found.test.estimate <= found.test.high
    assert found.non_zero == 9
    nothing = signed_rank(np.zeros(5), 0.5)
    assert (nothing.test.estimate, nothing.test.p_difference) == (0, 1)


def test_interchangeability_by_hand():
    reference = np.array([[3.0, 4, 4, 5], [3, 4, 5, 5]])
    new = np.array([[3.0, 4, 4, 4], [2, 4, 5, 5]])
    found = interchangeability(np.stack([reference, new]), np.random.default_rng(0))
    assert found.disagree_reference_reference == 0.25
    # new of one reader against reference of the other: 0.5, 0, 1, 0.5
    assert found.disagree_new_reference == 0.5
    assert found.low <= found.difference <= found.high
    near = interchangeability(np.stack([reference, new]), np.random.default_rng(0), tolerance=1)
    assert near.difference == 0


def test_holm():
    found = {row.name: row for row in multiplicity.holm({"a": 0.01, "b": 0.04, "c": 0.03}, 0.05)}
    assert [round(found[name].p_adjusted, 12) for name in "abc"] == [0.03, 0.06, 0.06]
    assert found["a"].rejected
    assert not found["b"].rejected
    assert multiplicity.holm({}, 0.05) == []


def test_drift_finds_a_planted_slope_and_spares_a_flat_reader():
    generator = np.random.default_rng(5)
    case, arm = np.tile(np.arange(60), 2), np.repeat([0.0, 1.0], 60)
    order = generator.permutation(120) + 1.0
    noise = generator.normal(scale=0.2, size=120) + generator.normal(size=60)[case]
    planted = drift(4 - order / 120 + noise, order, arm, case)
    flat = drift(4 + noise, order, arm, case)
    assert planted is not None
    assert flat is not None
    assert planted.slope_high < -0.6
    assert planted.slope_p < 1e-6
    assert flat.slope_low < 0 < flat.slope_high
    pairs = np.stack([4 + noise[:60], 4 + noise[:60] - np.arange(60) / 60])
    both = pair_drift(pairs, np.arange(60.0))
    assert both is not None
    assert both.interaction == pytest.approx(-59 / 60, abs=1e-6)
    assert drift(np.full(4, 3.0), np.arange(4.0), np.array([0.0, 1, 0, 1]), np.array([0, 0, 1, 1])) is None


def test_repeatability():
    found = repeatability(np.array([3.0, 4, np.nan, 5]), np.array([3.0, 5, 4, 3]), (1, 2, 3, 4, 5))
    assert found is not None
    assert (found.pairs, found.exact_agreement, found.within_one_point) == (3, 1 / 3, 2 / 3)
    assert found.within_deviation == pytest.approx(np.sqrt((0 + 1 + 4) / 3 / 2))
    assert repeatability(np.array([np.nan]), np.array([1.0]), (1, 2)) is None


def test_per_case_means_by_hand_and_two_tests_named_apart():
    scores = np.zeros((2, 2, 4))
    scores[1] = [[0, 1, 0, -1], [0, 0, 1, -1]]
    found = compare_by_case_means(scores, 0.9, 0.025)
    differences = np.array([0, 0.5, 0.5, -1])
    assert case_differences(scores).tolist() == differences.tolist()
    error = differences.std(ddof=1) / 2
    assert found.statistic == pytest.approx(0.9 / error)
    assert found.p_difference == 1
    assert not found.superior


def test_missing_scores_leave_the_case_out():
    scores = np.random.default_rng(0).normal(size=(2, 2, 10))
    scores[1, 0, 3] = np.nan
    assert compare_by_case_means(scores, 0.5).cases == 9


def test_pooled_rows_are_refused_with_the_reason():
    rows = np.zeros((2, 60))  # arm x (reader x case), as a pooled analysis would want it
    with pytest.raises(ReconError, match=r"pooling reader x case rows is refused.*per-case means"):
        compare_by_case_means(rows, 0.5)


def test_constant_differences_decide_by_their_sign():
    scores = np.zeros((2, 2, 5))
    assert compare_by_case_means(scores, 0.5).claimed
    assert not compare_by_case_means(scores, 0.5).superior
    scores[1] = -0.5
    assert not compare_by_case_means(scores, 0.5).claimed


def test_missing_data_sensitivity_brackets_and_tips():
    generator = np.random.default_rng(1)
    scores = np.clip(np.round(4 + 0.6 * generator.normal(size=(2, 2, 60))), 1, 5)
    complete = missing.sensitivity(scores, (1, 5), 0.5, 0.025, generator)
    assert complete.missing_scores == 0
    assert complete.worst is None
    holes = scores.copy()
    holes[1, 0, :12] = np.nan
    found = missing.sensitivity(holes, (1, 5), 0.5, 0.025, np.random.default_rng(2))
    assert found.missing_by_arm == (0, 12)
    assert found.incomplete_cases == 12
    assert found.worst is not None
    assert found.best is not None
    assert found.imputed is not None
    assert found.worst.estimate < found.imputed.test.estimate < found.best.estimate
    assert found.worst.claimed == (found.worst.lower_bound > -0.5)
    assert found.imputed.test.estimate == pytest.approx(compare_by_case_means(scores, 0.5).estimate, abs=0.15)
    again = missing.sensitivity(holes, (1, 5), 0.5, 0.025, np.random.default_rng(2))
    assert again == found
    many = scores.copy()
    many[1, :, :30] = np.nan
    tipped = missing.sensitivity(many, (1, 5), 0.5, 0.025, np.random.default_rng(2))
    assert tipped.imputed is not None
    assert tipped.imputed.test.claimed
    assert tipped.tipping_shift is not None


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
