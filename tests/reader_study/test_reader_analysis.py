"""From score sheets and tables to the report: what is refused, what is computed, and what the report says."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import openpyxl
import pytest

from reader_study import audit_log, unblinding
from reader_study.allocation import allocate
from reader_study.analyses.blinding import BLINDING
from reader_study.analyses.flags import FLAGS
from reader_study.analyses.missing import MISSING
from reader_study.analyses.subsets import SUBSETS
from reader_study.analysis import analyse
from reader_study.analysis_result import as_mapping
from reader_study.claim import claim, limits
from reader_study.conduct import Conduct
from reader_study.deviations import Deviation, deviations, log_deviation
from reader_study.observations import from_sheets, orient
from reader_study.protocol import load_protocol
from reader_study.provenance import Provenance
from reader_study.report import document
from reader_study.report_files import write_report
from reader_study.scores import collect
from reader_study.seal import Key, seal_key
from reader_study.sheet import BlindingGuess, Expected, Flag, Package, Response, Sheet
from reader_study.sheet_files import write_sheet
from reader_study.signing import new_signing_key
from reader_study.study import KEY, LOG, OPENED_KEY, freeze, open_study, package_mapping
from reader_study.tables import ColumnMap, load_column_map, parse_score, read_table
from reader_study.unsealing import unseal
from recon.errors import ReconError

PASSPHRASE = "four random words do"
SEED = "ab" * 32
PROTOCOL = """
title: Small study
question: Is the new image as good?
mode: MODE
arms:
  - {name: standard, role: reference, description: the old way}
  - {name: fast, role: new, description: the new way}
cases: {first: [A1, A2, A3, A4, A5, A6, A7, A8], second: [B1, B2, B3, B4]}
training_cases: [T1]
repeats: 3
readers: [{id: R1, experience: 9 years}, {id: R2, experience: 3 years}]
sessions: {count: 2, washout_weeks: 4, separation: 0, training: first}
items:
  - id: overall
    question: Overall quality
    direction: higher-is-better
    anchors: {1: bad, 2: poor, 3: fair, 4: good, 5: excellent}
  - id: artifacts
    question: Artifacts
    direction: lower-is-better
    anchors: {1: none, 2: few, 3: some, 4: many, 5: unreadable}
primary: {item: overall, hypothesis: non-inferiority, margin: MARGIN, alpha: 0.025, readers: fixed,
  margin_justification: half a point changes no diagnosis here, multiplicity: holm}
guess: {presentations: 4}
"""


def write_protocol(path, mode="independent", margin=0.5):
    text = PROTOCOL.replace("MODE", mode).replace("MARGIN", str(margin))
    if mode == "preference":
        text = re.sub(r"\n    anchors: .*", "", text).replace("higher-is-better", "preferred-is-better")
        text = text.replace("lower-is-better", "preferred-is-better")
    path.write_text(text)
    return path


def answer(row, protocol, generator):
    """Scores of one presentation: the new arm is a little worse on average."""
    if protocol.mode == "preference":
        return {item.id: str(generator.choice(["A", "B", "tie"])) for item in protocol.items}
    scores = {}
    for side, arm in zip("AB", row.arms, strict=False):
        overall = int(np.clip(np.rint(4 - 0.1 * (arm == "fast") + 0.5 * generator.standard_normal()), 1, 5))
        suffix = f"@{side}" if protocol.paired else ""
        scores[f"overall{suffix}"] = overall
        scores[f"artifacts{suffix}"] = int(np.clip(6 - overall + generator.integers(-1, 2), 1, 5))
    return scores


class Built:
    """A study as after the export, without images: log, sealed key, packages, and signed sheets."""

    def __init__(self, folder, mode="independent", margin=0.5, per_protocol=False, reserve=False):
        folder.mkdir(exist_ok=True)
        protocol_path = write_protocol(folder / "protocol.yaml", mode, margin)
        if reserve:
            text = protocol_path.read_text().replace(
                "3 years}]", "3 years}, {id: R3, experience: none, reserve: true}]"
            )
            protocol_path.write_text(text)
        if per_protocol:
            text = protocol_path.read_text().replace(
                "multiplicity: holm", "multiplicity: holm, population: per-protocol"
            )
            protocol_path.write_text(text)
        study, _ = freeze(protocol_path, folder / "study")
        self.folder, self.protocol = study.folder, study.protocol
        self.rows = allocate(self.protocol, SEED)
        self.key = Key(self.protocol.hash, SEED, "cd" * 32, tuple(self.rows))
        sealed = seal_key(self.folder / KEY, self.key, PASSPHRASE, work_factor=2**4)
        self.private, packages = {}, []
        for number, (reader, session) in enumerate(sorted({(row.reader, row.session) for row in self.rows})):
            mine = [row for row in self.rows if (row.reader, row.session) == (reader, session)]
            self.private[reader, session], public = new_signing_key()
            shape = (5, 30, 30)
            expected = tuple(Expected(row.id, row.order, row.kind == "training", row.guess, shape) for row in mine)
            place = f"packages/{reader}-session-{session}"
            packages.append(Package(f"{number:016x}", reader, session, place, public, "0" * 64, expected))
        self.packages = packages
        details = {"sealed_key_sha256": sealed, "commitment": self.key.commitment, "dicom_manifest_sha256": "0" * 64}
        details["packages"] = [package_mapping(package) for package in packages]
        audit_log.append(self.folder / LOG, "export", details)
        generator = np.random.default_rng(4)
        self.sheets = [self.sheet(package, generator) for package in packages]

    def sheet(self, package, generator):
        planned = {row.id: row for row in self.rows}
        responses, guesses = [], []
        for entry in package.presentations:
            row = planned[entry.id]
            flags = (Flag("artifact", "A", 1, 2, 3),) if row.case == "A1" and row.arms[0] == "fast" else ()
            facts = (answer(row, self.protocol, generator), flags, "=1+1", 12.5)
            times = ("2026-01-05T09:00:00.000Z", "2026-01-05T09:00:12.500Z")
            responses.append(Response(entry.id, entry.order, entry.training, *facts, *times))
            if entry.guess:
                guess = "B" if self.protocol.paired else ("new" if row.arms[0] == "fast" else "unknown")
                guesses.append(BlindingGuess(entry.id, guess))
        return Sheet(
            self.protocol.hash,
            package.id,
            package.reader,
            package.session,
            times[0],
            times[1],
            tuple(responses),
            tuple(guesses),
        ).signed(self.private[package.reader, package.session])

    def write(self, folder, sheets=None):
        folder.mkdir(exist_ok=True)
        for sheet in self.sheets if sheets is None else sheets:
            write_sheet(folder / f"{sheet.reader}-{sheet.session}.json", sheet)
        return folder

    def resigned(self, index, **changes):
        sheet = replace(self.sheets[index], **changes)
        return sheet.signed(self.private[sheet.reader, sheet.session])

    def open_key(self, folder):
        study = open_study(self.folder)
        key = unseal(study, PASSPHRASE, "all scores are in", collect(study, [folder]).sheets)
        (self.folder / OPENED_KEY).write_text(json.dumps(key.as_mapping()))

    def analysed(self):
        observations = from_sheets(self.protocol, self.rows, self.sheets)
        return analyse(self.protocol, observations, replicates=200), observations


@pytest.fixture
def built(tmp_path):
    return Built(tmp_path)


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    study = Built(tmp_path_factory.mktemp("analysed"))
    return study, *study.analysed()


def test_sheets_become_arrays_by_the_key(built):
    """Every oriented score stands in its reader's, case's and arm's place; repeats and training do not."""
    found = from_sheets(built.protocol, built.rows, built.sheets)
    given = {response.presentation: response for sheet in built.sheets for response in sheet.responses}
    for row in built.rows:
        if row.kind != "main":
            continue
        at = (int(row.arms[0] == "fast"), found.readers.index(row.reader), found.cases.index(row.case))
        assert found.scores["overall"][at] == given[row.id].scores["overall"]
        assert found.scores["artifacts"][at] == 6 - given[row.id].scores["artifacts"]
    assert np.isfinite(found.scores["overall"]).all()
    assert np.isfinite(found.repeats["overall"]).sum() == 3 * 2 * 2
    for reader in range(2):  # the reading order is a permutation of the main readings among all
        assert len(set(found.order[:, reader].ravel())) == 24
    assert [flag.case for flag in found.flags if flag.arm == 1].count("A1") >= 2
    assert {(guess.arm, guess.wrong) for guess in found.guesses} == {("fast", 0), ("standard", 0)}


@pytest.mark.parametrize("mode", ["side-by-side", "preference"])
def test_pairs_follow_their_sides(tmp_path, mode):
    built = Built(tmp_path, mode, 0.2 if mode == "preference" else 0.5)
    found = from_sheets(built.protocol, built.rows, built.sheets)
    given = {response.presentation: response for sheet in built.sheets for response in sheet.responses}
    for row in built.rows:
        if row.kind != "main":
            continue
        reader, case = found.readers.index(row.reader), found.cases.index(row.case)
        side = "AB"[row.arms.index("fast")]
        if mode == "preference":
            chosen = given[row.id].scores["overall"]
            expected = 0 if chosen == "tie" else (1 if chosen == side else -1)
        else:
            expected = given[row.id].scores[f"overall@{side}"]
        assert found.scores["overall"][1, reader, case] == expected
    analysis = analyse(built.protocol, found, replicates=200)
    page = document(analysis, found, Provenance("s", "version 1", "ab" * 32))
    assert "net preference" in page.claim if mode == "preference" else "points" in page.claim
    json.dumps(as_mapping(analysis), allow_nan=False)


def test_orientation_mirrors_a_scale_where_low_is_best(built):
    item = built.protocol.item("artifacts")
    assert orient(item, np.array([1.0, 5.0, np.nan])).tolist()[:2] == [5, 1]


# --- collecting and unsealing


def test_complete_signed_sheets_open_the_key_and_are_analysed(built, tmp_path):
    folder = built.write(tmp_path / "scores")
    write_sheet(folder / "same-as-csv.csv", built.sheets[0])  # the viewer hands out both forms
    built.open_key(folder)
    found = unblinding.sealed(built.folder, [folder])
    assert found.provenance.sealed
    assert found.provenance.unsigned == ()
    assert np.isfinite(found.observations.scores["overall"]).all()


def test_a_missing_session_keeps_the_key_sealed_until_it_is_logged(built, tmp_path):
    folder = built.write(tmp_path / "scores", built.sheets[:-1])
    with pytest.raises(ReconError, match="reader R2, session 2: sheet"):
        built.open_key(folder)
    log_deviation(built.folder, "missing", "R2 fell ill", "R2", 2)
    built.open_key(folder)
    found = unblinding.sealed(built.folder, [folder])
    assert np.isnan(found.observations.scores["overall"][:, 1]).sum() == 12
    assert found.provenance.deviations == ("missing, reader R2, session 2: R2 fell ill",)
    # R2 has no pair left, which costs R2 and not the study.
    analysis = analyse(found.protocol, found.observations, replicates=50)
    assert analysis.primary.fixed.cases == 12
    assert analysis.primary.random is None
    assert "R2 scored no two cases in both arms; the comparison is of the others" in analysis.primary.notes
    missing = MISSING.of(analysis.primary)
    assert missing is not None
    assert missing.worst.estimate < analysis.primary.fixed.estimate < missing.best.estimate
    write_report(tmp_path / "report", analysis, found.observations, found.provenance)


def test_an_image_that_did_not_load_costs_one_reading(built, tmp_path):
    """Per protocol too: the deviation that excuses it is no reason to drop the rest of the session."""
    planned = {row.id: row for row in built.rows}
    lost = next(row for row in built.sheets[0].responses if planned[row.presentation].kind == "main")
    kept = tuple(row for row in built.sheets[0].responses if row is not lost)
    folder = built.write(tmp_path / "scores", [built.resigned(0, responses=kept), *built.sheets[1:]])
    log_deviation(built.folder, "missing", "the image did not load", presentation=lost.presentation)
    built.open_key(folder)
    found = unblinding.sealed(built.folder, [folder]).observations
    assert np.isnan(found.scores["overall"]).sum() == 1
    excluded = deviations(open_study(built.folder).entries)
    assert [deviation.presentation for deviation in excluded] == [lost.presentation]
    primary = replace(built.protocol.primary, population="per-protocol")
    analysis = analyse(replace(built.protocol, primary=primary), found, replicates=50)
    assert analysis.primary.fixed.cases == 12
    assert 10 < analysis.primary.fixed.df < 11


def test_per_protocol_keeps_what_a_deviation_of_kind_missing_does_not_miss(tmp_path):
    built = Built(tmp_path, per_protocol=True)
    folder = built.write(tmp_path / "scores")
    log_deviation(built.folder, "missing", "the session was broken off, and finished the same day", "R1", 1)
    log_deviation(built.folder, "other", "the wrong screen", presentation=built.sheets[1].responses[-1].presentation)
    built.open_key(folder)
    found = unblinding.sealed(built.folder, [folder]).observations
    assert np.isnan(found.scores["overall"]).sum() + np.isnan(found.repeats["overall"][0, 0, 0]).sum() <= 2
    assert np.isfinite(found.scores["overall"][:, 1]).all()


def test_one_unanswered_item_is_named(built, tmp_path):
    last = built.sheets[0].responses[-1]
    scores = {key: value for key, value in last.scores.items() if key != "overall"}
    sheet = built.resigned(0, responses=(*built.sheets[0].responses[:-1], replace(last, scores=scores)))
    folder = built.write(tmp_path / "scores", [sheet, *built.sheets[1:]])
    with pytest.raises(ReconError, match=rf"presentation {last.order} \({last.presentation}\): overall"):
        built.open_key(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: replace(b.sheets[0], study="0" * 64), "belongs to another study"),
        (lambda b: replace(b.sheets[0], finished="later"), "the signature does not match"),
        (lambda b: b.resigned(0, package="f" * 16), "was never exported"),
        (
            lambda b: b.resigned(
                0, responses=(replace(b.sheets[0].responses[0], scores={"overall": 7}), *b.sheets[0].responses[1:])
            ),
            r"reader R1, presentation 1 \(\w+\): overall is 7, out of scale \(1, 2, 3, 4, 5\)",
        ),
        (lambda b: b.resigned(0, responses=(b.sheets[0].responses[0],) * 2), "stands twice"),
    ],
)
def test_bad_sheets_are_named_in_one_line(built, tmp_path, change, message):
    folder = built.write(tmp_path / "scores", [change(built), *built.sheets[1:]])
    with pytest.raises(ReconError, match=message) as caught:
        collect(open_study(built.folder), [folder])
    assert "\n" not in str(caught.value)


def test_a_session_handed_in_twice_with_other_answers_is_refused(built, tmp_path):
    folder = built.write(tmp_path / "scores")
    write_sheet(folder / "again.json", built.resigned(0, finished="2026-02-01T00:00:00.000Z"))
    with pytest.raises(ReconError, match="handed in twice with different content"):
        collect(open_study(built.folder), [folder])


def test_the_analysis_takes_only_the_committed_key_and_the_sheets_of_the_unsealing(built, tmp_path):
    folder = built.write(tmp_path / "scores")
    with pytest.raises(ReconError, match="no opened key"):
        unblinding.sealed(built.folder, [folder])
    opened = built.folder / OPENED_KEY
    opened.write_text(json.dumps(built.key.as_mapping()))  # leaked, never unsealed
    with pytest.raises(ReconError, match="never unsealed"):
        unblinding.sealed(built.folder, [folder])
    built.open_key(folder)
    changed = built.key.as_mapping()
    changed["presentations"][0]["arms"] = [
        "fast" if changed["presentations"][0]["arms"] == ["standard"] else "standard"
    ]
    opened.write_text(json.dumps(changed))
    with pytest.raises(ReconError, match="not the one committed to"):
        unblinding.sealed(built.folder, [folder])
    opened.write_text(json.dumps(built.key.as_mapping()))
    built.write(folder, [built.resigned(0, finished="2026-02-01T00:00:00.000Z")])
    with pytest.raises(ReconError, match=r"R1, session 1 differs from the one when the key was opened"):
        unblinding.sealed(built.folder, [folder])
    log_deviation(built.folder, "exchanged", "R1 corrected a typing error", "R1", 1)
    unblinding.sealed(built.folder, [folder])


def test_an_altered_log_is_named(built, tmp_path):
    folder = built.write(tmp_path / "scores")
    log = built.folder / LOG
    log.write_bytes(log.read_bytes().replace(b"the new way", b"the old way"))
    with pytest.raises(ReconError, match="line 1 was altered"):
        unblinding.sealed(built.folder, [folder])


# --- tables


def table_rows(built, skip=0):
    rows = [
        {"reader": sheet.reader, "image": response.presentation, **response.scores}
        for sheet in built.sheets
        for response in sheet.responses
    ]
    return rows[skip:]


def write_csv(path, rows, separator=","):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=separator)
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_unsigned_tables_need_a_logged_deviation_and_give_the_same_scores(built, tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    write_csv(folder / "scores.csv", table_rows(built), ";")
    study = open_study(built.folder)
    columns = ColumnMap(presentation="image")
    with pytest.raises(
        ReconError, match="reader R1, session 1 are not signed; log why with 'recon reader-study deviation"
    ):
        collect(study, [folder], columns)
    for reader in ("R1", "R2"):
        log_deviation(built.folder, "unsigned", "scores were typed from paper", reader)
    collected = collect(open_study(built.folder), [folder], columns)
    assert collected.unsigned == ("scores.csv",)
    typed = from_sheets(built.protocol, built.rows, collected.sheets)
    signed = from_sheets(built.protocol, built.rows, built.sheets)
    for item in ("overall", "artifacts"):
        np.testing.assert_array_equal(typed.scores[item], signed.scores[item])


def test_xlsx_and_long_tables_and_labels(built, tmp_path):
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Scores"
    sheet.append(["who", "image", "question", "answer"])
    first = built.sheets[0].responses[0]
    sheet.append(["Dr A", first.presentation, "overall", 4.0])
    sheet.append(["Dr A", first.presentation, "artifacts", "few"])
    book.save(tmp_path / "scores.xlsx")
    map_file = tmp_path / "columns.yaml"
    map_file.write_text(
        "{reader: who, presentation: image, item: question, score: answer, readers: {Dr A: R1}, sheet: Scores}"
    )
    found = read_table(tmp_path / "scores.xlsx", built.protocol, load_column_map(map_file))
    assert [(row.key, row.score) for row in found] == [("overall", 4), ("artifacts", 2)]
    assert parse_score(built.protocol, "overall", "4 - good", "here") == 4
    rows = [{"reader": "R1", "presentation": first.presentation, "overall": 3, "comment": "dark"}]
    beside = read_table(write_csv(tmp_path / "own.csv", rows), built.protocol, load_column_map(map_file))
    assert [(row.key, row.score, row.comment) for row in beside] == [("overall", 3, "dark")]
    map_file.write_text("{readr: who}")
    with pytest.raises(ReconError, match="readr"):
        load_column_map(map_file)


def test_redcap_export(built, tmp_path):
    """Event rows, a drop-down with raw codes, a checkbox spread over columns, and an unfinished form."""
    rows = []
    for number, response in enumerate(built.sheets[0].responses[:6]):
        ticked = {f"artifacts___{code}": int(response.scores["artifacts"] == code) for code in range(1, 6)}
        row = {"record_id": number, "redcap_event_name": "session_1_arm_1", "reader": "R1"}
        row |= {"presentation": response.presentation, "overall": response.scores["overall"], **ticked}
        rows.append({**row, "scores_complete": 2 if number else 0})
    found = read_table(write_csv(tmp_path / "redcap.csv", rows), built.protocol)
    assert len(found) == 10
    scored = {(row.presentation, row.key): row.score for row in found}
    for response in built.sheets[0].responses[1:6]:
        for item in ("overall", "artifacts"):
            assert scored[response.presentation, item] == response.scores[item]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reader": "R9"}, "reader 'R9' is not in the protocol"),
        ({"overall": "6"}, r"row 2: reader R1, presentation \w+: overall is '6', out of scale \(1, 2, 3, 4, 5\)"),
        ({"overall": "3.5"}, "overall is '3.5', out of scale"),
        ({"image": ""}, "no presentation id"),
    ],
)
def test_bad_table_rows_are_named(built, tmp_path, change, message):
    rows = table_rows(built)
    rows[0] = {**rows[0], **change}
    with pytest.raises(ReconError, match=message):
        read_table(write_csv(tmp_path / "t.csv", rows), built.protocol, ColumnMap(presentation="image"))


def test_table_problems_are_named(built, tmp_path):
    rows = table_rows(built)
    with pytest.raises(ReconError, match=r"overall of reader R1, presentation \w+ stands twice \(first in .* row 2\)"):
        read_table(write_csv(tmp_path / "t.csv", [*rows, rows[0]]), built.protocol, ColumnMap(presentation="image"))
    with pytest.raises(ReconError, match="no column 'presentation'; there are reader, image, overall, artifacts"):
        read_table(write_csv(tmp_path / "t.csv", rows), built.protocol)
    broken = tmp_path / "broken.xlsx"
    broken.write_bytes(b"PK\x03\x04 not a workbook")
    with pytest.raises(ReconError, match="not readable as XLSX"):
        read_table(broken, built.protocol)
    foreign = [{**rows[0], "image": "0" * 16}]
    for reader in ("R1", "R2"):
        log_deviation(built.folder, "unsigned", "typed", reader)
    write_csv(tmp_path / "t.csv", foreign)
    with pytest.raises(ReconError, match="was never given to reader R1 in this study"):
        collect(open_study(built.folder), [tmp_path / "t.csv"], ColumnMap(presentation="image"))


def open_label_rows(built):
    planned = {row.id: row for row in built.rows}
    return [
        {
            "reader": sheet.reader,
            "case": planned[response.presentation].case,
            "arm": planned[response.presentation].arms[0],
            **response.scores,
        }
        for sheet in built.sheets
        for response in sheet.responses
        if planned[response.presentation].kind == "main"
    ]


def test_open_label_tables_are_analysed_and_said_not_to_be_blinded(built, tmp_path):
    path = write_csv(tmp_path / "open.csv", open_label_rows(built))
    found = unblinding.open_label(tmp_path / "protocol.yaml", [path])
    signed = from_sheets(built.protocol, built.rows, built.sheets)
    np.testing.assert_array_equal(found.observations.scores["overall"], signed.scores["overall"])
    analysis = analyse(found.protocol, found.observations, replicates=200)
    page = document(analysis, found.observations, found.provenance)
    text = json.dumps([[getattr(block, "lines", "") for block in section.blocks] for section in page.sections])
    assert "nothing was sealed" in text
    rows = open_label_rows(built)
    rows[3]["case"] = "Z9"
    with pytest.raises(ReconError, match="case 'Z9' is not in the protocol"):
        unblinding.open_label(tmp_path / "protocol.yaml", [write_csv(path, rows)])


# --- the analysis and its report


def test_pooled_rows_and_a_changed_primary_test_are_refused(analysed):
    study, _, found = analysed
    with pytest.raises(ReconError, match="pooling reader x case rows is refused"):
        analyse(study.protocol, found, readers="pooled")
    with pytest.raises(ReconError, match="the protocol froze readers: fixed"):
        analyse(study.protocol, found, readers="random")


def test_the_decision_is_the_primary_items_bound_and_nothing_else(analysed):
    study, analysis, found = analysed
    d = (found.scores["overall"][1] - found.scores["overall"][0]).mean(axis=0)
    assert analysis.decision["estimate"] == pytest.approx(d.mean())
    assert analysis.claimed == (analysis.decision["lower_bound"] > -0.5)
    assert [row.name for row in analysis.adjusted] == ["artifacts"]
    subsets, blinding, flags = SUBSETS.of(analysis.primary), BLINDING.of(analysis), FLAGS.of(analysis)
    assert subsets is not None
    assert blinding is not None
    assert flags is not None
    assert set(subsets.by_cohort) == {"first", "second"}
    assert subsets.by_cohort["second"].cases == 4
    assert blinding.bang["R1, fast"].index == 1
    assert flags[1].new == 1
    assert flags[1].reference == 0
    repeated = analyse(study.protocol, found, replicates=200)
    assert json.dumps(as_mapping(repeated)) == json.dumps(as_mapping(analysis))


def test_the_claim_says_what_was_and_was_not_shown(analysed):
    study, _, found = analysed
    protocol = replace(study.protocol, items=study.protocol.items[:1])

    def shifted(*changes):
        """The new arm scores as the reference does, plus the changes of the first cases by both readers in turn."""
        scores = {**found.scores, "overall": np.full((2, 2, 12), 3.0)}
        scores["overall"][0, :, ::2] = 4
        scores["overall"][1] = scores["overall"][0]
        for case, (first, second) in enumerate(changes):
            scores["overall"][1, :, case] += (first, second)
        return analyse(protocol, replace(found, scores=scores), replicates=50)

    shown = shifted((1, 0), (0, -1))
    assert re.search(
        r"fast was non-inferior to standard for these 2 readers and 12 cases \(.*margin −0\.50\)", claim(shown)
    )
    assert any("these 2 readers only" in line for line in limits(shown))
    assert any("superiority, a different test, was not shown" in line for line in limits(shown))
    lower = shifted(*[(-1, 0)] * 8)
    assert lower.claimed
    assert any("scored lower than standard beyond chance" in line for line in limits(lower))
    failed = shifted(*[(-1, -1)] * 9)
    assert "was not shown" in claim(failed)
    assert not failed.claimed
    better = shifted(*[(1, 0)] * 9)
    assert any("it was not the primary hypothesis" in line for line in limits(better))


def test_report_files(analysed, tmp_path):
    study, analysis, found = analysed
    provenance = Provenance(
        "study", "version 1", "ab" * 32, ("R2 <script>alert(1)</script> was late",), notice="SIMULATED"
    )
    written = write_report(tmp_path / "report", analysis, found, provenance)
    page = written["report.html"].read_text()
    assert claim(analysis).replace("“", "“") in page
    assert "<script" not in page
    assert not re.search(r"(src|href)='(?!data:)", page)  # nothing outside is referred to
    assert page.count("data:image/svg+xml") == 3
    for heading in ("Results", "Missing scores", "Reliability", "CLAIM 2024", "GRRAS", "Provenance"):
        assert heading in page
    assert "SIMULATED" in page
    markdown = written["report.md"].read_text()
    assert "figures/forest.svg" in markdown
    assert "<script" not in markdown
    assert (tmp_path / "report" / "figures" / "forest.svg").read_text().startswith("<svg")
    values = json.loads(written["analysis.json"].read_text())
    assert values["decision"]["item"] == "overall"
    assert values["protocol_hash"] == study.protocol.hash
    with written["scores.csv"].open() as file:
        rows = list(csv.DictReader(file))
    main = [row for row in rows if row["reading"] == "1" and row["item"] == "artifacts"]
    assert len(main) == 48
    assert all(int(row["score"]) + int(row["score_higher_is_better"]) == 6 for row in main)
    # The scores as published give the same estimate when read back without the key.
    again = write_csv(
        tmp_path / "back.csv",
        [{name: row[name] for name in ("reader", "case", "arm", "item", "score", "reading")} for row in rows],
    )
    columns = ColumnMap(case="case", arm="arm", item="item", score="score", reading="reading")
    back = unblinding.open_label(study.folder / "protocol.yaml", [again], columns)
    assert analyse(study.protocol, back.observations, replicates=50).decision == analysis.decision


def test_checklists_have_all_items_and_claim_nothing_for_open_tables(analysed):
    from reader_study.checklists import claim_2024, grras

    _, analysis, _ = analysed
    kept = Provenance("study", "version 1", "", conduct=Conduct(sealed_until_complete=True, shortest_washout=4.5))
    open_key, table = Provenance("study", "version 1", ""), Provenance("study", "not frozen", "", sealed=False)
    assert [row[0] for row in claim_2024(analysis, kept)] == [str(number) for number in range(1, 45)]
    assert len(grras(analysis, kept)) == 15
    blinding = [
        dict(row[1:] for row in grras(analysis, given))["Rating process, intervals, blinding"]
        for given in (kept, open_key, table)
    ]
    assert "key sealed" in blinding[0]
    assert "shortest by the sheets 4.5 weeks" in blinding[0]
    assert "key sealed" not in blinding[1]
    assert "the times of the sessions are not known" in blinding[1]
    assert "key sealed" not in blinding[2]


def test_per_protocol_leaves_logged_readings_out(built):
    excluded = [Deviation(5, "", "other", "another screen", "R1", 1, None)]
    excluded.append(Deviation(6, "", "other", "whole study", None, None, None))
    found = from_sheets(built.protocol, built.rows, built.sheets, excluded)
    assert np.isnan(found.scores["overall"][:, 0]).sum() == 12
    assert np.isfinite(found.scores["overall"][:, 1]).all()


def test_random_readers_decide_by_obuchowski_rockette(tmp_path):
    path = write_protocol(tmp_path / "protocol.yaml")
    text = path.read_text().replace("readers: fixed", "readers: random")
    path.write_text(
        text.replace("{id: R2, experience: 3 years}", "{id: R2, experience: 3 years}, {id: R3, experience: none}")
    )
    protocol = load_protocol(path)
    generator = np.random.default_rng(0)
    rows = allocate(protocol, SEED)
    sheets = [
        Sheet(
            protocol.hash,
            reader.id,
            reader.id,
            1,
            "",
            "",
            tuple(
                Response(
                    row.id, row.order, row.kind == "training", answer(row, protocol, generator), (), "", 1.0, "", ""
                )
                for row in rows
                if row.reader == reader.id
            ),
            (),
        )
        for reader in protocol.readers
    ]
    analysis = analyse(protocol, from_sheets(protocol, rows, sheets), replicates=50)
    assert analysis.primary.random is not None
    assert analysis.decision["lower_bound"] == analysis.primary.random.test.low
    assert "readers like these 3" in claim(analysis)
    assert analysis.decision["df"] == analysis.primary.random.test.df


def test_studies_without_variation_or_with_an_unanswered_item_still_report(analysed, tmp_path):
    study, _, found = analysed
    flat = {name: np.full_like(values, 4.0) for name, values in found.scores.items()}
    flat["artifacts"] = np.full_like(flat["artifacts"], np.nan)
    same = replace(found, scores=flat, raw=flat, repeats=flat)
    analysis = analyse(study.protocol, same, replicates=50)
    assert analysis.claimed
    assert analysis.primary.fixed.standard_error == 0
    assert [item.item for item in analysis.items] == ["overall"]
    assert "item 'artifacts': no reader scored two cases in both arms" in analysis.skipped[0]
    written = write_report(tmp_path / "flat", analysis, same, Provenance("study", "version 1", ""))
    assert "every score is the same" in written["report.md"].read_text()
    assert "not analysed" in written["report.md"].read_text()
    json.loads(written["analysis.json"].read_text(), parse_constant=pytest.fail)
