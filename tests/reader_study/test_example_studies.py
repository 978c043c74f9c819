"""The example studies of two and three arms, from plan to report; of three arms one session is read in Chromium."""

import csv
import importlib.util
import io
import json
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from reader_study.sheet_files import read_sheet
from reader_study.study import open_study
from tests.orthanc import fetch
from tests.orthanc import orthanc as orthanc
from tests.reader_study.reading_browser import Browser, errors, verified

EXAMPLE = Path(__file__).parents[2] / "examples" / "reader_study"
IN_CHROMIUM = "R1-session-2"
# The reader's clock: it starts when the session is planned, and runs fast enough for nobody to read in no time.
CASES, TRAINING, REPEATS, SLICES = 9, 2, 1, 6
CLOCK = """(() => {
  const real = Date, from = real.now(), fast = 40, quick = performance.now.bind(performance);
  const now = () => BEGINS + fast * (real.now() - from);
  window.Date = class extends real {
    constructor(...words) { super(...(words.length ? words : [now()])); }
    static now() { return now(); }
  };
  performance.now = () => fast * quick();
})();"""


def read_in_chromium(browser: Browser, package: Path, sheets: Path, simulated: Path, begins) -> int:
    """Type what the simulated reader thought of each image into the viewer; gives the number of images."""
    thought = {row.presentation: list(row.scores.values()) for row in read_sheet(simulated).responses}
    source = CLOCK.replace("BEGINS", str(int(1000 * begins.timestamp())))
    added = browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})
    try:
        browser.open(package)
        browser.click("button.primary")
        for _ in thought:
            browser.ready()
            here = browser.run("return ReconSession.current().id")
            browser.press("".join(map(str, [*thought[here], "n"])))
        while browser.wait("ReconSession.screen !== 'reading' && ReconSession.screen") == "guessing":
            browser.ready()
            browser.press("3")
        shutil.copy(browser.save("json"), sheets / f"{package.name}.json")
    finally:
        browser.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
    assert errors(browser) == []
    return len(thought)


def shortened(example: str, path: Path, cases: tuple[int, int], repeats: int, guesses: int) -> Path:
    """The published design with so many cases of each cohort."""
    protocol = yaml.safe_load((EXAMPLE / example).read_text())
    protocol["cases"] = {
        cohort: names[:size] for (cohort, names), size in zip(protocol["cases"].items(), cases, strict=True)
    }
    protocol["repeats"], protocol["sessions"]["separation"] = repeats, 2
    protocol["guess"]["presentations"] = guesses
    path.write_text(yaml.safe_dump(protocol, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def three_arms(tmp_path_factory, browser_if_any) -> Path:
    """The study of three arms with fewer cases; where there is a Chromium, one session is read in it."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        specification = importlib.util.spec_from_file_location("example_run", EXAMPLE / "run.py")
        example = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(example)
    finally:
        sys.path.remove(str(EXAMPLE))
    folder = tmp_path_factory.mktemp("three") / "example"
    protocol = shortened("three-arms.yaml", folder.with_name("short.yaml"), (6, 3), REPEATS, 3)

    def read(package, sheets, seed, begins):
        if package.name != IN_CHROMIUM or browser_if_any is None:
            return example.read_session(package, sheets, seed, begins)
        apart = folder / "apart"
        example.read_session(package, apart, seed, begins)
        simulated = apart / f"{package.name}.json"
        return read_in_chromium(browser_if_any, package, sheets, simulated, begins)

    example.run(protocol, folder, read)
    return folder


def test_three_arms_from_plan_to_report(three_arms):
    values = json.loads((three_arms / "report" / "analysis.json").read_text())
    assert [row["new"] for row in values["comparisons"]] == ["accelerated", "wavelet"]
    assert all(row["decision"]["cases"] == CASES for row in values["comparisons"])
    page = (three_arms / "report" / "report.html").read_text()
    assert "SIMULATED" in page
    assert "Departure from the plan" not in page
    assert "wavelet against standard: Results" in page
    assert "share one error rate" in page


def test_a_session_of_three_arms_was_read_in_chromium(three_arms, browser):
    study = open_study(three_arms / "study")
    folder = three_arms / "study" / "sheets"
    assert not (folder / f"{IN_CHROMIUM}.csv").exists()
    sheet = verified(study, folder / f"{IN_CHROMIUM}.json")
    simulated = read_sheet(three_arms / "apart" / f"{IN_CHROMIUM}.json")
    assert [dict(row.scores) for row in sheet.responses] == [dict(row.scores) for row in simulated.responses]
    assert [row.images for row in sheet.responses] == [row.images for row in simulated.responses]
    assert sheet.started.startswith("2026-02-09")


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools are not installed")
def test_series_of_three_arms_are_valid_dicom(three_arms):
    series = sorted((three_arms / "study" / "dicom").glob("*/0001.dcm"))
    assert len(series) == 3 * (CASES + REPEATS + TRAINING)
    for path in series[:3]:
        done = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, check=False)
        assert "Error" not in done.stdout + done.stderr


def test_series_of_a_session_come_back_from_orthanc_pixel_by_pixel(three_arms, orthanc, run_cli):
    """What one session shows is sent, nothing else, and every series of it comes back."""
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("pynetdicom", reason="the optional package pynetdicom is not installed")
    dicom, web = orthanc
    study = three_arms / "study"
    words = (study, "--push", f"ORTHANC@127.0.0.1:{dicom}", "--session", IN_CHROMIUM, "--json")
    sent = run_cli("reader-study", "export", *words)
    with (study / "worklists" / f"{IN_CHROMIUM}.csv").open() as file:
        shown = {row["patient_id_a"] for row in csv.DictReader(file)}
    files = [pydicom.dcmread(path) for path in (study / "dicom").glob("*/*.dcm")]
    assert len(files) == 3 * (CASES + REPEATS + TRAINING) * SLICES
    files = [dataset for dataset in files if dataset.PatientID in shown]
    assert sent.json["instances_confirmed"] == len(files) >= CASES * SLICES
    patients = json.loads(fetch(web, "/patients"))
    assert len(patients) == len(shown)
    wanted = json.dumps({"Resources": patients, "Synchronous": True}).encode()
    served = {}
    with zipfile.ZipFile(io.BytesIO(fetch(web, "/tools/create-archive", wanted))) as archive:
        for name in archive.namelist():
            dataset = pydicom.dcmread(io.BytesIO(archive.read(name)))
            served[dataset.SOPInstanceUID] = dataset
    assert len(served) == len(files)
    for dataset in files:
        same = served[dataset.SOPInstanceUID]
        assert same.PatientID == dataset.PatientID
        assert np.array_equal(same.pixel_array, dataset.pixel_array)


def test_two_arms_from_plan_to_report_as_typed(tmp_path, monkeypatch):
    """The published design with fewer cases, by the script and its words."""
    protocol = shortened("protocol.yaml", tmp_path / "short.yaml", (5, 3), 2, 4)
    monkeypatch.setattr(sys, "argv", ["run.py", str(protocol), "--out", str(tmp_path / "example")])
    monkeypatch.syspath_prepend(str(EXAMPLE))
    runpy.run_path(str(EXAMPLE / "run.py"), run_name="__main__")
    values = json.loads((tmp_path / "example" / "report" / "analysis.json").read_text())
    assert values["decision"]["cases"] == 8
    page = (tmp_path / "example" / "report" / "report.html").read_text()
    assert "SIMULATED" in page
    assert "Departure from the plan" not in page
