"""Adjudication: the disagreements by the protocol's rule, handed blinded to a third reader, and what is analysed."""

import json
import shutil

import numpy as np
import pytest

from reader_study import unblinding
from reader_study.adjudication import adjudicate, disagreements
from reader_study.analysis import analyse
from reader_study.analysis_result import as_mapping
from reader_study.deviations import log_deviation
from reader_study.integrity import verify_files
from reader_study.packages import read_setup
from reader_study.power import design_of, planned_claims
from reader_study.power_adjudication import adjudicated_means, adjudicated_scores
from reader_study.power_adjudication import decided as decided_scores
from reader_study.power_options import Assumptions
from reader_study.protocol import load_protocol
from reader_study.scores import collect
from reader_study.sheet import Response, Sheet
from reader_study.sheet_files import write_sheet
from reader_study.statistics.non_inferiority import compare_by_case_means
from reader_study.status import study_status
from reader_study.study import LOG, open_study
from reader_study.unsealing import unseal
from recon.errors import ReconError
from tests.reader_study.study_maker import PASSPHRASE, export_small, write_protocol

RULE = {"reader": "A1", "experience": "20 years", "items": ["overall"], "difference": 2}


def mark(entry):
    return int(entry.images[0], 16)


def hand_back(study, reader, score):
    """The signed sheet of one reader: ``score`` gives an image's, by the number that its hash makes."""
    for package in open_study(study).packages:
        if package.reader == reader:
            responses = tuple(
                Response(entry.id, entry.order, False, score(mark(entry)), (), "", 5.0, "", "", entry.images)
                for entry in package.presentations
                if not entry.training
            )
            jwk = read_setup(study / package.folder)["signing_key"]
            sheet = Sheet(open_study(study).protocol.hash, package.id, reader, package.session, "", "x", responses, ())
            (study / "sheets").mkdir(exist_ok=True)
            write_sheet(study / "sheets" / f"{reader}-{package.session}.json", sheet.signed(jwk))


def first(mark):
    return {"overall": 3 + mark % 2, "noise": 1}


def second(mark):
    return {"overall": 3 + mark % 2 - 2 * (mark % 3 == 0), "noise": 3}


def third(mark):
    return {"overall": 5}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = export_small(tmp_path_factory.mktemp("adjudication"), adjudication=RULE, cases=8, repeats=1)
    hand_back(folder, "R1", first)
    hand_back(folder, "R2", second)
    return folder


@pytest.fixture
def read(original, tmp_path):
    return shutil.copytree(original, tmp_path / "study")


def sheets(study):
    return collect(open_study(study), [study / "sheets"]).sheets


def test_disagreements_are_found_and_handed_out_without_the_key(read):
    assert "adjudicate" in study_status(open_study(read)).following[-1]
    (read / "key.sealed").rename(read / "away")
    study = open_study(read)
    images = {entry.images[0] for package in study.packages for entry in package.presentations if not entry.training}
    wanted = {image for image in images if int(image, 16) % 3 == 0}
    found, compared = disagreements(study, sheets(read))
    assert (compared, {one.presentation.images[0] for one in found}) == (16, wanted)
    entry = adjudicate(study, sheets(read))
    (read / "away").rename(read / "key.sealed")
    assert verify_files(open_study(read)) == []
    package = open_study(read).packages[-1]
    assert package.reader == "A1"
    assert {one.images[0] for one in package.presentations} == wanted
    shown = read_setup(read / package.folder)
    assert [item["id"] for item in shown["items"]] == ["overall"]
    told = {name: value for name, value in shown.items() if name != "signing_key"}  # random letters may say anything
    assert not any(text in json.dumps(told) for text in ("R1", "R2", "soc", '"dm"', "C00"))
    assert entry.details["reader"] == "A1"
    rows = (read / "worklists" / "A1-session-1.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == [one.id for one in package.presentations]
    assert "reader A1, session 1: hand out" in study_status(open_study(read)).following[-1]
    with pytest.raises(ReconError, match="handed out before"):
        adjudicate(open_study(read), sheets(read))


def test_the_adjudicated_score_is_analysed_and_the_report_says_so(run_cli, read, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(PASSPHRASE)
    opening = ("reader-study", "unseal", read, "--reason", "done", "--passphrase-file", secret)
    assert "not adjudicated yet" in run_cli(*opening).err
    said = run_cli("reader-study", "adjudicate", read, "--json").json
    assert said["compared"] == 16
    assert said["disagreements"] == len(open_study(read).adjudicated.details["shows"])
    assert "readings are missing" in run_cli(*opening).err
    hand_back(read, "A1", third)
    assert run_cli(*opening).code == 0
    assert run_cli("reader-study", "analyze", read, "--out", tmp_path / "report").code == 0
    found = unblinding.sealed(read, [read / "sheets"]).observations
    own, decided = found.scores["overall"], found.decided("overall")
    apart = own[:, 0] != own[:, 1]
    assert apart.sum() == said["disagreements"]
    assert (decided[:, :, :] == np.where(apart[:, None], 5, own)).all()
    assert found.readers == ("R1", "R2")
    assert (found.decided("noise") == found.scores["noise"]).all()
    values = json.loads((tmp_path / "report" / "analysis.json").read_text())
    overall = values["items"][0]
    assert overall["adjudication"]["disagreed"] == overall["adjudication"]["decided"] == apart.sum()
    assert overall["fixed"]["estimate"] == pytest.approx((decided[1] - decided[0]).mean())
    assert overall["adjudication"]["own"]["estimate"] == pytest.approx((own[1] - own[0]).mean())
    assert overall["subsets"]["by_reader"]["R2"]["estimate"] == pytest.approx((own[1, 1] - own[0, 1]).mean())
    assert overall["interchangeability"]["exact"]["disagree_reference_reference"] == pytest.approx(apart[0].mean())
    text = (tmp_path / "report" / "report.md").read_text()
    assert "the score of A1 (20 years) stands in their place" in text
    assert "the score of a third reader, A1, decided" in text
    assert "Readers' own scores, not adjudicated" in text
    assert f"{apart.sum()} of 16 images that two readers or more had scored were handed to A1" in text


def test_power_simulates_adjudication(run_cli, tmp_path):
    """The difference that is analysed is the one asked for, its test that of the analysis, its size the nominal one."""
    protocol = load_protocol(write_protocol(tmp_path / "p.yaml", adjudication=RULE, cases=30))
    design = design_of(protocol)
    means = adjudicated_means(design, Assumptions(), [-0.5])
    drawn = adjudicated_scores(design, Assumptions(), means, 4000, np.random.default_rng(1))
    by_study = (drawn[:, 1] - drawn[:, 0]).mean(axis=(1, 2))
    assert by_study.mean() == pytest.approx(-0.5, abs=4 * by_study.std() / np.sqrt(4000) + 0.005)
    claims, _ = planned_claims(design, drawn[:20])
    assert claims.tolist() == [compare_by_case_means(one, 0.5).claimed for one in drawn[:20]]
    claims, _ = planned_claims(design, drawn)
    assert 0.015 < claims.mean() < 0.035
    said = run_cli("reader-study", "power", tmp_path / "p.yaml", "--replicates", 200, "--json").json
    assert (said["adjudicated_difference"], "not_simulated" in said) == (2, False)
    assert "adjudicated where readers are 2 points" in run_cli("reader-study", "power", tmp_path / "p.yaml").out


def test_simulated_verdicts_stand_where_readers_disagree():
    own = np.array([[1.0, 4.0, np.nan, 3.0], [3.0, 3.0, 5.0, np.nan], [2.0, 4.0, 2.0, np.nan]])
    third = np.array([[5.0, 5.0, 5.0, 5.0]])
    expected = [[5, 4, np.nan, 3], [5, 3, 5, np.nan], [5, 4, 5, np.nan]]
    np.testing.assert_array_equal(decided_scores(own, third, 2), expected)


def test_a_missing_verdict_is_a_deviation_and_the_own_scores_stand(read):
    adjudicate(open_study(read), sheets(read))
    log_deviation(read, "missing", "A1 was not to be had", "A1")
    key = unseal(open_study(read), PASSPHRASE, "done", sheets(read))
    (read / "key.opened.json").write_text(json.dumps(key.as_mapping()))
    found = unblinding.sealed(read, [read / "sheets"])
    assert (found.observations.decided("overall") == found.observations.scores["overall"]).all()
    counts = as_mapping(analyse(found.protocol, found.observations))["items"][0]["adjudication"]
    assert counts["decided"] == 0 < counts["disagreed"]


def test_sheets_exchanged_after_the_adjudication_are_refused(read):
    adjudicate(open_study(read), sheets(read))
    hand_back(read, "A1", third)
    hand_back(read, "R2", first)
    with pytest.raises(ReconError, match="on which the adjudication rests"):
        unseal(open_study(read), PASSPHRASE, "done", sheets(read))


def test_readers_who_agree_need_no_third_one(read):
    hand_back(read, "R2", first)
    entry = adjudicate(open_study(read), sheets(read))
    assert entry.details["shows"] == {}
    assert len(open_study(read).packages) == 2
    assert unseal(open_study(read), PASSPHRASE, "done", sheets(read)).presentations


def test_nothing_is_left_behind_where_a_package_is_gone(read):
    before = (read / LOG).read_bytes()
    for reader in ("R1", "R2"):
        shutil.move(read / "packages" / f"{reader}-session-1", read.parent / reader)
    with pytest.raises(ReconError, match="copy the package of"):
        adjudicate(open_study(read), sheets(read))
    assert (read / LOG).read_bytes() == before
    assert not list((read / "packages").iterdir())
    (read / "sheets" / "R2-1.json").unlink()
    with pytest.raises(ReconError, match="nothing is adjudicated, 1 readings are missing"):
        adjudicate(open_study(read), sheets(read))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"adjudication": {**RULE, "reader": "R1"}}, "stands twice"),
        ({"adjudication": {**RULE, "items": ["blur"]}}, "not an item with a scale"),
        ({"adjudication": {**RULE, "items": []}}, "names no item"),
        ({"adjudication": {**RULE, "difference": 5}}, "no two scores"),
        ({"adjudication": {**RULE, "difference": 0}}, "1 point or more"),
        ({"adjudication": RULE, "mode": "side-by-side"}, "needs mode 'independent'"),
    ],
)
def test_rules_that_cannot_be(tmp_path, changes, text):
    with pytest.raises(ReconError, match=text):
        load_protocol(write_protocol(tmp_path / "p.yaml", **changes))
