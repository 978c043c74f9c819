"""A reader added after the export: packages from the sealed export, a deviation, and scores that count."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from reader_study import audit_log, unblinding
from reader_study.added_reader import add_reader
from reader_study.conduct import conduct
from reader_study.deviations import deviations, log_deviation
from reader_study.integrity import verify_files
from reader_study.log_lines import ADDED
from reader_study.packages import read_setup
from reader_study.redcap import data_dictionary
from reader_study.sheet import Response, Sheet
from reader_study.sheet_files import read_sheet, write_sheet
from reader_study.status import study_status
from reader_study.study import KEY, LOG, open_study
from reader_study.unsealing import unseal
from recon.errors import ReconError
from tests.reader_study.study_maker import PASSPHRASE, export_small

WHY = "R2 left the hospital"


def hand_back(study, reader, score, unread=0):
    """Signed sheets of one reader, all with one score but for the last ``unread`` presentations of a session."""
    for package in open_study(study).packages:
        if package.reader == reader:
            asked = [entry for entry in package.presentations if not entry.training]
            responses = tuple(
                Response(entry.id, entry.order, False, {"overall": score}, (), "", 5.0, "", "", entry.images)
                for entry in asked[: len(asked) - unread]
            )
            jwk = read_setup(study / package.folder)["signing_key"]
            sheet = Sheet(open_study(study).protocol.hash, package.id, reader, package.session, "", "x", responses, ())
            (study / "sheets").mkdir(exist_ok=True)
            write_sheet(study / "sheets" / f"{reader}-{package.session}.json", sheet.signed(jwk))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return export_small(tmp_path_factory.mktemp("added"), repeats=1, sessions={"count": 2, "separation": 0})


@pytest.fixture
def exported(original, tmp_path):
    return shutil.copytree(original, tmp_path / "study")


def test_the_new_packages_show_what_the_other_reader_was_to_see(exported):
    add_reader(exported, "R3", "5 years", "R2", WHY)
    study = open_study(exported)
    assert study.readers == ("R1", "R2", "R3")
    assert verify_files(study) == []
    for session in (1, 2):
        old, new = (
            next(one for one in study.packages if (one.reader, one.session) == (name, session)) for name in ("R2", "R3")
        )
        blank = [replace(entry, id="") for entry in old.presentations]
        assert [replace(entry, id="") for entry in new.presentations] == blank
        names = [{entry.id for entry in package.presentations} for package in (old, new)]
        assert not names[0] & names[1]
        ours, theirs = read_setup(exported / new.folder), read_setup(exported / old.folder)
        assert ours["signing_key"] != theirs["signing_key"]
        assert ours["reader"] == "R3"
        for row, other in zip(ours["presentations"], theirs["presentations"], strict=True):
            (name,), (source,) = row["images"], other["images"]
            assert name != source
            shown = (exported / new.folder / "images" / f"{name}.js").read_bytes()
            assert shown == (exported / old.folder / "images" / f"{source}.js").read_bytes()
        lists = [(exported / "worklists" / f"{name}-session-{session}.csv").read_text() for name in ("R2", "R3")]
        patients = [[line.split(",")[3:] for line in text.splitlines()] for text in lists]
        assert patients[0] == patients[1]
        assert [line.split(",")[1] for line in lists[1].splitlines()[1:]] == [entry.id for entry in new.presentations]


def test_an_added_reader_counts_and_stands_in_the_report(run_cli, exported, tmp_path):
    said = run_cli(
        *("reader-study", "add-reader", exported, "R3", WHY, "--in-place-of", "R2", "--experience", "5 years")
    )
    assert said.code == 0
    assert "R3-session-1" in said.out
    assert str(deviations(open_study(exported).entries)[0]).startswith(
        "added, reader R3: added after the export in place"
    )
    assert "R3, R3" in data_dictionary(open_study(exported).protocol, open_study(exported).readers)
    hand_back(exported, "R1", 4)
    excuse = "reader R2, session 1: R3 reads it; log that it stays unread: recon reader-study deviation"
    assert any(excuse in step for step in study_status(open_study(exported)).following)
    hand_back(exported, "R2", 2, unread=3)
    assert any("reader R3, session 1: hand out" in step for step in study_status(open_study(exported)).following)
    hand_back(exported, "R3", 5)
    log_deviation(exported, "missing", WHY, "R2")
    secret = tmp_path / "secret"
    secret.write_text(PASSPHRASE)
    assert run_cli("reader-study", "unseal", exported, "--reason", "done", "--passphrase-file", secret).code == 0
    found = unblinding.sealed(exported, [exported / "sheets"])
    assert found.observations.readers == ("R1", "R2", "R3")
    scores = found.observations.scores["overall"]
    assert (scores[:, 2] == 5).all()
    assert (scores[:, 0] == 4).all()
    assert np.isnan(scores[:, 1]).any()
    assert np.isfinite(found.observations.repeats["overall"][:, 2]).sum() == 2
    assert run_cli("reader-study", "analyze", exported, "--out", tmp_path / "report").code == 0
    text = (tmp_path / "report" / "report.md").read_text()
    assert "Reader R3 (5 years) was added on" in text
    assert "after the export and before the key was opened" in text
    assert "R3: added after the export" in text
    with pytest.raises(ReconError, match="the key was opened"):
        add_reader(exported, "R4", "1 year", "R1", "late")


def test_a_reader_written_into_the_log_with_the_key_open_is_said_to_be(exported):
    for name in ("R1", "R2"):
        hand_back(exported, name, 4)
    before = open_study(exported)
    unseal(before, PASSPHRASE, "done", [read_sheet(path) for path in sorted((exported / "sheets").iterdir())])
    lines = {"reader": "R3", "experience": "x", "in_place_of": "R2", "text": WHY, "worklists": {}, "shows": {}}
    audit_log.append(exported / LOG, ADDED, {**lines, "packages": []})
    departures = conduct(open_study(exported), []).departures
    assert any("Reader R3" in text and "after the export and after the key was opened" in text for text in departures)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("R1", "x", "R2", WHY), "no reader has"),
        (("r2", "x", "R2", WHY), "no reader has"),
        (("R3", "x", "R9", WHY), "does not read here"),
        (("R3", " ", "R2", WHY), "needs a text"),
        (("R3", "x", "R2", ""), "needs a text"),
    ],
)
def test_readers_who_cannot_be_added(original, arguments, text):
    with pytest.raises(ReconError, match=text):
        add_reader(original, *arguments)


def test_an_altered_or_absent_package_is_not_copied(exported):
    before = (exported / LOG).read_bytes()
    image = next((exported / "packages" / "R2-session-2" / "images").glob("*.js"))
    image.write_bytes(image.read_bytes().replace(b"1", b"2"))
    with pytest.raises(ReconError, match="altered since the export"):
        add_reader(exported, "R3", "x", "R2", WHY)
    shutil.rmtree(exported / "packages" / "R2-session-2")
    with pytest.raises(ReconError, match="not here; copy the package of R2"):
        add_reader(exported, "R3", "x", "R2", WHY)
    assert (exported / LOG).read_bytes() == before
    assert not list(exported.glob(".adding-*"))
    assert not list((exported / "packages").glob("R3*"))
    assert (exported / KEY).is_file()
