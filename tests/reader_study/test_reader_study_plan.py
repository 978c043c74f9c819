"""Protocols are checked and frozen; allocations are balanced; key, log and sheets show tampering."""

import dataclasses
import errno
import io
import json
import os
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from reader_study import audit_log, signing
from reader_study.allocation import allocate, new_seed
from reader_study.canonical import canonical_json
from reader_study.protocol import Protocol, load_protocol
from reader_study.seal import Key, open_key, seal_key
from reader_study.sheet import BlindingGuess, Expected, Flag, Package, Response, Sheet
from reader_study.sheet_check import check_sheet, missing
from reader_study.sheet_files import read_sheet, write_sheet
from reader_study.study import freeze, open_study
from recon.configuration import find_recipe, from_mapping
from recon.errors import ReconError
from tests.reader_study.study_maker import PASSPHRASE, protocol_mapping, write_protocol


def protocol(**arguments) -> Protocol:
    mapping = json.loads(json.dumps(protocol_mapping(**arguments)))
    return from_mapping(Protocol, mapping, "test")


# ---- protocol --------------------------------------------------------------------------------------------------------


def test_template_is_a_valid_protocol_and_its_hash_ignores_comments(tmp_path):
    template = load_protocol(find_recipe("reader-study"))
    plain = tmp_path / "plain.yaml"
    plain.write_text(yaml.safe_dump(json.loads(json.dumps(template.as_mapping()))), encoding="utf-8")
    assert load_protocol(plain).hash == template.hash
    changed = dataclasses.replace(template, title="Another")
    assert changed.hash != template.hash


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": [{"name": "a", "role": "new", "description": "x"}] * 2}, "twice"),
        ({"cases": {"main": ["C1", "C2", "c1"]}}, "stands twice"),
        ({"cases": {"main": ["C1", "../C2"]}}, "letters, digits"),
        ({"training_cases": ["C001"]}, "stands twice"),
        ({"repeats": 99}, "repeats"),
        ({"mode": "sidebyside"}, "independent"),
        ({"sessions": {"count": 2, "washout_weeks": 0}}, "washout"),
        ({"nonsense": 1}, "unknown key"),
        ({"sessions": {"count": 1, "separation": 30}}, "cannot keep 30 presentations between two of the same case"),
        ({"primary": {"item": "overall", "hypothesis": "non-inferiority", "margin": 0.5}}, "margin_justification"),
    ],
)
def test_mistakes_in_a_protocol_are_one_line(tmp_path, run_cli, changes, message):
    path = write_protocol(tmp_path / "p.yaml", **changes)
    outcome = run_cli("reader-study", "plan", path)
    assert outcome.code == 2
    assert len(outcome.err.strip().splitlines()) == 1
    assert message in outcome.err
    assert "p.yaml" in outcome.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"margin": -1}, "margin"),
        ({"margin": 4}, "whole scale"),
        ({"margin_justification": "because"}, "sentence"),
        ({"item": "nothing"}, "not one of the items"),
        ({"item": "noise"}, "required"),
        ({"readers": "random"}, "three or more"),
        ({"alpha": 0.7}, "alpha"),
    ],
)
def test_primary_comparison_is_checked(change, message):
    primary = {**protocol_mapping()["primary"], **change}
    with pytest.raises(ReconError, match=message):
        protocol(primary=primary)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"anchors": {1: "a", 3: "b"}}, "consecutive"),
        ({"anchors": {1: "a", 2: " "}}, "written anchor"),
        ({"direction": "preferred-is-better", "anchors": {}}, "direction must be"),
        ({"direction": "up"}, "expected one of"),
    ],
)
def test_items_need_anchors_and_direction(change, message):
    items = protocol_mapping()["items"]
    with pytest.raises(ReconError, match=message):
        protocol(items=[{**items[0], **change}, items[1]])


def test_orientation_turns_a_scale_with_one_as_best():
    checked = protocol()
    assert [checked.item("noise").oriented(score) for score in (1, 2, 3)] == [3, 2, 1]
    assert checked.item("overall").oriented(4) == 4


def test_freezing_logs_versions_and_an_altered_copy_is_refused(tmp_path, run_cli):
    path = write_protocol(tmp_path / "p.yaml")
    assert run_cli("reader-study", "plan", path, "--out", tmp_path / "study", "--json").json["version"] == 1
    assert not run_cli("reader-study", "plan", path, "--out", tmp_path / "study", "--json").json["changed"]
    write_protocol(path, title="Changed")
    outcome = run_cli("reader-study", "plan", path, "--out", tmp_path / "study")
    assert outcome.code == 2
    assert "--reason" in outcome.err
    _, added = freeze(path, tmp_path / "study", "ethics board asked for another title")
    assert added
    study = open_study(tmp_path / "study")
    assert (study.version, study.protocol.title) == (2, "Changed")
    assert (tmp_path / "study" / "protocol-v1.yaml").is_file()
    frozen = tmp_path / "study" / "protocol.yaml"
    frozen.write_text(frozen.read_text().replace("margin: 0.5", "margin: 0.75"))
    with pytest.raises(ReconError, match="altered since it was frozen"):
        open_study(tmp_path / "study")


def test_one_session_is_warned_about_and_words_alone_are_no_justification(tmp_path, run_cli):
    path = write_protocol(tmp_path / "plan.yaml")
    assert "no washout" in run_cli("reader-study", "plan", path).out
    two = write_protocol(tmp_path / "two.yaml", sessions={"count": 2, "separation": 1, "washout_weeks": 4})
    assert "washout" not in run_cli("reader-study", "plan", two).out
    primary = {**protocol_mapping()["primary"], "margin_justification": "a b c d e"}
    outcome = run_cli("reader-study", "plan", write_protocol(tmp_path / "words.yaml", primary=primary))
    assert outcome.code == 2
    assert "margin_justification" in outcome.err


def test_plan_writes_a_template(tmp_path, run_cli):
    path = tmp_path / "new.yaml"
    assert run_cli("reader-study", "plan", "--template", path).code == 0
    assert run_cli("reader-study", "plan", path, "--json").json["mode"] == "independent"
    assert run_cli("reader-study", "plan", "--template", path).code == 2
    assert run_cli("reader-study", "plan").code == 2


# ---- allocation ------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    cases=st.integers(8, 30),
    sessions=st.integers(1, 4),
    repeats=st.integers(0, 4),
    readers=st.integers(1, 4),
    mode=st.sampled_from(["independent", "side-by-side", "preference"]),
)
def test_allocations_are_complete_and_balanced(cases, sessions, repeats, readers, mode):
    study = protocol(
        cases=cases,
        mode=mode,
        repeats=repeats,
        sessions={"count": sessions, "separation": 1, "washout_weeks": 4},
        readers=[{"id": f"R{index}", "experience": "x"} for index in range(readers)],
    )
    rows = allocate(study, new_seed())
    assert len({row.id for row in rows}) == len(rows)
    for reader in study.readers:
        mine = [row for row in rows if row.reader == reader.id]
        main = [row for row in mine if row.kind == "main"]
        wanted = [(case,) if study.paired else (case, arm) for case in study.case_ids for arm in ("soc", "dm")]
        shown = Counter((row.case,) if study.paired else (row.case, row.arms[0]) for row in main)
        assert shown == Counter(wanted if not study.paired else set(wanted))
        assert sum(row.kind == "repeat" for row in mine) == repeats * (1 if study.paired else 2)
        for session in range(1, sessions + 1):
            order = [row for row in mine if row.session == session]
            assert [row.order for row in order] == list(range(1, len(order) + 1))
            kinds = [row.kind == "training" for row in order]
            assert kinds == sorted(kinds, reverse=True)
            first = Counter(row.arms[0] for row in order if row.kind == "main")
            assert abs(first["soc"] - first["dm"]) <= 1
            last: dict[str, int] = {}
            for row in order:
                if row.kind != "training":
                    assert row.order - last.get(row.case, -9) >= 2
                    last[row.case] = row.order
        if sessions > 1 and not study.paired:
            for case in study.case_ids:
                assert len({row.session for row in main if row.case == case}) == 2
                # A crossover, repeats included: no session shows both arms of a case.
                looks = {(row.session, row.arms[0]) for row in mine if row.case == case}
                assert len({session for session, _ in looks}) == len(looks)
        # The earlier look is the one that is analysed.
        for row in mine:
            if row.kind == "repeat":
                first_look = next(at for at in main if at.case == row.case and set(at.arms) == set(row.arms))
                assert (first_look.session, first_look.order) < (row.session, row.order)
        guesses = Counter(row.arms[0] for row in mine if row.guess)
        assert guesses["soc"] == guesses["dm"] == 1


def test_readers_in_a_couple_are_mirrored_and_arms_lie_evenly_in_time():
    study = protocol(cases=80, sessions={"count": 2, "separation": 10, "washout_weeks": 4}, repeats=8)
    differences = []
    for number in range(30):
        rows = [row for row in allocate(study, f"{number:064x}") if row.kind == "main"]
        session = {(row.reader, row.case, row.arms[0]): row.session for row in rows}
        for case in study.case_ids:
            assert session["R1", case, "soc"] == session["R2", case, "dm"]
        places = defaultdict(list)
        for row in rows:
            places[row.reader, row.session, row.arms[0]].append(row.order)
        for reader in ("R1", "R2"):
            for sitting in (1, 2):
                soc, dm = places[reader, sitting, "soc"], places[reader, sitting, "dm"]
                differences.append(sum(soc) / len(soc) - sum(dm) / len(dm))
    assert abs(sum(differences) / len(differences)) < 0.2
    assert max(map(abs, differences)) < 2  # an unblocked shuffle of 80 strays by up to about 15


def test_same_seed_same_allocation_and_impossible_separation_is_named():
    study = protocol(cases=20, repeats=3)
    seed = new_seed()
    assert allocate(study, seed) == allocate(study, seed)
    assert allocate(study, seed) != allocate(study, new_seed())
    with pytest.raises(ReconError, match=r"reader R1, session 1.*separation"):
        allocate(protocol(cases=4, sessions={"count": 1, "separation": 30}), seed)


# ---- key, log --------------------------------------------------------------------------------------------------------


def make_key() -> Key:
    study = protocol()
    seed = new_seed()
    return Key(study.hash, seed, "ab" * 32, tuple(allocate(study, seed)))


def test_key_opens_with_its_passphrase_only(tmp_path):
    key = make_key()
    mark = seal_key(tmp_path / "key.sealed", key, PASSPHRASE, 2**4)
    content = (tmp_path / "key.sealed").read_bytes()
    assert open_key(tmp_path / "key.sealed", PASSPHRASE, mark, key.commitment) == key
    assert key.seed.encode() not in content
    with pytest.raises(ReconError, match="wrong passphrase"):
        open_key(tmp_path / "key.sealed", PASSPHRASE + "!", mark, key.commitment)
    with pytest.raises(ReconError, match="not the one committed to"):
        open_key(tmp_path / "key.sealed", PASSPHRASE, mark, "0" * 64)
    with pytest.raises(ReconError, match="at least 12"):
        seal_key(tmp_path / "k", key, "short", 2**4)
    for position in (5, len(content) // 2, len(content) - 10):
        altered = bytearray(content)
        altered[position] ^= 1
        (tmp_path / "key.sealed").write_bytes(altered)
        with pytest.raises(ReconError, match="altered since the export"):
            open_key(tmp_path / "key.sealed", PASSPHRASE, mark, key.commitment)
    (tmp_path / "key.sealed").write_bytes(content[:-40])
    with pytest.raises(ReconError, match="altered"):
        open_key(tmp_path / "key.sealed", PASSPHRASE, mark, key.commitment)


def test_the_header_of_the_key_is_authenticated(tmp_path):
    import hashlib

    key = make_key()
    seal_key(tmp_path / "key", key, PASSPHRASE, 2**4)
    values = json.loads((tmp_path / "key").read_text())
    content = json.dumps({**values, "study": "0" * 64}).encode()
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(ReconError, match="wrong passphrase"):
        open_key(tmp_path / "key", PASSPHRASE, hashlib.sha256(content).hexdigest(), key.commitment)


def test_commitment_hides_the_allocation_behind_its_salt():
    key = make_key()
    assert dataclasses.replace(key, salt="cd" * 32).commitment != key.commitment
    assert dataclasses.replace(key, presentations=key.presentations[::-1]).commitment != key.commitment


@pytest.mark.parametrize("fault", ["full disk", "failing device"])
def test_a_line_that_cannot_be_written_leaves_the_log_as_it_was(tmp_path, monkeypatch, fault):
    """Half a line would be taken for an alteration, and the study would be lost."""
    folder, _ = freeze(write_protocol(tmp_path / "plan.yaml"), tmp_path / "study")
    log = folder.folder / "audit.jsonl"
    before = log.read_bytes()

    def failing(handle: int) -> None:
        if os.path.samestat(os.fstat(handle), log.stat()):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    class Full(io.FileIO):
        """A disk with room for half of what is written."""

        def write(self, content):
            return super().write(bytes(content)[: len(content) // 2])

    if fault == "full disk":
        usual = Path.open
        monkeypatch.setattr(
            Path,
            "open",
            lambda path, mode="r", *rest, **named: (
                Full(path, "a") if "a" in mode else usual(path, mode, *rest, **named)
            ),
        )
    else:
        monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(ReconError, match="cannot be written"):
        audit_log.append(log, "deviation", {"text": "typed from paper"})
    monkeypatch.undo()
    assert log.read_bytes() == before
    audit_log.append(log, "deviation", {"text": "typed from paper"})


def test_a_protocol_that_cannot_be_logged_leaves_the_one_before(tmp_path, monkeypatch):
    plan = write_protocol(tmp_path / "plan.yaml")

    def failing(*_):
        raise ReconError("the log cannot be written")

    folder = tmp_path / "study"
    for versions in (0, 1):
        with monkeypatch.context() as patch:
            patch.setattr(audit_log, "append", failing)
            with pytest.raises(ReconError, match="cannot be written"):
                freeze(plan, folder, "why not")
        assert sorted(path.name for path in folder.iterdir()) == ["audit.jsonl", "protocol.yaml"][: 2 * versions]
        frozen, added = freeze(plan, folder, "why not")
        assert added
        assert frozen.version == versions + 1
        plan = write_protocol(tmp_path / "plan.yaml", title="Another title")


def test_every_altered_line_of_the_log_is_named(tmp_path):
    path = tmp_path / "audit.jsonl"
    for index in range(4):
        audit_log.append(path, "deviation", {"text": f"event {index}", "reader": None})
    head = audit_log.read(path)[-1].hash
    lines = path.read_bytes().splitlines(keepends=True)
    for index in range(4):
        altered = lines.copy()
        altered[index] = altered[index].replace(b"event", b"EVENT")
        path.write_bytes(b"".join(altered))
        with pytest.raises(ReconError, match=f"line {index + 1} was altered"):
            audit_log.read(path)
        with pytest.raises(ReconError, match="was altered"):
            audit_log.append(path, "deviation", {"text": "one more"})
        path.write_bytes(b"".join(lines[:index] + lines[index + 1 :]))
        if index < 3:
            with pytest.raises(ReconError, match=f"line {index + 1} was altered"):
                audit_log.read(path)
    with pytest.raises(ReconError, match="cut or rewritten"):
        audit_log.read(path, head=head)
    path.write_bytes(b"".join(lines)[:-20])
    with pytest.raises(ReconError, match="line 4 was altered"):
        audit_log.read(path)


# ---- sheets ----------------------------------------------------------------------------------------------------------


def make_sheet(study: Protocol) -> tuple[Sheet, Package, dict[str, str]]:
    private, public = signing.new_signing_key()
    expected = tuple(Expected(f"{index:016x}", index + 1, index == 0, index == 2) for index in range(3))
    package = Package("p1", "R1", 1, "packages/R1-session-1", public, "0" * 64, expected)
    scores = {key: study.allowed(key)[-1] for key in study.score_keys}
    responses = tuple(
        Response(entry.id, entry.order, entry.training, scores, (), "", 12.3, "2026-01-01T10:00:00Z", "2026-01-01")
        for entry in expected
    )
    sheet = Sheet(study.hash, "p1", "R1", 1, "2026-01-01T10:00:00Z", "", responses, (), "")
    return sheet.signed(private), package, private


@pytest.mark.parametrize("suffix", ["json", "csv"])
@pytest.mark.parametrize("mode", ["independent", "side-by-side", "preference"])
def test_sheets_survive_the_file_and_show_tampering(tmp_path, suffix, mode):
    study = protocol(mode=mode)
    sheet, package, private = make_sheet(study)
    odd = dataclasses.replace(
        sheet.responses[1],
        comment='=1+1 "quoted",\nμ and \'',
        flags=(Flag("artifact", "A", 3, 10, 20),),
        seconds=30.0,
    )
    guess = BlindingGuess(package.presentations[2].id, "unknown")
    sheet = dataclasses.replace(sheet, responses=(sheet.responses[0], odd, sheet.responses[2]), guesses=(guess,))
    sheet = sheet.signed(private)
    path = tmp_path / f"sheet.{suffix}"
    write_sheet(path, sheet)
    read = read_sheet(path)
    assert read.responses == sheet.responses
    assert check_sheet(read, study, [package]) is package
    assert missing([read], study, [package]) == []
    if suffix == "csv":
        assert "\n=1" not in path.read_text(), "a spreadsheet would run this comment"
    text = path.read_text(encoding="utf-8")
    for old, new in (("12.3", "12.4"), ("artifact", "artefact"), ("quoted", "quotes"), ("unknown", "A")):
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(ReconError, match="signature does not match"):
            check_sheet(read_sheet(path), study, [package])
    path.write_text(text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(ReconError, match=r"cut short|signature"):
        check_sheet(read_sheet(path), study, [package])


@pytest.mark.parametrize(
    ("score", "key", "message"),
    [
        (6, "overall", "out of scale"),
        (0, "overall", "out of scale"),
        ("4", "overall", "out of scale"),
        (True, "overall", "out of scale"),
        (2.5, "overall", "out of scale"),
        (3, "sharpness", "not an item"),
    ],
)
def test_scores_out_of_scale_name_reader_and_presentation(score, key, message):
    study = protocol()
    sheet, package, private = make_sheet(study)
    bad = dataclasses.replace(sheet.responses[1], scores={key: score})
    sheet = dataclasses.replace(sheet, responses=(sheet.responses[0], bad)).signed(private)
    with pytest.raises(ReconError, match=message) as error:
        check_sheet(sheet, study, [package])
    assert "reader R1, presentation 2 (0000000000000001)" in str(error.value)


def test_foreign_sheets_and_packages_are_refused():
    study = protocol()
    sheet, package, private = make_sheet(study)
    with pytest.raises(ReconError, match="another study"):
        check_sheet(sheet, protocol(title="Another"), [package])
    with pytest.raises(ReconError, match="never exported"):
        check_sheet(sheet, study, [])
    with pytest.raises(ReconError, match="belongs to R2"):
        check_sheet(sheet, study, [dataclasses.replace(package, reader="R2")])
    other, _ = signing.new_signing_key()
    with pytest.raises(ReconError, match="signature"):
        check_sheet(sheet.signed(other), study, [package])
    twice = dataclasses.replace(sheet, responses=(sheet.responses[1],) * 2).signed(private)
    with pytest.raises(ReconError, match="stands twice"):
        check_sheet(twice, study, [package])


def test_missing_answers_are_listed_one_by_one():
    study = protocol()
    sheet, package, _ = make_sheet(study)
    assert missing([], study, [package])[0]["what"] == "sheet"
    part = dataclasses.replace(sheet.responses[1], scores={"noise": 1})
    lines = missing([dataclasses.replace(sheet, responses=(part,))], study, [package])
    assert [(line["order"], line["what"]) for line in lines] == [(2, "overall"), (3, "response")]


def test_canonical_form_writes_numbers_as_javascript_does():
    assert (
        canonical_json({"b": 12.0, "a": [0.1, -3, "ü\n"], "c": None})
        == '{"a":[0.1,-3,"ü\\n"],"b":12,"c":null}'.encode()
    )
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json(float("nan"))


def test_a_damaged_sheet_is_one_line(tmp_path):
    for name, text in (("a.json", "[]"), ("b.json", '{"format": "x"}'), ("c.csv", "a,b\n1,2\n"), ("d.json", "{")):
        (tmp_path / name).write_text(text)
        with pytest.raises(ReconError, match="not a score sheet"):
            read_sheet(tmp_path / name)
    with pytest.raises(ReconError, match="cannot be read"):
        read_sheet(Path(tmp_path / "absent.json"))


def test_yaml_that_is_not_a_protocol(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(["a"]))
    with pytest.raises(ReconError, match="expected 'key: value'"):
        load_protocol(path)
