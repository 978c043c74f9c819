"""Readers on a PACS: a page beside the worklist asks the questions, and its signed sheet needs no deviation."""

import csv
import json
import shutil
from dataclasses import replace

import pytest

from reader_study.adjudication import adjudicate
from reader_study.canonical import digest
from reader_study.integrity import verify_files
from reader_study.scores import collect
from reader_study.sheet import Response, Sheet
from reader_study.sheet_files import read_sheet, write_sheet
from reader_study.study import LOG, open_study
from reader_study.worklists import names
from recon.digest import file_sha256
from recon.errors import ReconError
from tests.reader_study.reading_browser import errors, verified
from tests.reader_study.study_maker import PASSPHRASE, export_small

ENDS_A_SCRIPT = "Read on.</script><b id=foreign>x</b>"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pacs")
    return export_small(folder, cases=4, instructions=ENDS_A_SCRIPT, repeats=1, sessions={"count": 2, "separation": 0})


@pytest.fixture
def study(original, tmp_path):
    return shutil.copytree(original, tmp_path / "study")


def page_of(study, package):
    return study / "worklists" / names(package)[1]


def setup_of(study, package):
    """What the page holds, read from it as the browser reads it."""
    text = page_of(study, package).read_text(encoding="utf-8")
    return json.loads(text[text.rindex("reconPackage({") + 13 : text.rindex(");\n</script>")])


def scored(study, package, score=lambda entry: 4):
    """The signed sheet of a reader who used the page."""
    setup = setup_of(study, package)

    def time(index):
        day = f"2040-0{package.session}-{1 + 20 * (package.session - 1):02d}"
        return f"{day}T09:{index // 2:02d}:{30 * (index % 2):02d}.000Z"

    responses = tuple(
        Response(
            *(row["id"], row["order"], row["training"], {"overall": score(row)}, (), "", 30.0),
            *(time(2 * index), time(2 * index + 1), tuple(row["series"])),
        )
        for index, row in enumerate(setup["presentations"])
    )
    ends = (responses[0].started, responses[-1].finished)
    return Sheet(setup["study"], setup["package"], setup["reader"], setup["session"], *ends, responses, ()).signed(
        setup["signing_key"]
    )


def hand_in(study, sheets):
    (study / "sheets").mkdir(exist_ok=True)
    for sheet in sheets:
        write_sheet(study / "sheets" / f"{sheet.reader}-{sheet.session}.json", sheet)


def test_the_page_names_the_patients_of_the_worklist_and_the_hashes_of_their_series(study):
    opened = open_study(study)
    series = {}
    for folder in (study / "dicom").iterdir():
        if folder.is_dir():
            series[folder.name] = digest({path.name: file_sha256(path) for path in folder.iterdir()})
    for package in opened.packages:
        setup = setup_of(study, package)
        with (study / "worklists" / names(package)[0]).open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["patients"] for row in setup["presentations"]] == [[row["patient_id_a"]] for row in rows]
        assert [row["series"] for row in setup["presentations"]] == [list(row.series) for row in package.presentations]
        assert {mark for row in package.presentations for mark in row.series} <= set(series.values())
        assert not {"images", "sha256"} & set(setup["presentations"][0])
        text = page_of(study, package).read_text()
        assert ENDS_A_SCRIPT not in text
        assert text.count("<script") == text.count("</script>") == 1, "one script in one file"
        assert " src=" not in text.replace(' src="', " src=")[: text.index("<script>")]
    assert verify_files(opened) == []
    page_of(study, opened.packages[0]).write_text(text)
    assert "missing or altered" in verify_files(opened)[0]


def test_sheets_of_the_pages_go_from_check_to_the_report_without_a_deviation(study, run_cli, tmp_path):
    opened = open_study(study)
    found = run_cli("reader-study", "status", study)
    assert f"to read on a PACS: {page_of(study, opened.packages[0])}" in found.out
    hand_in(
        study, [scored(study, package, lambda row: 3 + int(row["series"][0], 16) % 3) for package in opened.packages]
    )
    assert run_cli("reader-study", "check", study, "--sheets", study / "sheets", "--json").code == 0
    assert run_cli("reader-study", "status", study, "--json").json["phase"] == "complete"
    (tmp_path / "word").write_text(PASSPHRASE)
    done = run_cli("reader-study", "unseal", study, "--reason", "all in", "--passphrase-file", tmp_path / "word")
    assert done.code == 0, done.err
    done = run_cli("reader-study", "analyze", study, "--out", tmp_path / "report", "--json")
    assert done.code == 0, done.err
    assert done.json["unsigned"] == done.json["deviations"] == []
    report = (tmp_path / "report" / "report.md").read_text()
    assert "Read on a PACS" in report
    assert "reader R1, session 1 (" in report


def another_patient(sheet, other):
    rows = list(sheet.responses)
    rows[2], rows[3] = replace(rows[2], images=rows[3].images), replace(rows[3], images=rows[2].images)
    return replace(sheet, responses=tuple(rows))


def no_series(sheet, other):
    return replace(sheet, responses=(replace(sheet.responses[0], images=()), *sheet.responses[1:]))


def another_reader(sheet, other):
    return replace(sheet, reader=other.reader, session=other.session, package=other.package)


@pytest.mark.parametrize(
    ("change", "sign_again", "said"),
    [
        (lambda sheet, _: replace(sheet, finished="2041"), False, "signature does not match"),
        (another_reader, True, "signature does not match"),
        (another_patient, True, "not those that were exported"),
        (no_series, True, "not those that were exported"),
    ],
)  # fmt: skip
def test_tampered_sheets_of_the_page_are_refused(study, run_cli, change, sign_again, said):
    first, other = (scored(study, package) for package in open_study(study).packages[:2])
    changed = change(first, other)
    if sign_again:
        changed = changed.signed(setup_of(study, open_study(study).packages[0])["signing_key"])
    hand_in(study, [changed])
    refused = run_cli("reader-study", "check", study, "--sheets", study / "sheets")
    assert refused.code == 2
    assert said in refused.err
    assert len(refused.err.strip().splitlines()) == 1


def test_an_export_from_before_the_page_takes_no_series(study):
    """Its log knows no hash of a series."""
    opened = open_study(study)
    package = opened.packages[0]
    older = replace(package, presentations=tuple(replace(row, series=()) for row in package.presentations))
    from reader_study.sheet_check import check_sheet

    with pytest.raises(ReconError, match="not those that were exported"):
        check_sheet(scored(study, package), opened.protocol, [older])


def test_an_added_reader_and_an_adjudicator_get_pages(tmp_path, run_cli):
    rule = {"reader": "A1", "experience": "20 years", "items": ["overall"], "difference": 2}
    study = export_small(tmp_path, cases=3, training_cases=[], adjudication=rule, guess={"presentations": 0})
    run_cli("reader-study", "add-reader", study, "R3", "R2 left", "--in-place-of", "R2", "--experience", "5 years")
    opened = open_study(study)
    old, new = (next(one for one in opened.packages if one.reader == reader) for reader in ("R2", "R3"))
    rows = [setup_of(study, package)["presentations"] for package in (old, new)]
    assert [row["patients"] for row in rows[0]] == [row["patients"] for row in rows[1]]
    assert not {row["id"] for row in rows[0]} & {row["id"] for row in rows[1]}
    levels = {"R1": 2, "R2": 4, "R3": 2}
    hand_in(study, [scored(study, package, lambda row, of=package: levels[of.reader]) for package in opened.packages])
    adjudicate(opened, collect(opened, [study / "sheets"]).sheets)
    opened = open_study(study)
    setup = setup_of(study, opened.packages[-1])
    assert setup["reader"] == "A1"
    assert {row["patients"][0] for row in setup["presentations"]} == {row["patients"][0] for row in rows[0]}
    assert verify_files(opened) == []
    hand_in(study, [scored(study, opened.packages[-1], lambda row: 3)])
    assert len(collect(opened, [study / "sheets"]).sheets) == 4
    assert '"adjudication"' in (study / LOG).read_text()


def test_a_reader_beside_the_pacs_from_the_page_to_the_signed_sheet(browser, study):
    opened = open_study(study)
    package = opened.packages[0]
    browser.requested()
    browser.open(page_of(study, package))
    assert "Read on.</script><b id=foreign>x</b>" in browser.text(".sheet")
    assert browser.count("#foreign") == 0
    assert "Your screen" not in browser.text(".sheet")
    assert browser.count(".controls tr") == 3
    browser.click("button.primary")
    with (study / "worklists" / names(package)[0]).open(newline="") as file:
        patients = [row["patient_id_a"] for row in csv.DictReader(file)]
    assert browser.text(".patient b") == patients[0]
    browser.press("4")
    browser.click("aside footer button.primary")
    assert browser.run("return document.activeElement.dataset.opened") == ""
    assert browser.text(".top strong").startswith("Training 1"), "nothing is answered before the image is open"
    for index, patient in enumerate(patients):
        assert browser.text(".patient b") == patient
        if index == 1:  # closed on the way: the answers are kept, and the image must be opened again
            browser.open(page_of(study, package))
            browser.click("button.primary")
            assert browser.text(".patient b") == patient
        browser.press("o")
        assert "is open" in browser.text(".worklist")
        browser.press("5", "2", "n")
    for number in range(len([row for row in package.presentations if row.guess])):
        assert browser.text(".patient b") in patients
        browser.click(f"[data-guess={('new', 'unknown')[number]}]")
    sheet = verified(opened, browser.save("json"))
    same = read_sheet(browser.save("csv"))
    assert same.responses == sheet.responses
    assert package.on_pacs(sheet) == len(package.presentations) == len(sheet.responses)
    assert sheet.responses[-1].scores == {"overall": 5, "noise": 2}
    assert sheet.responses[-1].seconds < 60
    assert errors(browser) == []
    assert not {address.split(":")[0] for address in browser.requested()} & {"http", "https", "ws", "wss"}
