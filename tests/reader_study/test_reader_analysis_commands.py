"""``recon reader-study power``, ``unseal`` and ``analyze`` as typed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_reader_analysis import PASSPHRASE, Built, open_label_rows, table_rows, write_csv, write_protocol

from reader_study import audit_log
from reader_study.study import LOG

ROOT = Path(__file__).parents[2]


@pytest.fixture
def built(tmp_path):
    study = Built(tmp_path)
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\n")
    (tmp_path / "passphrase").chmod(0o600)
    return study


def test_power_reports_type_one_error_and_power(run_cli, tmp_path):
    protocol = write_protocol(tmp_path / "protocol.yaml")
    words = [
        "reader-study",
        "power",
        protocol,
        "--cases",
        30,
        "--effect",
        0,
        "--replicates",
        4000,
        "--reader-arm-sd",
        0,
    ]
    found = run_cli(*words, "--json")
    assert found.code == 0
    result = found.json
    error, power = result["rows"]
    assert error["effect"] == -0.5
    assert 0.015 < error["type_1_error"] < 0.035
    assert power["power"] > 0.8
    assert result["readers"] == "fixed"
    assert run_cli(*words, "--json").json["rows"] == result["rows"]
    assert "type I error" in run_cli(*words).out


def test_power_refuses_impossible_assumptions(run_cli, tmp_path):
    protocol = write_protocol(tmp_path / "protocol.yaml")
    found = run_cli("reader-study", "power", protocol, "--effect", 3, "--replicates", 200)
    assert found.code == 2
    assert "does not fit on the scale 1 to 5" in found.err
    assert run_cli("reader-study", "power", protocol, "--case-arm-sd", -1).code == 2
    assert run_cli("reader-study", "power", tmp_path / "none.yaml").code == 2


def test_unseal_and_analyze(run_cli, built, tmp_path):
    sheets = built.write(built.folder / "sheets")
    key = built.folder / "key.opened.json"
    analyze = ["reader-study", "analyze", built.folder, "--out", tmp_path / "report"]
    early = run_cli(*analyze)
    assert early.code == 2
    assert "no opened key; run 'recon reader-study unseal'" in early.err
    unseal = ["reader-study", "unseal", built.folder, "--out", key, "--reason", "all in"]
    assert run_cli(*unseal, "--passphrase-file", tmp_path / "passphrase").code == 0
    pooled = run_cli(*analyze, "--readers", "pooled")
    assert pooled.code == 2
    assert "pooling reader x case rows is refused" in pooled.err
    assert not (tmp_path / "report").exists()
    found = run_cli(*analyze, "--json")
    assert found.code == 0, found.err
    assert found.json["item"] == "overall"
    assert found.json["claimed"] == (found.json["lower_bound"] > -0.5)
    assert "these 2 readers" in found.json["claim"]
    assert Path(found.json["output"]["report.html"]).is_file()
    logged = audit_log.read(built.folder / LOG)[-1]
    assert logged.event == "analysis"
    assert logged.hash == found.json["log_head"]
    noted = found.json["log_head"]
    assert run_cli(*analyze, "--expect-head", noted).code == 0
    lost = run_cli(*analyze, "--expect-head", "0" * 63 + "1")
    assert (lost.code, "was cut or rewritten" in lost.err) == (2, True)
    assert run_cli("reader-study", "check", built.folder, "--expect-head", "0" * 63 + "1").code == 2
    # A second analysis gives the same result; a changed sheet is refused.
    again = run_cli(*analyze, "--json")
    assert again.json["estimate"] == found.json["estimate"]
    path = sheets / "R1-1.json"
    path.write_text(path.read_text().replace('"overall": 4', '"overall": 5', 1))
    changed = run_cli(*analyze)
    assert changed.code == 2
    assert "R1-1.json: the signature does not match" in changed.err
    assert len(changed.err.strip().splitlines()) == 1


def test_unsigned_tables_go_through_unseal_and_analyze_after_a_deviation(run_cli, built, tmp_path):
    table = write_csv(tmp_path / "scores.csv", table_rows(built))
    columns = tmp_path / "columns.yaml"
    columns.write_text("presentation: image\n")
    given = ["--sheets", table, "--columns", columns]
    key = tmp_path / "opened.json"
    unseal = ["reader-study", "unseal", built.folder, "--out", key, "--reason", "all in", *given]
    unseal += ["--passphrase-file", tmp_path / "passphrase"]
    refused = run_cli(*unseal)
    assert refused.code == 2
    assert "are not signed; log why with 'recon reader-study deviation" in refused.err
    for reader in ("R1", "R2"):
        words = ["reader-study", "deviation", built.folder, "typed from paper", "--kind", "unsigned"]
        assert run_cli(*words).code == 2  # of whom?
        assert run_cli(*words, "--reader", reader).code == 0
    assert run_cli(*unseal).code == 0
    found = run_cli("reader-study", "analyze", built.folder, *given, "--key", key, "--out", tmp_path / "r", "--json")
    assert found.code == 0, found.err
    assert found.json["unsigned"] == ["scores.csv"]
    assert found.json["deviations"] == [f"unsigned, reader {reader}: typed from paper" for reader in ("R1", "R2")]
    rows = table_rows(built)
    rows[-1]["overall"] = 1 + rows[-1]["overall"] % 5
    write_csv(table, rows)
    changed = run_cli("reader-study", "analyze", built.folder, *given, "--key", key, "--out", tmp_path / "r")
    assert changed.code == 2
    assert "R2, session 2 differs from the one when the key was opened" in changed.err


def test_open_label_table_with_a_protocol_alone(run_cli, built, tmp_path):
    table = write_csv(tmp_path / "open.csv", open_label_rows(built))
    protocol = tmp_path / "protocol.yaml"
    found = run_cli("reader-study", "analyze", protocol, "--sheets", table, "--out", tmp_path / "r", "--json")
    assert found.code == 0, found.err
    assert "nothing was sealed" in found.err
    assert found.json["log_head"] is None
    assert run_cli("reader-study", "analyze", protocol, "--out", tmp_path / "r").code == 2


@pytest.mark.slow
def test_the_example_runs_from_plan_to_report(tmp_path):
    """All of examples/reader_study in one command, under three minutes, everything called simulated."""
    folder = tmp_path / "example"
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "reader_study" / "run.py"), "--out", str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    values = json.loads((folder / "report" / "analysis.json").read_text())
    assert values["decision"]["cases"] == 101
    assert len(values["items"]) == 8
    report = (folder / "report" / "report.html").read_text()
    assert "SIMULATED" in report
    assert "Departure from the plan" not in report
    assert "weeks apart or more (4 planned)" in report
