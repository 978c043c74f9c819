"""The power simulation against formulas and against the analysis itself."""

import numpy as np
import pytest
from study_maker import protocol_mapping, write_protocol

from reader_study.power import design_of, planned_claims, simulate
from reader_study.power_arms import family_claims, scenarios, simulate_family
from reader_study.power_options import AreaAssumptions, Assumptions
from reader_study.power_scores import Design, draw_scores, latent_means
from reader_study.protocol import Protocol
from reader_study.statistics import obuchowski_rockette
from reader_study.statistics.non_inferiority import compare_by_case_means
from reader_study.statistics.simultaneous import decide
from recon.configuration import from_mapping
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
            components = obuchowski_rockette.components_of_pairs(study)
            expected = obuchowski_rockette.difference(components, 0.3).claimed
        assert claimed == expected
    assert 0 < claims.sum() < 60


ARMS = [
    {"name": "soc", "role": "reference", "description": "standard of care"},
    {"name": "dm", "role": "new", "description": "diffusion model"},
    {"name": "wavelet", "role": "new", "description": "L1-wavelet"},
]


@pytest.mark.parametrize("family", [{"procedure": "holm"}, {"procedure": "fixed-sequence", "order": ["wavelet", "dm"]}])
@pytest.mark.parametrize("readers", ["fixed", "random"])
def test_the_simulated_family_is_the_one_that_analyze_decides(tmp_path, family, readers):
    """Study by study against the scalar functions, for three arms."""
    people = [{"id": f"R{index}", "experience": "none"} for index in range(3)]
    values = protocol_mapping(cases=12, arms=ARMS, comparisons=family, readers=people)
    values["primary"] |= {"readers": readers, "margin": 0.3}
    protocol = from_mapping(Protocol, values, "here")
    design = design_of(protocol)
    assert design.arms == 3
    latent = (*latent_means(design, Assumptions(), 0.1), latent_means(design, Assumptions(), 0.0)[1])
    studies = draw_scores(design, Assumptions(), latent, 40, np.random.default_rng(12))
    order = [protocol.compared.index(name) for name in protocol.comparisons.order]
    claims = family_claims(design, studies, order)
    for study, claimed in zip(studies, claims, strict=True):
        tests = []
        for arm in (1, 2):
            pair = study[[0, arm]]
            if readers == "fixed":
                tests.append(compare_by_case_means(pair, 0.3))
            else:
                tests.append(obuchowski_rockette.difference(obuchowski_rockette.components_of_pairs(pair), 0.3))
        assert [one.claimed for one in decide(protocol.compared, tests, order)] == claimed.tolist()
    assert 0 < claims.sum() < claims.size


def test_the_familywise_error_is_held_where_unadjusted_tests_lose_it(tmp_path):
    values = protocol_mapping(cases=30, arms=ARMS, comparisons={"procedure": "holm"})
    protocol = from_mapping(Protocol, values, "here")
    design, assumptions = design_of(protocol), Assumptions(case_arm=0.5)
    both = (assumptions, AreaAssumptions())
    first, *alone, last = scenarios(protocol, (0.0, 0.1))
    assert (first, alone, last) == ((-0.5, -0.5), [(-0.5, 0.1), (0.0, -0.5)], (0.0, 0.1))
    null = simulate_family(protocol, design, both, first, 6000, np.random.default_rng(13))
    assert null.any_claimed == null.false_claim < 0.031
    half = simulate_family(
        protocol, design, (assumptions, AreaAssumptions()), alone[0], 6000, np.random.default_rng(14)
    )
    assert half.claimed[0] == half.false_claim < 0.031
    assert half.claimed[1] > 0.8
    latent = (latent_means(design, assumptions, -0.5)[0], *[latent_means(design, assumptions, -0.5)[1]] * 2)
    scores = draw_scores(design, assumptions, latent, 6000, np.random.default_rng(15))
    each = [planned_claims(design, scores[:, [0, arm]])[0] for arm in (1, 2)]
    assert np.logical_or(*each).mean() > 0.038


def test_power_of_three_arms_as_typed(run_cli, tmp_path):
    protocol = write_protocol(tmp_path / "p.yaml", arms=ARMS, comparisons={"procedure": "holm"})
    words = ["reader-study", "power", protocol, "--replicates", 200, "--effect", 0, "--effect", -0.1]
    found = run_cli(*words, "--json")
    assert found.code == 0, found.err
    assert [row["effects"] for row in found.json["rows"]] == [[-0.5, -0.5], [-0.5, -0.1], [0.0, -0.5], [0.0, -0.1]]
    assert found.json["procedure"] == "holm"
    assert "familywise error" in run_cli(*words).out
    assert run_cli(*words, "--effect", 0).code == 2
