"""The REDCap data dictionary, and the export of a project made from it, back into the analysis."""

import csv

import pytest
from study_maker import write_protocol as write_small
from test_reader_analysis import PASSPHRASE, Built, write_csv

from reader_study.observations import from_sheets
from reader_study.protocol import load_protocol
from reader_study.redcap import FORM, HEADER, data_dictionary, redcap_name
from reader_study.scores import collect
from reader_study.study import open_study
from reader_study.tables import read_table
from recon.errors import ReconError


def as_redcap(built, labels=False):
    """What REDCap exports of a project with our dictionary: raw codes or labels, one record a presentation."""
    rows, keys = [], built.protocol.score_keys
    for sheet in built.sheets:
        for response in sheet.responses:
            row = {"record_id": str(len(rows) + 1), "reader": sheet.reader, "presentation": response.presentation}
            for key in keys:
                item = built.protocol.item(key.split("@")[0])
                score = str(response.scores[key])
                row[redcap_name(key)] = item.anchors.get(score, score) if labels else score
            rows.append({**row, "comment": "", f"{FORM}_complete": "Complete" if labels else "2"})
    return rows


@pytest.mark.parametrize("mode", ["independent", "side-by-side", "preference"])
def test_dictionary_has_a_field_for_every_answer(tmp_path, mode):
    protocol = load_protocol(write_small(tmp_path / "p.yaml", mode=mode))
    rows = list(csv.DictReader(data_dictionary(protocol).splitlines()))
    assert tuple(rows[0]) == HEADER
    assert [row["Variable / Field Name"] for row in rows[:3]] == ["record_id", "reader", "presentation"]
    assert len(rows) == 4 + len(protocol.score_keys)
    for row, key in zip(rows[3:], protocol.score_keys, strict=False):
        codes = [choice.split(",")[0] for choice in row["Choices, Calculations, OR Slider Labels"].split(" | ")]
        assert codes == [str(score) for score in protocol.allowed(key)]
        assert row["Required Field?"] == ("y" if key.startswith("overall") else "")
    text = data_dictionary(protocol)
    assert not any(word in text for word in ("soc", "C001", "diffusion"))


def test_names_that_redcap_cannot_tell_apart_are_refused(tmp_path):
    path = write_small(tmp_path / "p.yaml")
    path.write_text(path.read_text().replace("id: noise", "id: over-All").replace("id: overall", "id: over_all"))
    path.write_text(path.read_text().replace("item: overall", "item: over_all"))
    with pytest.raises(ReconError, match="REDCap would call it over_all"):
        data_dictionary(load_protocol(path))
    assert redcap_name("2nd-look_") == "item_2nd_look"


@pytest.mark.parametrize("labels", [False, True])
def test_the_export_of_the_dictionary_s_project_comes_back(tmp_path, labels):
    """Every score of the sheets, through REDCap and the key, without a column map."""
    built = Built(tmp_path)
    table = write_csv(tmp_path / "export.csv", as_redcap(built, labels))
    assert len(read_table(table, built.protocol)) == sum(len(s.responses) for s in built.sheets) * 2
    unfinished = [{**row, f"{FORM}_complete": "0"} for row in as_redcap(built)]
    with pytest.raises(ReconError, match="no scores found"):
        read_table(write_csv(tmp_path / "none.csv", unfinished), built.protocol)


def test_redcap_through_the_command_line(run_cli, tmp_path):
    built = Built(tmp_path)
    out = tmp_path / "dictionary.csv"
    made = run_cli("reader-study", "redcap-dictionary", built.folder, "--out", out, "--json")
    assert (made.code, made.json["fields"]) == (0, 6)
    assert run_cli("reader-study", "redcap-dictionary", built.folder, "--out", out).code == 2
    records = as_redcap(built)
    records[3]["comment"] = "moved"
    table = write_csv(tmp_path / "export.csv", records)
    for reader in ("R1", "R2"):
        words = [
            "reader-study",
            "deviation",
            built.folder,
            "scored in REDCap",
            "--kind",
            "unsigned",
            "--reader",
            reader,
        ]
        assert run_cli(*words).code == 0
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\n")
    (tmp_path / "passphrase").chmod(0o600)
    opening = ["reader-study", "unseal", built.folder, "--reason", "all in", "--sheets", table]
    assert run_cli(*opening, "--passphrase-file", tmp_path / "passphrase").code == 0
    found = run_cli("reader-study", "analyze", built.folder, "--sheets", table, "--out", tmp_path / "r", "--json")
    assert found.code == 0, found.err
    sheets = collect(open_study(built.folder), [table]).sheets
    back, given = (from_sheets(built.protocol, built.rows, some).scores for some in (sheets, built.sheets))
    assert (back["overall"] == given["overall"]).all()
    assert (back["artifacts"] == given["artifacts"]).all()
    said = {row.presentation: row.comment for sheet in sheets for row in sheet.responses if row.comment}
    assert said == {records[3]["presentation"]: "moved"}
    first_page = (tmp_path / "r" / "report.md").read_text().split("## Results")[0]
    assert "- Logged: unsigned, reader R2: scored in REDCap" in first_page
