"""Studies of three and more arms: protocol, crossover, export, blind check, analysis."""

import hashlib
import json
from collections import Counter
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests
from study_maker import PASSPHRASE, make_study, write_images, write_protocol

from reader_study.allocation import allocate
from reader_study.analysis import analyse
from reader_study.analysis_result import as_mapping as as_two_arms
from reader_study.blind_check import BlindCheck, Pair, check_pairs
from reader_study.crossover import sittings, williams
from reader_study.export import dicom_pairs, export_study
from reader_study.family import Family
from reader_study.handed_out import exported
from reader_study.observations import from_sheets, versus
from reader_study.pair_folders import find_pairs
from reader_study.protocol import load_protocol
from reader_study.provenance import Provenance
from reader_study.report_files import write_report
from reader_study.seal import open_key
from reader_study.several_arms import analyse_arms, as_mapping
from reader_study.sheet import BlindingGuess, Response, Sheet
from reader_study.statistics.hypothesis_test import t_test
from reader_study.statistics.simultaneous import adjusted, decide
from reader_study.study import open_study
from recon.errors import ReconError

SEED = "5" * 64
ARMS = [
    {"name": "soc", "role": "reference", "description": "standard of care"},
    {"name": "dm", "role": "new", "description": "diffusion model"},
    {"name": "wavelet", "role": "new", "description": "L1-wavelet"},
]
HOLM = {"procedure": "holm"}


def three_arms(**changes):
    sessions = {"count": 3, "separation": 1}
    return {"arms": ARMS, "comparisons": HOLM, "sessions": sessions, "cases": 12, **changes}


@pytest.mark.parametrize("arms", [3, 4, 5])
def test_williams_designs_balance_places_and_neighbours(arms):
    design = williams(arms)
    places = Counter((place, arm) for row in design for place, arm in enumerate(row))
    neighbours = Counter(pair for row in design for pair in pairwise(row))
    assert len(set(places.values())) == len(set(neighbours.values())) == 1
    assert len(places) == arms**2
    assert len(neighbours) == arms * (arms - 1)


def test_no_session_shows_two_arms_of_a_case(tmp_path):
    for sessions in (3, 4, 5):
        changes = three_arms(sessions={"count": sessions, "separation": 1}, cases=13, repeats=3)
        protocol = load_protocol(write_protocol(tmp_path / f"{sessions}.yaml", **changes))
        rows = allocate(protocol, SEED)
        for reader in ("R1", "R2"):
            mine = [row for row in rows if row.reader == reader and row.kind != "training"]
            assert Counter(row.arms for row in mine if row.kind == "main") == {
                ("soc",): 13, ("dm",): 13, ("wavelet",): 13,
            }  # fmt: skip
            for session in range(1, sessions + 1):
                arms = {}
                for row in mine:
                    if row.session == session:
                        arms.setdefault(row.case, set()).add(row.arms)
                assert all(len(shown) == 1 for shown in arms.values())
            first = {(row.case, row.arms): (row.session, row.order) for row in mine if row.kind == "main"}
            repeats = [row for row in mine if row.kind == "repeat"]
            assert len(repeats) == 9
            assert all(first[row.case, row.arms] < (row.session, row.order) for row in repeats)


def test_arms_are_balanced_over_the_sessions_and_readers_go_on_in_the_design(tmp_path):
    readers = [{"id": f"R{index}", "experience": "none"} for index in range(1, 7)]
    protocol = load_protocol(write_protocol(tmp_path / "p.yaml", **three_arms(readers=readers)))
    rows = [row for row in allocate(protocol, SEED) if row.kind == "main"]
    counts = Counter((row.reader, row.session, row.arms[0]) for row in rows)
    assert set(counts.values()) == {4}
    orders = {}
    for row in sorted(rows, key=lambda row: row.session):
        orders.setdefault((row.case, row.reader), []).append(row.arms[0])
    for case in protocol.case_ids:
        assert len({tuple(orders[case, reader["id"]]) for reader in readers}) == 6
    assert sittings(0, 3, 1) == (0, 0, 0)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"comparisons": None}, "need the key 'comparisons'"),
        ({"sessions": {"count": 2}}, "need 3 sessions or more"),
        ({"mode": "preference"}, "need mode 'independent'"),
        ({"arms": ARMS[:2]}, "is for three and more arms"),
        ({"arms": ARMS[1:]}, "one arm with role 'reference'"),
        ({"comparisons": {"procedure": "fixed-sequence", "order": ["dm"]}}, "each new arm once"),
        ({"comparisons": {"procedure": "holm", "order": ["dm", "wavelet"]}}, "has no 'order'"),
    ],
)
def test_protocols_of_several_arms_say_how_they_share_the_error_rate(tmp_path, changes, text):
    with pytest.raises(ReconError, match=text):
        load_protocol(write_protocol(tmp_path / "p.yaml", **three_arms(**changes)))


def test_two_arms_keep_their_hash(tmp_path):
    """As it was before there were more arms: frozen studies stay valid."""
    protocol = load_protocol(write_protocol(tmp_path / "p.yaml"))
    assert "comparisons" not in protocol.as_mapping()
    assert protocol.hash == "6b5c44d724235635f81c1df78eec211ebfbdb118c92608b7bd880533ca844c8a"
    drawn = hashlib.sha256(repr(allocate(protocol, SEED)).encode()).hexdigest()
    assert drawn == "77694002e258bc4e79f7f008e07ccee2b0cb8209938b5124b2cc4b28c0fb0b15"
    with_three = load_protocol(write_protocol(tmp_path / "three.yaml", **three_arms()))
    assert with_three.versus("wavelet").arm_names == ("soc", "wavelet")
    with pytest.raises(ValueError, match="too many values"):
        _ = with_three.new


def export_three(folder, **changes):
    study, _ = make_study(folder, **three_arms(**changes))
    protocol = open_study(study).protocol
    images = write_images(
        folder / "images", [*protocol.case_ids, *protocol.training_cases], arms=("soc", "dm", "wavelet")
    )
    return study, export_study(study, images, PASSPHRASE, seed=SEED, work_factor=2**4)


@pytest.fixture(scope="module")
def exported_three(tmp_path_factory):
    return export_three(tmp_path_factory.mktemp("three"))


def opened(study):
    known = open_study(study)
    details = exported(known.entries).details
    key = open_key(study / "key.sealed", PASSPHRASE, details["sealed_key_sha256"], details["commitment"])
    return known, key


def test_an_export_of_three_arms_checks_every_pair_of_arms(exported_three):
    study, outcome = exported_three
    assert outcome.passed, outcome
    assert outcome.check.pairs == outcome.viewer_check.pairs == 3 * 13
    known, key = opened(study)
    assert len(key.images) == 3 * 13
    pairs = dicom_pairs(study, known.protocol, key)
    arm = {image.id: image.arm for image in key.images}
    for pair in pairs:
        assert (arm[pair.first[0].parent.name], arm[pair.second[0].parent.name]) == pair.arms
    assert Counter(pair.arms for pair in pairs) == dict.fromkeys(combinations(known.protocol.arm_names, 2), 13)


def test_a_leak_between_two_new_arms_is_found(exported_three, tmp_path):
    study, _ = exported_three
    known, key = opened(study)
    pairs = dicom_pairs(study, known.protocol, key)
    spoilt = []
    for pair in pairs:
        if pair.arms != ("dm", "wavelet"):
            spoilt.append(pair)
            continue
        copy = tmp_path / pair.second[0].parent.name / pair.second[0].name
        copy.parent.mkdir()
        copy.write_bytes(pair.second[0].read_bytes() + b"\0\0")
        spoilt.append(Pair(pair.case, pair.first, (copy, *pair.second[1:]), pair.arms))
    verdict = check_pairs(spoilt)
    assert isinstance(verdict, BlindCheck)
    assert not verdict.passed
    assert check_pairs(pairs).passed


@pytest.mark.parametrize("spoil", ["brightness", "matrix", "patient"])
def test_the_third_arm_is_held_against_the_others(tmp_path, spoil):
    import nibabel

    study, _ = make_study(tmp_path, **three_arms())
    protocol = open_study(study).protocol
    images = write_images(
        tmp_path / "images", [*protocol.case_ids, *protocol.training_cases], arms=("soc", "dm", "wavelet")
    )
    path = tmp_path / "images" / "wavelet" / "C003.nii"
    image = nibabel.load(path)
    pixels = np.asarray(image.get_fdata(), np.float32)
    if spoil == "patient":
        pixels = np.asarray(nibabel.load(tmp_path / "images" / "soc" / "C004.nii").get_fdata(), np.float32) + 1
    changed = {"brightness": pixels * 3, "matrix": pixels[:-2], "patient": pixels}[spoil]
    nibabel.save(nibabel.Nifti1Image(changed, image.affine), path)
    text = {"brightness": "differ in brightness", "matrix": "bring both to one grid", "patient": "C003"}[spoil]
    with pytest.raises(ReconError, match=text):
        export_study(study, images, PASSPHRASE, seed=SEED, work_factor=2**4)
    assert not (study / "packages").exists()


def test_holm_and_fixed_sequence_by_hand():
    p = np.array([0.02, 0.001, 0.04])
    assert adjusted(p) == pytest.approx([0.04, 0.003, 0.04])
    many = np.random.default_rng(0).uniform(size=(5, 4))
    assert adjusted(many) == pytest.approx(np.array([multipletests(row, method="holm")[1] for row in many]))
    assert adjusted(p, [1, 2, 0]) == pytest.approx([0.04, 0.001, 0.04])
    assert adjusted(np.stack([p, p]), [0, 1, 2])[1] == pytest.approx([0.02, 0.02, 0.04])


def z_tests(estimates, margin=0.5, alpha=0.025):
    return [t_test(e, 0.1, np.inf, cases=50, margin=margin, alpha=alpha, method="z") for e in estimates]


def test_bounds_fit_the_procedure():
    """Holm: what fails is bounded at alpha over the number that fail; what is claimed, by the margin."""
    a, b = decide(["a", "b"], z_tests([0.0, -0.45]))
    assert a.claimed
    assert a.lower_bound == -0.5
    assert not b.claimed
    assert b.lower_bound == pytest.approx(-0.45 - 0.1 * 1.959964)
    assert (b.low, b.high) == pytest.approx((-0.45 - 0.1 * 2.241403, -0.45 + 0.1 * 2.241403))
    both = decide(["a", "b"], z_tests([0.0, 0.1]))
    assert [one.lower_bound for one in both] == pytest.approx([-0.2241403, 0.1 - 0.2241403])
    c, d = decide(["a", "b"], z_tests([0.0, -0.45]), order=[1, 0])
    assert not c.claimed  # the gate before it stayed shut
    assert c.p_value < 0.001
    assert c.lower_bound == -np.inf
    assert d.lower_bound == pytest.approx(-0.45 - 0.1 * 1.959964)


@pytest.mark.parametrize("order", [[], [0, 1]])
@pytest.mark.parametrize("truth", [(-0.5, -0.5), (-0.45, -0.2)])
def test_claims_and_bounds_hold_together(order, truth):
    """1000 families of two z tests, correlated .5: no false claim beyond alpha, all bounds right at 1 - alpha."""
    rng = np.random.default_rng(3)
    drawn = rng.multivariate_normal(truth, 0.01 * np.array([[1, 0.5], [0.5, 1]]), 1000)
    wrong = false = outside = 0
    for row in drawn:
        found = decide(["a", "b"], z_tests(row, alpha=0.05), order)
        false += any(one.claimed and true <= -0.5 for one, true in zip(found, truth, strict=True))
        wrong += any(one.lower_bound > true for one, true in zip(found, truth, strict=True))
        outside += any(not one.low < true < one.high for one, true in zip(found, truth, strict=True))
        assert all(one.claimed <= (one.lower_bound >= -0.5) for one in found)
    limit = 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1000)
    assert false / 1000 < limit
    assert wrong / 1000 < limit
    assert outside / 1000 < 0.1 + 3 * np.sqrt(0.1 * 0.9 / 1000)


def sheets_of(study, key, effects, seed=1, spread=0.4):
    """Signed sheets of simulated readers; ``effects``: points by arm."""
    rng = np.random.default_rng(seed)
    known = open_study(study)
    cases = {case: rng.normal(0, 0.5) for case in known.protocol.case_ids}
    planned = {row.id: row for row in key.presentations}
    sheets = []
    for package in known.packages:
        folder = study / package.folder
        text = (folder / "package.js").read_text()
        content = json.loads(text[text.index("(") + 1 : text.rindex(")")])
        responses = []
        for entry in package.presentations:
            row = planned[entry.id]
            latent = 3.5 + cases.get(row.case, 0) + effects[row.arms[0]] + rng.normal(0, spread)
            scores = {"overall": int(np.clip(np.rint(latent), 1, 5)), "noise": int(rng.integers(1, 4))}
            times = ("2026-01-05T09:00:00Z", "2026-01-05T09:01:00Z")
            responses.append(
                Response(entry.id, entry.order, entry.training, scores, (), "", 20.0, *times, tuple(entry.images))
            )
        guesses = tuple(BlindingGuess(entry.id, "new") for entry in package.presentations if entry.guess)
        sheets.append(
            Sheet(
                known.protocol.hash, package.id, package.reader, package.session, *times, tuple(responses), guesses
            ).signed(content["signing_key"])
        )
    return sheets


@pytest.fixture(scope="module")
def analysed(exported_three):
    study, _ = exported_three
    known, key = opened(study)
    sheets = sheets_of(study, key, {"soc": 0.0, "dm": 0.6, "wavelet": -0.9})
    found = from_sheets(known.protocol, key.presentations, sheets)
    return known.protocol, found, analyse_arms(known.protocol, found, replicates=50)


def test_each_comparison_is_the_analysis_of_its_two_arms(analysed):
    protocol, found, family = analysed
    assert found.scores["overall"].shape == (3, 2, 12)
    for new, part in zip(("dm", "wavelet"), family.comparisons, strict=True):
        alone = analyse(protocol.versus(new), versus(found, protocol, new), replicates=50)
        assert part.primary.planned == alone.primary.planned
        assert as_two_arms(part)["items"] == as_two_arms(alone)["items"]
    dm, wavelet = family.comparisons
    assert dm.decision["estimate"] == pytest.approx(
        float((found.scores["overall"][1] - found.scores["overall"][0]).mean())
    )
    assert [one.name for one in family.together] == ["dm", "wavelet"]
    assert dm.claimed
    assert not wavelet.claimed
    assert family.equality.df_numerator == 2
    values = as_mapping(family)
    assert values["protocol_hash"] == protocol.hash
    assert [row["new"] for row in values["comparisons"]] == ["dm", "wavelet"]
    json.dumps(values, allow_nan=False)


def test_guesses_tell_the_reference_from_any_new_arm(analysed):
    _, found, family = analysed
    by_arm = {}
    for row in found.guesses:
        correct, wrong = by_arm.get(row.arm, (0, 0))
        by_arm[row.arm] = (correct + row.correct, wrong + row.wrong)
    assert by_arm["wavelet"][1] == 0  # "new" is right of every new arm
    assert by_arm.get("soc", (0, 0))[0] == 0
    assert all("dm" not in name for name in family.comparisons[1].results["blinding"].bang)


def test_a_gate_keeps_later_arms_from_a_claim(analysed):
    protocol, found, family = analysed
    gated = replace(protocol, comparisons=Family("fixed-sequence", ("wavelet", "dm")))
    later = analyse_arms(gated, found, replicates=50)
    assert family.comparisons[0].claimed
    assert not later.comparisons[0].claimed
    assert later.together[0].p_adjusted == later.together[1].p_value


def test_the_report_says_what_is_claimed_together(analysed, tmp_path):
    protocol, found, family = analysed
    written = write_report(tmp_path, family, found, Provenance("study", "1", "0" * 64))
    page = written["report.md"].read_text()
    assert "dm was non-inferior to soc" in page
    assert "Non-inferiority of wavelet to soc" in page
    assert "adjusted p" in page
    assert "share one error rate: Holm's step-down procedure" in page
    for new in ("dm", "wavelet"):
        assert f"## {new} against soc: Results" in page
        assert f"figures/{new}-forest.svg" in page
        assert f"figures/{new}-forest.svg" in written
    values = json.loads(written["analysis.json"].read_text())
    assert values["format"] == "recon-reader-analysis-arms-1"
    assert protocol.hash[:16] in page
    rows = written["scores.csv"].read_text().splitlines()
    assert sum(",wavelet," in row for row in rows) == sum(",soc," in row for row in rows) > 0
    assert "dm: 12 complete in the primary analysis; wavelet: 12 complete" in page


def test_a_missing_reading_is_told_of_its_own_comparison(analysed, tmp_path):
    protocol, found, _ = analysed
    scores = {name: values.copy() for name, values in found.scores.items()}
    scores["overall"][2, 0, 0] = np.nan  # wavelet, first reader, first case
    family = analyse_arms(protocol, replace(found, scores=scores), replicates=50)
    page = write_report(tmp_path, family, found, Provenance("s", "1", "0" * 64))["report.md"].read_text()
    assert "dm: no score of the primary item is missing; wavelet: 1 scores of the primary item missing" in page


def test_a_table_of_three_arms_is_checked_by_every_two(exported_three, tmp_path):
    study, _ = exported_three
    _, key = opened(study)
    lines = [f"{image.case},{image.arm},{study / 'dicom' / image.id}" for image in key.images]
    table = tmp_path / "pairs.csv"
    table.write_text("case,arm,path\n" + "\n".join(lines) + "\n")
    pairs = find_pairs(study, table)
    assert set(Counter(pair.arms for pair in pairs).values()) == {13}
    assert check_pairs(pairs).pairs == 39


def test_plan_says_what_is_compared(run_cli, tmp_path):
    gate = {"procedure": "fixed-sequence", "order": ["wavelet", "dm"]}
    plan = ["reader-study", "plan", write_protocol(tmp_path / "p.yaml", **three_arms(comparisons=gate))]
    assert "dm, wavelet, each against soc (fixed-sequence, wavelet then dm)" in run_cli(*plan).out
    assert run_cli(*plan, "--json").json["arms"] == ["soc", "dm", "wavelet"]
