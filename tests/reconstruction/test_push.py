"""``recon reconstruct --push``: a real Orthanc receives both series as they lie here; a refusal is one line."""

import io
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

from recon.images.grid import on_grid
from recon.images.volume import read_volume
from recon.scans.opening import open_scan
from recon.scans.options import UndersamplingOptions
from recon.scans.undersample import undersample
from tests.orthanc import fetch, free_port
from tests.orthanc import orthanc as orthanc
from tests.small_world import write_small_prior, write_small_scan

pytest.importorskip("pynetdicom", reason="the optional package pynetdicom is not installed")


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> tuple[object, ...]:
    folder = tmp_path_factory.mktemp("pushed")
    undersample(
        open_scan(write_small_scan(folder / "full.h5")),
        folder / "fast.h5",
        UndersamplingOptions(acceleration=2, calibration_lines=12),
    )
    prior = write_small_prior(folder / "prior")
    return ("reconstruct", folder / "fast.h5", "--prior", prior, "--steps", 3, "--samples", 2, "--out", folder / "out")


def test_orthanc_gets_image_and_standard_deviation(words, orthanc, run_cli) -> None:
    dicom, web = orthanc
    outcome = run_cli(*words, "--push", f"ORTHANC@127.0.0.1:{dicom}", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["scans"][0]["instances_confirmed"] == 4
    files = {path: pydicom.dcmread(path) for path in Path(words[-1]).glob("fast_dicom/*/*.dcm")}
    assert len(files) == 4
    stored = json.loads(fetch(web, "/instances"))
    served = [pydicom.dcmread(io.BytesIO(fetch(web, f"/instances/{name}/file"))) for name in stored]
    assert {entry.SOPInstanceUID for entry in served} == {entry.SOPInstanceUID for entry in files.values()}
    assert len({entry.StudyInstanceUID for entry in served}) == 1
    for entry in served:
        assert entry in files.values()
        assert entry.BurnedInAnnotation == "NO"
        assert entry.ImageType[0] == "DERIVED"
        assert "posterior" in entry.DerivationDescription
        equipment = entry.ContributingEquipmentSequence[0]
        assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
        deviation = "standard deviation" in entry.SeriesDescription
        assert ("Not an image of the patient" in entry.get("ImageComments", "")) == deviation
    assert sorted("standard deviation" in entry.SeriesDescription for entry in served) == [False, False, True, True]
    again = run_cli(*words, "--push", f"ORTHANC@127.0.0.1:{dicom}", "--json")
    assert again.json["scans"][0]["kept"]
    assert again.json["scans"][0]["instances_confirmed"] == 4
    assert len(json.loads(fetch(web, "/instances"))) == 4


def test_orthanc_gets_enhanced_instances(words, orthanc, run_cli, tmp_path) -> None:
    """One multi-frame instance a series, of the same volume; nothing is written that was not asked for."""
    dicom, web = orthanc
    before = set(json.loads(fetch(web, "/instances")))
    out = tmp_path / "out"
    shutil.copytree(words[-1], out) if Path(words[-1]).is_dir() else None
    shutil.rmtree(out / "fast_dicom", ignore_errors=True)
    more = ("--format", "h5,dicom-enhanced", "--push", f"ORTHANC@127.0.0.1:{dicom}", "--json")
    outcome = run_cli(*words[:-1], out, *more)
    assert outcome.code == 0, outcome.err
    assert outcome.json["scans"][0]["instances_confirmed"] == 2
    assert sorted(path.name for path in out.iterdir()) == ["fast.h5", "fast_enhanced"]
    files = {path.stem: path for path in (out / "fast_enhanced").iterdir()}
    assert sorted(files) == ["mean", "std"]
    fresh = set(json.loads(fetch(web, "/instances"))) - before
    served = {}
    for name in fresh:
        content = fetch(web, f"/instances/{name}/file")
        entry = pydicom.dcmread(io.BytesIO(content))
        served["std" if "standard deviation" in entry.SeriesDescription else "mean"] = entry
        assert entry.SOPClassUID == pydicom.uid.EnhancedMRImageStorage
        assert entry.ImageType[0] == "DERIVED"
        assert entry.BurnedInAnnotation == "NO"
        assert entry.ContributingEquipmentSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert served == {name: pydicom.dcmread(path) for name, path in files.items()}
    assert "Not an image of the patient" in served["std"].ImageComments
    result = read_volume(out / "fast.h5")
    for name, path in files.items():
        volume = read_volume(path)
        assert volume.affine is not None
        assert volume.values.shape[0] == result.values.shape[0]
        if name == "mean":
            placed = on_grid(volume, result.values.shape, result.affine, "image")
            factor = float(np.median(placed / result.values))
            np.testing.assert_allclose(placed / factor, result.values, atol=1e-3 * result.values.max())
    again = run_cli(*words[:-1], out, *more)
    assert again.json["scans"][0]["kept"]
    files["std"].write_bytes(files["std"].read_bytes()[:3000])  # cut short: written anew
    assert run_cli(*words[:-1], out, *more).code == 0
    assert read_volume(files["std"]).values.shape == result.values.shape


def test_what_is_sent_is_valid(words, run_cli) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    assert run_cli(*words, "--format", "dicom").code == 0
    for path in Path(words[-1]).glob("fast_dicom/*/*.dcm"):
        report = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True)
        assert "Error" not in report.stdout + report.stderr, report.stdout + report.stderr


def test_a_server_that_is_away_costs_no_reconstruction(words, run_cli, tmp_path) -> None:
    outcome = run_cli(*words[:-1], tmp_path / "out", "--push", f"PACS@127.0.0.1:{free_port()}")
    assert outcome.code == 2
    assert "cannot be reached" in outcome.err
    assert not (tmp_path / "out").exists()


def test_a_refusal_keeps_the_files(words, run_cli) -> None:
    from pydicom.uid import MRImageStorage
    from pynetdicom import AE, evt

    def store(event: evt.Event) -> int:
        return 0xA700  # out of resources

    entity = AE(ae_title="FULL")
    entity.add_supported_context(MRImageStorage)
    port = free_port()
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        outcome = run_cli(*words, "--push", f"FULL@127.0.0.1:{port}")
    finally:
        server.shutdown()
    assert outcome.code == 2
    assert "status 0xA700" in outcome.err
    assert len(list(Path(words[-1]).glob("fast_dicom/*/*.dcm"))) == 4
