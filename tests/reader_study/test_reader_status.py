"""The coordinator's view: status, what comes next, and what cannot be undone after the export."""

import shutil
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from test_reader_analysis import Built, write_protocol

from reader_study import unblinding
from reader_study.analyses.reliability import RELIABILITY
from reader_study.analysis import analyse
from reader_study.checklists import claim_2024
from reader_study.claim import claim
from reader_study.deviations import log_deviation
from reader_study.report import document
from reader_study.scores import collect
from reader_study.status import study_status
from reader_study.study import freeze, open_study
from reader_study.unsealing import log_sheet
from recon.errors import ReconError


@pytest.fixture
def built(tmp_path):
    return Built(tmp_path)


def now(built):
    return study_status(open_study(built.folder))


def test_status_goes_from_the_plan_to_the_open_key(tmp_path):
    planned, _ = freeze(write_protocol(tmp_path / "protocol.yaml"), tmp_path / "planned")
    assert study_status(planned).phase == "planned"
    assert "reader-study export" in study_status(planned).following[0]

    built = Built(tmp_path / "built")
    assert now(built).phase == "exported"
    assert [step.split(":")[0] for step in now(built).following] == ["reader R1, session 1", "reader R2, session 1"]

    inbox = built.folder / "sheets"
    built.write(inbox, built.sheets[:1])
    found = now(built)
    assert found.phase == "reading"
    assert [sitting.state for sitting in found.sittings] == ["complete", *["not returned"] * 3]
    assert "check" in found.following[0]  # it has not been logged
    ended = datetime.fromisoformat(found.sittings[0].ended)
    due = (ended + timedelta(weeks=built.protocol.sessions.washout_weeks)).date()
    assert (
        f"reader R1, session 2: hand out {built.folder / 'packages/R1-session-2'}, not before {due}"
        in found.following[1]
    )

    for sheet in collect(open_study(built.folder), [inbox]).sheets:
        log_sheet(open_study(built.folder), sheet)
    assert not [step for step in now(built).following if "check" in step]
    built.write(inbox, built.sheets[:3])
    log_deviation(built.folder, "missing", "R2 fell ill", "R2", 2)
    found = now(built)
    assert found.phase == "complete"
    assert found.sittings[3].state == "missing, excused"
    assert found.deviations == ("missing, reader R2, session 2: R2 fell ill",)
    assert "reader-study unseal" in found.following[-1]
    built.open_key(inbox)
    assert "reader-study analyze" in now(built).following[0]


def test_status_counts_missing_readings_and_names_a_bad_sheet(built, run_cli):
    kept = built.sheets[0].responses[:-2]
    built.write(built.folder / "sheets", [built.resigned(0, responses=kept), *built.sheets[1:]])
    outcome = run_cli("reader-study", "status", built.folder, "--json")
    assert outcome.code == 0
    first = outcome.json["sittings"][0]
    assert (first["missing"], first["state"]) == (2, f"2 of {first['presentations']} missing")
    assert "reader R1, session 1: 2 readings are missing" in "".join(outcome.json["next"])
    built.write(built.folder / "sheets", [replace(built.sheets[0], finished="later")])
    outcome = run_cli("reader-study", "status", built.folder)
    assert outcome.code == 0
    assert "put this right first" in outcome.out
    assert "signature does not match" in outcome.out
    assert "reader R1, session 1: not returned" in outcome.out
    assert "reader R2, session 2: complete" in outcome.out  # one bad sheet hides none of the others


def test_a_changed_protocol_cannot_orphan_an_export(built, tmp_path):
    """'plan --reason' made every package worthless, without a word."""
    other = write_protocol(tmp_path / "other.yaml", margin=0.4)
    with pytest.raises(ReconError, match=r"was exported under the frozen protocol.*new study folder"):
        freeze(other, built.folder, "a better margin")
    assert open_study(built.folder).packages
    assert open_study(built.folder).version == 1


def with_reserve(folder):
    built = Built(folder, reserve=True)
    inbox = built.folder / "sheets"
    return built, inbox, [sheet for sheet in built.sheets if sheet.reader != "R3"]


def test_nobody_waits_for_a_reserve_and_her_sheet_is_refused(tmp_path, run_cli):
    built, inbox, planned = with_reserve(tmp_path)
    built.write(inbox, planned)
    found = now(built)
    assert (found.phase, found.reserves) == ("complete", ("R3",))
    built.write(inbox)
    with pytest.raises(ReconError, match="reader R3 is a reserve who was not called in"):
        built.open_key(inbox)
    shutil.rmtree(inbox)
    built.write(inbox, planned)
    built.open_key(inbox)
    found = unblinding.sealed(built.folder, [inbox])
    assert found.observations.readers == ("R1", "R2")
    refused = run_cli("reader-study", "call-in", built.folder, "R3", "her scores are nicer")
    assert refused.code == 2
    assert "the key was opened" in refused.err


def test_a_reserve_who_was_called_in_replaces_a_lost_reader(tmp_path, run_cli):
    built, inbox, _ = with_reserve(tmp_path)
    assert run_cli("reader-study", "call-in", built.folder, "R1", "as well").code == 2
    done = run_cli("reader-study", "call-in", built.folder, "R3", "R2 fell ill", "--json")
    assert done.code == 0
    assert len(done.json["packages"]) == 2
    log_deviation(built.folder, "missing", "R2 fell ill", "R2")
    built.write(inbox, [sheet for sheet in built.sheets if sheet.reader != "R2"])
    assert now(built).phase == "complete"
    built.open_key(inbox)
    found = unblinding.sealed(built.folder, [inbox])
    assert found.observations.readers == ("R1", "R2", "R3")
    assert any("R3 was called in" in fact for fact in found.provenance.conduct.facts)
    analysis = analyse(found.protocol, found.observations, replicates=50)
    assert analysis.primary.fixed.cases == 12
    assert analysis.primary.random is not None
    assert analysis.primary.random.components.figures.shape == (2, 2)
    assert "these 2 readers" in claim(analysis)  # R2, who is lost, is none of them
    assert set(RELIABILITY.of(analysis.primary)["standard"].pairs) == {"R1 / R3"}
    told = {number: text for number, _, text in claim_2024(analysis, found.provenance)}
    assert told["16"].startswith("Scores by 2 of 3 readers")
    assert "reading-order drift" in told["30"]
    text = document(analysis, found.observations, found.provenance)
    assert ("Readers", "2 of 3, analysed as fixed") in text.facts
    assert "Logged: missing, reader R2: R2 fell ill" in text.limits


def test_plan_and_power_count_who_is_to_read(tmp_path, run_cli):
    path = write_protocol(tmp_path / "plan.yaml")
    text = path.read_text()
    path.write_text(text.replace("3 years}]", "3 years}, {id: R3, experience: none, reserve: true}]"))
    assert "2 readers and 1 in reserve" in run_cli("reader-study", "plan", path).out
    assert "2 fixed readers" in run_cli("reader-study", "power", path, "--replicates", 100).out


def test_a_protocol_without_reserves_keeps_its_hash(built):
    assert "reserve" not in built.protocol.as_mapping()["readers"][0]
    with pytest.raises(ValueError, match="reserves only"):
        replace(built.protocol, readers=tuple(replace(reader, reserve=True) for reader in built.protocol.readers))


def test_an_unfinished_sheet_binds_what_it_says(built):
    """Received on the way, logged, and then handed in complete with another answer."""
    whole = built.sheets[0]
    partial = built.resigned(0, responses=whole.responses[:5], guesses=(), finished="")
    assert log_sheet(open_study(built.folder), partial) is not None
    built.write(built.folder / "sheets", [partial])
    found = now(built)
    assert found.sittings[0].state.startswith("under way")
    assert any("reader R1, session 1" in step and "goes on" in step for step in found.following)
    assert not any("reader R1, session 2: hand out" in step for step in found.following)
    first = whole.responses[1]
    changed = replace(first, scores={**first.scores, "overall": 6 - int(first.scores["overall"]) or 1, "artifacts": 1})
    responses = (whole.responses[0], changed, *whole.responses[2:])
    with pytest.raises(ReconError, match=f"presentation {first.presentation} differs from the one in the unfinished"):
        log_sheet(open_study(built.folder), built.resigned(0, responses=responses))
    assert log_sheet(open_study(built.folder), whole) is not None
