"""The push: a real Orthanc on loopback receives every instance and serves it again; refusals are one line."""

import json
import shutil
from pathlib import Path

import pytest

from reader_study.blind_check import Pair, check_pairs
from recon.errors import ReconError
from recon.images.dicom_push import parse_destination
from tests.orthanc import fetch, free_port
from tests.orthanc import orthanc as orthanc
from tests.reader_study.study_maker import export_small

pytest.importorskip("pynetdicom", reason="the optional package pynetdicom is not installed")


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    return export_small(tmp_path_factory.mktemp("pushed"), cases=2)


def test_orthanc_receives_and_serves_every_instance(exported, orthanc, run_cli):
    import io

    import pydicom

    dicom, web = orthanc
    outcome = run_cli("reader-study", "export", exported, "--push", f"ORTHANC@127.0.0.1:{dicom}", "--json")
    assert outcome.code == 0, outcome.err
    files = {path: pydicom.dcmread(path) for path in (exported / "dicom").glob("*/*.dcm")}
    assert outcome.json["instances_confirmed"] == len(files) == 12
    stored = json.loads(fetch(web, "/instances"))
    assert len(stored) == len(files)
    served = {}
    for identifier in stored:
        dataset = pydicom.dcmread(io.BytesIO(fetch(web, f"/instances/{identifier}/file")))
        served[dataset.SOPInstanceUID] = dataset
    for dataset in files.values():
        assert served[dataset.SOPInstanceUID] == dataset
    assert len(json.loads(fetch(web, "/series"))) == 6
    again = run_cli("reader-study", "export", exported, "--push", f"ORTHANC@127.0.0.1:{dicom}", "--json")
    assert again.json["instances_confirmed"] == 12


def test_a_session_that_is_not_there_and_one_without_a_server_are_one_line(exported, run_cli):
    outcome = run_cli("reader-study", "export", exported, "--push", "PACS@127.0.0.1:104", "--session", "R9-session-1")
    assert outcome.code == 2
    assert "there is no session R9-session-1; sessions are R1-session-1, R2-session-1" in outcome.err
    outcome = run_cli("reader-study", "export", exported, "--session", "R1-session-1")
    assert outcome.code == 2
    assert "name the server with --push" in outcome.err


def test_de_identification_by_a_server_is_not_blinding(tmp_path, orthanc):
    """What Orthanc's default anonymisation leaves of a leaky pair still tells the arm, and the check says so."""
    import pydicom
    from test_reader_study_blind_check import make_pairs

    _, web = orthanc

    def change(dataset: pydicom.Dataset) -> None:
        dataset.Manufacturer, dataset.SoftwareVersions = "RECON", "2.1"
        dataset.AcquisitionDuration, dataset.EchoTrainLength = 61.0, 12
        dataset.ParallelReductionFactorInPlane, dataset.PercentSampling = 2.0, "50"

    (pair,) = make_pairs(tmp_path, change=change)
    series: list[tuple[Path, ...]] = []
    for number, files in enumerate((pair.first, pair.second)):
        (tmp_path / f"out{number}").mkdir()
        for path in files:
            stored = json.loads(fetch(web, "/instances", path.read_bytes()))
            anonymous = fetch(web, f"/instances/{stored['ID']}/anonymize", b"{}")
            (tmp_path / f"out{number}" / path.name).write_bytes(anonymous)
        series.append(tuple(sorted((tmp_path / f"out{number}").iterdir())))
    leaks = {finding.attribute for finding in check_pairs([Pair("C1", *series)]).findings if finding.leaks}
    assert {"ParallelReductionFactorInPlane", "EchoTrainLength", "AcquisitionDuration"} <= leaks


def test_refusal_in_the_middle_names_the_instance(exported, run_cli):
    from pydicom.uid import MRImageStorage
    from pynetdicom import AE, evt

    received = []

    def store(event: evt.Event) -> int:
        received.append(event.request.AffectedSOPInstanceUID)
        return 0x0000 if len(received) < 4 else 0xA700  # out of resources

    entity = AE(ae_title="FULL")
    entity.add_supported_context(MRImageStorage)
    port = free_port()
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        outcome = run_cli("reader-study", "export", exported, "--push", f"FULL@127.0.0.1:{port}")
    finally:
        server.shutdown()
    assert outcome.code == 2
    assert "status 0xA700" in outcome.err
    assert "3 of 12" in outcome.err


def test_no_server_and_altered_files_are_one_line(exported, tmp_path, run_cli):
    outcome = run_cli("reader-study", "export", exported, "--push", f"PACS@127.0.0.1:{free_port()}")
    assert outcome.code == 2
    assert "cannot be reached" in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    folder = tmp_path / "copy"
    shutil.copytree(exported, folder)
    path = next((folder / "dicom").glob("*/*.dcm"))
    with path.open("ab") as file:
        file.write(b"\0\0")
    outcome = run_cli("reader-study", "export", folder, "--push", f"PACS@127.0.0.1:{free_port()}")
    assert outcome.code == 2
    assert "nothing was sent" in outcome.err
    assert path.name in outcome.err


@pytest.mark.parametrize("text", ["PACS", "PACS@host", "@host:104", "PACS@host:0", "PACS@host:99999", "A B@host:1"])
def test_bad_destinations(text):
    with pytest.raises(ReconError, match="AE@host:port"):
        parse_destination(text)
    assert parse_destination("PACS@10.0.0.5:104").port == 104
