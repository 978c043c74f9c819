"""Power of areas under a curve: the expected areas of the model, and its tests against those of analyze."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reader_study.power import design_of
from reader_study.power_areas import AreaSimulation, area_test, areas_and_left_out, simulate_areas
from reader_study.power_options import AreaAssumptions, Assumptions
from reader_study.power_ratings import RatingModel
from reader_study.power_scores import Design
from reader_study.protocol import Protocol
from reader_study.statistics import obuchowski_rockette, roc
from reader_study.statistics.figure_of_merit import area_under_curve, leave_one_case_out
from reader_study.statistics.localisation import FIGURES
from recon.configuration import from_mapping
from recon.errors import ReconError
from tests.reader_study.study_maker import protocol_mapping
from tests.reader_study.test_reader_accuracy import mapping as rated
from tests.reader_study.test_reader_localisation import RULE, by_pairs
from tests.reader_study.test_reader_localisation import mapping as marked

KINDS = ["", "afroc", "weighted-afroc", "localisation-roc"]
ASSUMED = Assumptions(reader=0.2, reader_arm=0.1)


def study(kind, fixed=False, **changes):
    """A planned study of 16 cases and three readers by the area that ``kind`` names."""
    values = rated(**changes) if not kind else marked(localisation={**RULE, "figure": kind}, **changes)
    values["primary"] = {**values["primary"], "readers": "fixed" if fixed else "random", "margin": 0.2}
    protocol = from_mapping(Protocol, values, "test")
    return protocol, replace(design_of(protocol), cases=16)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fixed", [True, False])
def test_the_expected_area_is_the_one_that_is_simulated(kind, fixed):
    """Means over many readings against the areas that were asked for, within 4 standard errors."""
    areas = AreaAssumptions(reference_area=0.7, lesions=1.8, places=0.9)
    model = RatingModel(kind, 3, fixed, 4, ASSUMED, areas)
    means, cuts = model.means([0.05, -0.1])
    ratings = model.draw(means, cuts, 10, 10, 1500, np.random.default_rng(3))
    figures, _ = areas_and_left_out(ratings, np.arange(20) < 10, kind)
    by_study = figures.mean(axis=2)
    error = by_study.std(axis=0) / np.sqrt(len(by_study))
    assert np.all(np.abs(by_study.mean(axis=0) - [0.7, 0.75, 0.6]) < 4 * error)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("size", [None, 2])
def test_the_simulated_test_is_the_one_that_analyze_runs(kind, fixed, size):
    """Estimate, standard error and degrees of freedom, study by study, subsets of the cases included."""
    protocol, design = study(kind, fixed, **({} if size is None else {"readers_per_case": size}))
    simulated = AreaSimulation(protocol, design, ASSUMED, AreaAssumptions(), [0.05])
    ratings = simulated.ratings(6, np.random.default_rng(4))
    (found,) = simulated.tests(ratings)
    figure = FIGURES[kind] if kind else area_under_curve
    for index, one in enumerate(ratings):
        if fixed:
            expected = roc.compare_areas(one, simulated.truth, 0.2, figure=figure)
        else:
            expected = obuchowski_rockette.difference(roc.components_of_areas(one, simulated.truth, figure), 0.2)
        assert [part[index] for part in found[:2]] == pytest.approx([expected.estimate, expected.standard_error])
        assert found[2][index] == pytest.approx(expected.df, rel=1e-6) or expected.df == np.inf


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(2, 5), st.sampled_from(KINDS[1:]))
def test_figures_of_marks_are_their_definition(seed, diseased, free, kind):
    """The array form against the sum over pairs, with ties, unmarked lesions and cases without any mark."""
    generator = np.random.default_rng(seed)
    ratings = generator.integers(0, 4, (1, 1, 1, 4, diseased + free)).astype(float)
    truth = np.arange(diseased + free) < diseased
    lesions = generator.integers(1, 4, diseased)
    ratings[..., 1:, ~truth] = np.nan
    for case, count in enumerate(lesions):
        ratings[..., 1 + count :, case] = np.nan
    figures, left_out = areas_and_left_out(ratings, truth, kind)
    assert figures[0, 0, 0] == pytest.approx(by_pairs(ratings[0, 0, 0], truth, kind))
    assert FIGURES[kind](ratings, truth)[0, 0, 0] == pytest.approx(figures[0, 0, 0])
    np.testing.assert_allclose(left_out, leave_one_case_out(FIGURES[kind], ratings, truth))


def test_power_of_areas_by_the_command_line(run_cli, tmp_path):
    """Case truth and marks, two arms and three: what is simulated stands in the result, and more cases help."""
    import yaml

    for name, values in (("rated", rated()), ("marked", marked(cases={"main": [f"C{i:03d}" for i in range(1, 31)]}))):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(values))
        words = ["reader-study", "power", path, "--replicates", 100, "--cases", 20, "--cases", 60, "--effect", 0.0]
        found = run_cli(*words, "--reference-area", 0.75, "--json").json
        assert found["figure"] == ("area under the ROC curve" if name == "rated" else "area under the AFROC curve")
        null, power, _, more = found["rows"]
        assert null["type_1_error"] <= 0.15
        assert more["power"] >= power["power"]
        assert power["diseased"] == round(20 * (7 / 16 if name == "rated" else 0.5))
        assert found["assumptions"]["reference_area"] == 0.75
        again = run_cli(*words, "--reference-area", 0.75, "--json").json
        assert again["rows"] == found["rows"]
        said = run_cli(*words, "--reference-area", 0.75)
        assert "type I error" in said.out
        assert found["figure"] in said.out


def test_power_refuses_assumptions_that_would_do_nothing(run_cli, tmp_path):
    import yaml

    for values, option, message in (
        (protocol_mapping(), "--reference-area", "compared by scores"),
        (rated(), "--lesions", "compared by the area under the ROC curve"),
    ):
        (tmp_path / "plan.yaml").write_text(yaml.safe_dump(values))
        found = run_cli("reader-study", "power", tmp_path / "plan.yaml", "--replicates", 100, option, 0.9)
        assert (found.code, message in found.err) == (2, True)


def test_three_arms_by_their_areas(run_cli, tmp_path):
    """The family's claims rest on each arm's own test."""
    import yaml

    arms = [
        {"name": "soc", "role": "reference", "description": "standard"},
        *({"name": name, "role": "new", "description": name} for name in ("dm", "cs")),
    ]
    changes = {"arms": arms, "comparisons": {"procedure": "holm"}}
    for name, values in (("rated", rated(**changes)), ("marked", marked(**changes))):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(values))
        words = ["reader-study", "power", tmp_path / f"{name}.yaml", "--replicates", 100, "--effect", 0, "--json"]
        found = run_cli(*words)
        assert found.code == 0, found.err
        assert found.json["figure"].startswith("area under the")
        margin = values["primary"]["margin"]
        assert [row["effects"] for row in found.json["rows"]] == [[-margin] * 2, [-margin, 0], [0, -margin], [0, 0]]
        assert found.json["rows"][0]["false_claim"] <= 0.15


def test_power_of_areas_names_what_cannot_be(run_cli, tmp_path):
    import yaml

    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(marked()))
    words = ["reader-study", "power", tmp_path / "plan.yaml", "--replicates", 100]
    for options, message in (
        (["--reference-area", 0.9, "--effect", 0.2], "cannot be"),
        (["--reference-area", 1.2], "between 0 and 1"),
        (["--lesion-cases", 0.05], "cases with the condition"),
        (["--lesions", 0.5], "1 to 20"),
        (["--places", -1], "0 to 20"),
        (["--reference-mean", 3], "--reference-mean is no assumption of this design"),
    ):
        found = run_cli(*words, *options)
        assert (found.code, len(found.err.strip().splitlines())) == (2, 1)
        assert message in found.err


@pytest.mark.parametrize("kind", KINDS)
def test_a_difference_where_nothing_varies_is_no_error(kind):
    """All readers right in both arms: no spread, no warning, no claim of a difference."""
    truth = np.arange(8) < 4
    ratings = np.where(truth, 3.0, 0.0) * np.ones((1, 2, 2, 1, 1)) if kind else np.where(truth, 3.0, 0.0)
    if kind:
        ratings = np.concatenate([np.zeros((1, 2, 2, 1, 8)), np.where(truth, ratings, np.nan)], axis=3)
    else:
        ratings = np.broadcast_to(ratings, (1, 2, 2, 8))
    figures, left_out = areas_and_left_out(ratings, truth, kind)
    for fixed in (True, False):
        estimate, error, df = area_test(figures, left_out, truth, fixed)
        assert (estimate[0], error[0]) == (0, 0)
        assert np.isfinite(df[0])


@pytest.mark.slow
@pytest.mark.parametrize("area", [0.8, 0.9])
@pytest.mark.parametrize("kind", KINDS)
def test_size_and_coverage_of_areas(kind, area):
    """The claim at a difference of the margin, and the coverage of intervals there.

    pytest -m slow -s tests/reader_study/test_reader_power_areas.py
    """
    print()
    for fixed, cases in ((True, 40), (True, 120), (False, 40), (False, 120)):
        protocol, _ = study(kind, fixed)
        design = Design(4, cases, fixed, margin=0.1, alpha=0.025, scale=(1, 5))
        generator = np.random.default_rng([cases, fixed])
        assumed = (ASSUMED, AreaAssumptions(reference_area=area))
        found = simulate_areas(protocol, design, assumed, -0.1, 4000, generator)
        whose = "these 4 readers" if fixed else "4 readers in general"
        print(
            f"| area under the {kind or 'roc'} curve from {area}, {whose}, {cases} cases, non-inferiority | 0.025 "
            f"| {found.claimed:.3f} | – | {found.covered:.3f} |"
        )
        assert found.estimate == pytest.approx(-0.1, abs=0.006)
        assert 0.93 < found.covered < 0.97
        # An area that came out high has too small an error, the more so near 1: the claim comes too often in few cases.
        assert 0.015 < found.claimed < (0.04 if area < 0.9 else 0.055)


def test_too_few_of_either_kind():
    protocol, design = study("")
    with pytest.raises(ReconError, match="with the condition"):
        AreaSimulation(protocol, replace(design, cases=3), ASSUMED, AreaAssumptions(), [0.0])
