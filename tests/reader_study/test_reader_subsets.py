"""Case subsets by reader: balance, allocation, what is missing, the statistics and the power."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from reader_study.allocation import allocate
from reader_study.case_subsets import achieved
from reader_study.incomplete_blocks import assign, balance, turns
from reader_study.observations import from_sheets
from reader_study.opened_key import read_opened_key
from reader_study.power import design_of, planned_claims, planned_tests, simulate
from reader_study.power_arms import simulate_family
from reader_study.power_options import AreaAssumptions, Assumptions
from reader_study.power_scores import Design, leave_unplanned
from reader_study.protocol import load_protocol
from reader_study.sheet import Response, Sheet
from reader_study.sheet_files import write_sheet
from reader_study.statistics import missing
from reader_study.statistics.interchangeability import interchangeability
from reader_study.statistics.non_inferiority import case_differences, compare_by_case_means
from reader_study.statistics.obuchowski_rockette import components_of_pairs, difference
from reader_study.statistics.reliability import reliability
from reader_study.study import open_study
from recon.errors import ReconError
from tests.reader_study.study_maker import PASSPHRASE, export_small, protocol_mapping, write_protocol

SEED = "5e" * 32
FOUR = [{"id": f"R{index}", "experience": "none"} for index in range(1, 5)]
ASSUMED = (Assumptions(), AreaAssumptions())


def subsets(**changes):
    return {"cases": 12, "readers": FOUR, "readers_per_case": 2, **changes}


@pytest.mark.parametrize(("readers", "size", "cases"), [(5, 2, 40), (7, 3, 14), (4, 2, 11), (3, 1, 10), (6, 5, 12)])
def test_blocks_are_as_even_as_their_numbers_allow(readers, size, cases):
    generator = np.random.default_rng(3)
    planned = assign([cases // 2, cases - cases // 2], readers, size, generator)
    assert (planned.sum(axis=0) == size).all()
    for part in (planned, planned[:, : cases // 2]):
        assert np.ptp(part.sum(axis=1)) <= 1
    found = balance(planned)
    assert found.cases_per_pair[1] - found.cases_per_pair[0] <= 1
    assert found.complete == (
        cases * size % readers == 0 and cases * size * (size - 1) % (readers * (readers - 1)) == 0
    )
    for count in (1, 2, 3, 6):
        dealt = turns(planned, count, generator)
        assert ((dealt >= 0) == planned).all()
        for axis in (0, 1):
            counts = [np.bincount(row[row >= 0], minlength=count) for row in np.moveaxis(dealt, axis, 0)]
            assert all(np.ptp(row) <= 1 for row in counts)


@pytest.mark.parametrize(
    "changes",
    [
        {"sessions": {"count": 2, "separation": 1}, "repeats": 2},
        {"sessions": {"count": 4, "separation": 1}, "repeats": 2},
        {"mode": "preference", "sessions": {"count": 2, "separation": 1}, "repeats": 1},
        {"sessions": {"count": 1, "separation": 1}},
    ],
)
def test_allocation_of_subsets(tmp_path, changes):
    protocol = load_protocol(write_protocol(tmp_path / "p.yaml", **subsets(**changes)))
    rows = [row for row in allocate(protocol, SEED) if row.kind != "training"]
    mains = [row for row in rows if row.kind == "main"]
    read = {(row.reader, row.case): [] for row in mains}
    for row in mains:
        read[row.reader, row.case].append(row)
    assert len(read) == 24
    looks = 1 if protocol.paired else 2
    assert all(len(found) == looks for found in read.values())
    assert achieved(protocol, read).complete  # 12 cases by 2 of 4: each 6, each pair 2
    count = protocol.sessions.count
    if looks == 2 and count > 1:
        assert all(len({row.session for row in found}) == 2 for found in read.values())
    # Which arm comes first (on side A) is even for every reader and case.
    if count > 1:
        first = {at: min(found, key=lambda row: row.session).arms[0] == "soc" for at, found in read.items()}
        for position in (0, 1):
            for name in {at[position] for at in first}:
                own = [value for at, value in first.items() if at[position] == name]
                assert abs(2 * sum(own) - len(own)) == 0
    repeats = Counter(row.reader for row in rows if row.kind == "repeat")
    assert all(repeats[reader["id"]] == looks * protocol.repeats for reader in FOUR)
    assert {(row.reader, row.case) for row in rows if row.kind == "repeat"} <= set(read)


def test_subsets_of_three_arms_keep_their_orders(tmp_path):
    arms = [*protocol_mapping()["arms"], {"name": "third", "role": "new", "description": "another"}]
    changes = subsets(arms=arms, comparisons={"procedure": "holm"}, sessions={"count": 3, "separation": 1}, repeats=2)
    protocol = load_protocol(write_protocol(tmp_path / "p.yaml", **changes))
    rows = [row for row in allocate(protocol, SEED) if row.kind == "main"]
    orders = {}
    for row in sorted(rows, key=lambda row: row.session):
        orders.setdefault((row.reader, row.case), []).append(row.arms[0])
    assert len(orders) == 24
    assert all(sorted(order) == ["dm", "soc", "third"] for order in orders.values())
    for reader in FOUR:  # six cases, six orders
        assert len({tuple(order) for (name, _), order in orders.items() if name == reader["id"]}) == 6
    for case in protocol.case_ids:
        assert len({tuple(order) for (_, name), order in orders.items() if name == case}) == 2
    found = simulate_family(protocol, design_of(protocol), ASSUMED, (0.0, 0.0), 200, np.random.default_rng(0))
    whole = replace(design_of(protocol), readers_per_case=None)
    usual = simulate_family(protocol, whole, ASSUMED, (0.0, 0.0), 200, np.random.default_rng(0))
    assert 0 < found.all_claimed < usual.all_claimed


def test_subsets_share_cohorts_and_truth_evenly(tmp_path):
    cases = {"one": [f"A{index}" for index in range(8)], "two": [f"B{index}" for index in range(8)]}
    items = protocol_mapping()["items"]
    items[1] = {**items[1], "direction": "higher-is-present"}
    truth = {
        "condition": "x",
        "standard": "y",
        "diseased": cases["one"][:4],
        "not_diseased": cases["one"][4:] + cases["two"],
    }
    protocol = load_protocol(write_protocol(tmp_path / "p.yaml", **subsets(cases=cases, items=items, truth=truth)))
    rows = {(row.reader, row.case) for row in allocate(protocol, SEED) if row.kind == "main"}
    for part, each in ((truth["diseased"], 2), (cases["one"], 4), (cases["two"], 4)):
        assert set(Counter(reader for reader, case in rows if case in part).values()) == {each}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"readers_per_case": 4}, "between 1 and 3"),
        ({"readers_per_case": 1, "cases": 4}, "too few"),
        ({"repeats": 7}, "too few"),
        ({"readers": [*FOUR[:3], {**FOUR[3], "reserve": True}]}, "leaves no cases for a reserve"),
    ],
)
def test_impossible_subsets_are_refused(tmp_path, changes, text):
    with pytest.raises(ReconError, match=text):
        load_protocol(write_protocol(tmp_path / "p.yaml", **subsets(**changes)))


def test_protocols_without_subsets_keep_their_mapping(tmp_path):
    assert "readers_per_case" not in load_protocol(write_protocol(tmp_path / "p.yaml")).as_mapping()


def test_plan_says_how_even_the_subsets_are(run_cli, tmp_path):
    protocol = write_protocol(tmp_path / "p.yaml", **subsets())
    said = run_cli("reader-study", "plan", str(protocol)).out
    assert "each reader 6 cases, each two readers share 2 (a balanced incomplete block design)" in said
    found = json.loads(run_cli("reader-study", "plan", str(protocol), "--json").out)["subsets"]
    assert found["cases_per_pair"] == [2, 2]
    assert found["balanced_incomplete_blocks"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return export_small(tmp_path_factory.mktemp("subsets"), **subsets())


def answer(study, leave=0):
    """Signed sheets of all readers, ``leave`` presentations unanswered in the first; scores tell nothing."""
    rng = np.random.default_rng(4)
    folder = study / "sheets"
    folder.mkdir(exist_ok=True)

    def scores():
        return {"overall": int(rng.integers(2, 6)), "noise": 1}

    for index, package in enumerate(open_study(study).packages):
        content = (study / package.folder / "package.js").read_text()
        jwk = json.loads(content[content.index("(") + 1 : content.rindex(")")])["signing_key"]
        asked = [entry for entry in package.presentations if not entry.training]
        asked = asked[: len(asked) - leave] if index == 0 else asked
        responses = tuple(
            Response(entry.id, entry.order, False, scores(), (), "", 5.0, "", "", entry.images) for entry in asked
        )
        sheet = Sheet(
            open_study(study).protocol.hash, package.id, package.reader, package.session, "", "x", responses, ()
        )
        write_sheet(folder / f"{package.reader}.json", sheet.signed(jwk))
    return folder


def test_what_was_not_planned_is_not_missing(run_cli, exported, tmp_path):
    answer(exported)
    assert "complete" in run_cli("reader-study", "status", str(exported)).out
    secret = tmp_path / "secret"
    secret.write_text(PASSPHRASE)
    run_cli("reader-study", "unseal", str(exported), "--reason", "done", "--passphrase-file", str(secret))
    run_cli("reader-study", "analyze", str(exported), "--out", str(tmp_path / "report"))
    found = json.loads((tmp_path / "report" / "analysis.json").read_text())
    overall = found["items"][0]
    assert found["decision"]["cases"] == 12
    text = (tmp_path / "report" / "report.md").read_text()
    assert "No score is missing." in text
    assert "each case by 2 of 4 readers" in text
    assert "each two readers share 2 (a balanced incomplete block design)" in text
    assert set(json.dumps(overall))
    assert "ICC(1,1)" in json.dumps(overall)
    assert "ICC(2,1)" not in json.dumps(overall)
    key = read_opened_key(exported / "key.opened.json")
    observed = from_sheets(open_study(exported).protocol, key.presentations, ())
    assert observed.planned.sum() == 24


def planned_scores(seed, size=2, readers=4, cases=24):
    rng = np.random.default_rng(seed)
    scores = np.clip(np.rint(rng.normal(3.5, 0.8, (1, 2, readers, cases)) + rng.normal(0, 0.5, cases)), 1, 5)
    scores = leave_unplanned(scores, size, rng)[0]
    return scores, np.isfinite(scores[0])


def test_statistics_count_what_was_planned():
    scores, planned = planned_scores(0)
    by_case = case_differences(scores, planned)
    assert by_case == pytest.approx(np.nanmean(scores[1] - scores[0], axis=0))
    assert case_differences(scores).size == 0
    none = missing.sensitivity(scores, planned, (1, 5), 0.5, 0.025, np.random.default_rng(0))
    assert none.missing_scores == 0
    assert none.worst is None
    reader, case = np.argwhere(planned)[0]
    holed = scores.copy()
    holed[1, reader, case] = np.nan
    one = missing.sensitivity(holed, planned, (1, 5), 0.5, 0.025, np.random.default_rng(0))
    assert one.missing_by_arm == (0, 1)
    assert one.incomplete_cases == 1
    assert one.worst.estimate <= compare_by_case_means(holed, 0.5).estimate
    assert one.imputed.test.estimate == pytest.approx(compare_by_case_means(scores, 0.5).estimate, abs=0.1)
    assert case_differences(holed, planned).size == 23
    # By hand, pair by pair of a case's own readers.
    across, within = [], []
    for column in range(scores.shape[2]):
        first, second = np.flatnonzero(planned[:, column])
        across += [
            np.mean([scores[1, a, column] != scores[0, b, column] for a, b in ((first, second), (second, first))])
        ]
        within += [scores[0, first, column] != scores[0, second, column]]
    same = interchangeability(scores, planned, np.random.default_rng(0), replicates=10)
    assert (same.disagree_new_reference, same.disagree_reference_reference) == pytest.approx(
        (np.mean(across), np.mean(within))
    )
    agreed = reliability(scores[0], tuple("abcd"), (1, 2, 3, 4, 5), planned)
    assert set(agreed.intraclass) == {"ICC(1,1)", "ICC(1,k)"}
    assert len(agreed.pairs) == 6
    assert reliability(scores[0], tuple("abcd"), (1, 2, 3, 4, 5), np.ones_like(planned)) is None


@pytest.mark.parametrize("fixed", [True, False])
def test_the_simulated_test_is_the_one_that_analyze_runs(fixed):
    design = Design(4, 24, fixed, 0.5, 0.025, (1, 5), readers_per_case=2)
    scores = np.stack([planned_scores(7)[0] for _ in range(1)])
    estimate, error, df, _ = planned_tests(design, scores)
    test = compare_by_case_means(scores[0], 0.5) if fixed else difference(components_of_pairs(scores[0]), 0.5)
    assert (estimate[0], error[0], df[0]) == pytest.approx((test.estimate, test.standard_error, test.df))
    assert planned_claims(design, scores)[0][0] == test.claimed


@pytest.mark.parametrize(("readers", "fixed"), [(4, True), (6, False)])
def test_type_one_error_with_subsets(readers, fixed):
    design = Design(readers, 30, fixed, 0.5, 0.025, (1, 5), readers_per_case=2)
    crossed = Design(readers, 30, fixed, 0.5, 0.025, (1, 5))
    null, usual = (simulate(one, Assumptions(), -0.5, 10_000, np.random.default_rng(1)) for one in (design, crossed))
    assert 0.018 < null.claimed < 0.033
    assert 0.018 < usual.claimed < 0.033
    assert null.claimed >= 0.02
    whole = simulate(crossed, Assumptions(), 0.0, 1000, np.random.default_rng(1))
    part = simulate(design, Assumptions(), 0.0, 1000, np.random.default_rng(1))
    assert part.claimed < whole.claimed
    assert part.analytic == pytest.approx(part.claimed, abs=0.05)
