"""Cases of several sequences: from the plan to the report, blinded sequence by sequence, and what is refused."""

import csv
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import yaml
from sequences_maker import SEQUENCES, affine_of, head, sequences_mapping, write_sequences
from study_maker import PASSPHRASE, key_of, make_study, protocol_mapping

from reader_study.adjudication import adjudicate
from reader_study.export import dicom_pairs, export_study
from reader_study.geometry import check_arms_in_place, positions
from reader_study.integrity import uniform_series, verify_files
from reader_study.packages import read_setup
from reader_study.protocol import load_protocol
from reader_study.sheet import Flag, Response, Sheet
from reader_study.sheet_check import check_sheet
from reader_study.sheet_files import read_sheet, write_sheet
from reader_study.study import freeze, open_study
from reader_study.volumes import DisplayVolume
from recon.errors import ReconError

RULE = {"reader": "A1", "experience": "20 years", "items": ["overall"], "difference": 2}
NAMES = [sequence["name"] for sequence in SEQUENCES]


def planned(folder, **changes):
    """A frozen study and the pattern of its images."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.yaml").write_text(yaml.safe_dump(sequences_mapping(**changes), sort_keys=False))
    study, _ = freeze(folder / "plan.yaml", folder / "study")
    cases = [*study.protocol.case_ids, *study.protocol.training_cases]
    return study.folder, write_sequences(folder / "images", cases)


@pytest.fixture(scope="module")
def exported_study(tmp_path_factory):
    folder, pattern = planned(tmp_path_factory.mktemp("sequences"), adjudication=RULE)
    assert export_study(folder, pattern, PASSPHRASE, work_factor=2**4).passed
    return folder


@pytest.fixture
def folder(exported_study, tmp_path):
    return shutil.copytree(exported_study, tmp_path / "study")


def sheet_of(folder, package, score, flags=()):
    """The signed sheet of a package: one score for every presentation, or ``score(entry)``."""
    facts = read_setup(folder / package.folder)
    responses = tuple(
        Response(
            *(entry.id, entry.order, entry.training, {"overall": score(entry) if callable(score) else score}),
            *(flags, "", 5.0, "2026-01-05T08:00:00Z", "2026-01-05T08:00:05Z", entry.images),
        )
        for entry in package.presentations
    )
    sheet = Sheet(facts["study"], package.id, package.reader, package.session, "", "x", responses, ())
    return sheet.signed(facts["signing_key"])


def hand_back(folder, score):
    for package in open_study(folder).packages:
        if not (folder / "sheets" / f"{package.reader}-{package.session}.json").exists():
            sheet = sheet_of(folder, package, lambda entry, who=package.reader: score(who, entry))
            (folder / "sheets").mkdir(exist_ok=True)
            write_sheet(folder / "sheets" / f"{package.reader}-{package.session}.json", sheet)


def test_a_study_of_sequences_from_plan_to_report(run_cli, tmp_path):
    """Every step as a coordinator types it, with a reader added and the disagreements adjudicated."""
    short = {"items": protocol_mapping()["items"][:1], "guess": {"presentations": 0}}
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump(sequences_mapping(cases=4, adjudication=RULE, **short), sort_keys=False))
    secret = tmp_path / "passphrase"
    secret.write_text(PASSPHRASE + "\n")
    secret.chmod(0o600)
    study = tmp_path / "study"
    planning = run_cli("reader-study", "plan", plan, "--out", study)
    assert "FLAIR, DWI, ADC together (ADC the same in all arms)" in planning.out
    cases = [*load_protocol(plan).case_ids, "T1"]
    pattern = write_sequences(tmp_path / "images", cases)
    out = run_cli("reader-study", "export", study, "--images", pattern, "--passphrase-file", secret, "--json")
    assert out.code == 0, out.err
    assert out.json["images"] == 5 * 2 * 3
    assert out.json["check"]["dicom"]["pairs"] == 5 * 3
    assert run_cli("reader-study", "check", study, "--passphrase-file", secret).code == 0
    adding = ("reader-study", "add-reader", study, "R3", "R2 is ill", "--in-place-of", "R2", "--experience", "a year")
    assert run_cli(*adding).code == 0
    new = {row.id: row.arms[0] == "dm" for row in key_of(study).presentations}
    added = {
        mine: shown
        for entry in open_study(study).entries
        if entry.event == "reader-added"
        for mine, shown in entry.details["shows"].items()
    }

    def score(reader, entry):
        better = new.get(added.get(entry.id, entry.id), False)
        return 5 if reader == "A1" else 2 + better + 2 * (reader == "R3" and entry.order % 2)

    hand_back(study, score)
    assert run_cli("reader-study", "adjudicate", study).code == 0
    third = next(package for package in open_study(study).packages if package.reader == "A1")
    assert {len(entry.images) for entry in third.presentations} == {3}
    assert {len(entry.shapes) for entry in third.presentations} == {3}
    hand_back(study, score)
    checked = run_cli("reader-study", "check", study, "--sheets", study / "sheets")
    assert (checked.code, checked.out.count("signature valid")) == (0, 4)
    assert run_cli("reader-study", "status", study, "--json").json["phase"] == "complete"
    opening = ("reader-study", "unseal", study, "--reason", "all in", "--passphrase-file", secret)
    assert run_cli(*opening).code == 0
    found = run_cli("reader-study", "analyze", study, "--out", tmp_path / "report", "--json")
    assert found.code == 0, found.err
    page = (tmp_path / "report" / "report.html").read_text()
    assert "FLAIR, DWI, ADC together (ADC the same in all arms)" in page


def test_the_dicom_series_of_a_presentation_are_one_study_in_one_space(folder):
    """One study and patient, a series each; number and name tell the sequence and never the arm; places agree."""
    key, dicom = key_of(folder), folder / "dicom"
    groups = {}
    for image in key.images:
        groups.setdefault((image.case, image.arm), []).append(image)
    assert {len(group) for group in groups.values()} == {3}
    for group in groups.values():
        first = [pydicom.dcmread(dicom / image.id / "0001.dcm") for image in group]
        assert len({one.StudyInstanceUID for one in first}) == len({one.PatientID for one in first}) == 1
        assert len({one.FrameOfReferenceUID for one in first}) == 1
        assert len({one.SeriesInstanceUID for one in first}) == 3
        assert [(one.SeriesNumber, one.SeriesDescription) for one in first] == list(zip((1, 2, 3), NAMES, strict=True))
    assert len({image.study_uid for image in key.images}) == len(groups)
    # The distance between the first voxels of two series is that of the sources, turned for display.
    by_name = {image.sequence: pydicom.dcmread(dicom / image.id / "0001.dcm") for image in groups["C001", "soc"]}
    places = {name: np.array(one.ImagePositionPatient, float) for name, one in by_name.items()}
    corner = {name: affine_of(name) @ [*(np.array(head(name, 0).shape[:2]) - 1), 0, 1] for name in NAMES}
    expected = (corner["DWI"] - corner["FLAIR"])[:3] * [-1, -1, 1]
    np.testing.assert_allclose(places["DWI"] - places["FLAIR"], expected, atol=0.01)
    directions = np.array(by_name["DWI"].ImageOrientationPatient, float).reshape(2, 3)
    np.testing.assert_allclose(directions @ directions.T, np.eye(2), atol=2e-4)
    worklist = next((folder / "worklists").glob("R1*"))
    known = {image.patient_id for image in key.images}
    rows = csv.DictReader(worklist.read_text().splitlines())
    assert all(row["patient_id_a"] in known for row in rows)
    assert uniform_series(open_study(folder)) == []
    pairs = dicom_pairs(folder, open_study(folder).protocol, key)
    assert {pair.sequence for pair in pairs} == set(NAMES)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed (Debian package dicom3tools)")
def test_the_series_are_valid_dicom(folder):
    """The validator of the standard finds no error in a tilted series of several."""
    key = key_of(folder)
    for image in [image for image in key.images if (image.case, image.arm) == ("C001", "dm")]:
        path = folder / "dicom" / image.id / "0002.dcm"
        done = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, check=False)
        assert "Error" not in done.stdout + done.stderr, done.stderr


def test_series_without_a_place_are_linked_by_their_slices_or_refused():
    """No orientation in any of the files: as many slices in all, or one line."""
    known = DisplayVolume(np.zeros((4, 5, 6), np.float32), (5.0, 1.0, 1.0), "axial", np.eye(4))
    unknown = replace(known, affine=None)
    assert positions({"FLAIR": known, "DWI": unknown}, "case C1") == {"FLAIR": None, "DWI": None}
    fewer = replace(unknown, pixels=np.zeros((3, 5, 6), np.float32))
    with pytest.raises(ReconError, match=r"case C1: DWI does not say where it lies.*FLAIR 4, DWI 3"):
        positions({"FLAIR": known, "DWI": fewer}, "case C1")
    with pytest.raises(ReconError, match="arm 'dm' does not say where it lies, as other arms do"):
        check_arms_in_place({"soc": known, "dm": unknown}, "case C1, DWI")
    check_arms_in_place({"soc": unknown, "dm": unknown}, "case C1, DWI")


def test_all_of_a_presentation_is_hashed_and_flags_lie_in_one_of_its_images(folder, tmp_path):
    study = open_study(folder)
    package = study.packages[0]
    assert {len(entry.images) for entry in package.presentations} == {3}
    shared = {entry.images[2] for entry in package.presentations if not entry.training}
    assert len(shared) == 6, "ADC is the same in both arms"
    assert len({entry.images[0] for entry in package.presentations if not entry.training}) == 12
    inside = Flag("artifact", "A", 7, 20, 20, "DWI")
    sheet = sheet_of(folder, package, 4, (inside,))
    check_sheet(sheet, study.protocol, study.packages)
    for name in ("sheet.json", "sheet.csv"):
        write_sheet(tmp_path / name, sheet)
        check_sheet(read_sheet(tmp_path / name), study.protocol, study.packages)
        assert read_sheet(tmp_path / name).responses[0].flags == (inside,)
    for wrong in (
        replace(inside, sequence="FLAIR"),  # has four slices
        replace(inside, sequence=""),
        replace(inside, sequence="T2"),
        replace(inside, x=27),
        replace(inside, side="B"),
        replace(inside, sequence=["DWI"]),
    ):
        with pytest.raises(ReconError, match="is not possible here"):
            check_sheet(sheet_of(folder, package, 4, (wrong,)), study.protocol, study.packages)
    facts = read_setup(folder / package.folder)
    for images in (lambda own: own[:2], lambda own: own[::-1], lambda own: (own[0], own[0], own[2])):
        changed = tuple(replace(row, images=images(row.images)) for row in sheet.responses)
        resigned = replace(sheet, responses=changed).signed(facts["signing_key"])
        with pytest.raises(ReconError, match="not those that were exported"):
            check_sheet(resigned, study.protocol, study.packages)


def test_a_changed_sequence_is_found(folder):
    """The pixels of one series of one presentation, a script of a package, and a series that is exchanged."""
    series = next(image for image in key_of(folder).images if image.sequence == "ADC")
    path = folder / "dicom" / series.id / "0003.dcm"
    original = path.read_bytes()
    path.write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
    assert any(series.id in problem for problem in verify_files(open_study(folder)))
    path.write_bytes(original)
    assert verify_files(open_study(folder)) == []
    one, other = sorted((folder / "packages").glob("R1*/images/*.js"))[:2]
    kept = one.read_bytes()
    one.unlink()  # a hard link of other packages' images
    one.write_bytes(other.read_bytes())
    assert len(verify_files(open_study(folder))) == 1
    one.unlink()
    one.write_bytes(kept)
    data = pydicom.dcmread(path)
    data.SeriesDescription = "ADC map"
    data.save_as(path)
    assert any(finding.attribute == "SeriesDescription" for finding in uniform_series(open_study(folder)))


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([{"name": "FLAIR"}], "2 to 6"),
        ([{"name": "FLAIR"}, {"name": "flair"}], "stands twice"),
        ([{"name": "FL AIR"}, {"name": "DWI"}], "must be letters"),
        ([{"name": name, "by_arm": False} for name in ("FLAIR", "DWI")], "nothing to compare"),
        ([{"name": f"S{number}"} for number in range(7)], "2 to 6"),
        ([{"name": "FLAIR", "arm": "dm"}, {"name": "DWI"}], "unknown key 'arm'"),
    ],
)
def test_sequences_that_make_no_study_are_refused(tmp_path, sequences, message):
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(sequences_mapping(sequences=sequences)))
    with pytest.raises(ReconError, match=message):
        load_protocol(tmp_path / "plan.yaml")


def test_protocols_without_sequences_keep_their_hash(tmp_path):
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(protocol_mapping()))
    assert "sequences" not in load_protocol(tmp_path / "plan.yaml").as_mapping()


def moved(path: Path, distance: float) -> None:
    """The same voxels so many mm further up."""
    image = nibabel.load(path)
    affine = image.affine.copy()
    affine[2, 3] += distance
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), path)


def saturated(path: Path) -> None:
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(3 * np.asarray(image.dataobj), image.affine), path)


@pytest.mark.parametrize(
    ("pattern", "spoil", "message"),
    [
        ("{arm}/{case}.nii.gz", None, r"the pattern needs \{sequence\} as well"),
        ("{arm}/{sequence}.nii.gz", None, r"the pattern needs \{case\} as well"),
        ("{case}/{sequence}.nii.gz", None, r"the pattern needs \{arm\} as well"),
        ("{sequence}.nii.gz", None, r"the pattern needs \{case\} and \{arm\} as well"),
        (None, lambda f: (f / "dm/C002/DWI.nii.gz").unlink(), "case C002, arm 'dm', DWI: the image is missing"),
        (None, lambda f: moved(f / "dm/C002/DWI.nii.gz", 4), r"case C002, DWI: arm 'dm' lies up to 4.0 mm"),
        (None, lambda f: saturated(f / "dm/C002/DWI.nii.gz"), "case C002, DWI: the arms differ in brightness"),
        (
            None,
            lambda f: shutil.copy(f / "soc/C003/DWI.nii.gz", f / "soc/C003/ADC.nii.gz"),
            "ADC: the same pixels as case C003, DWI",
        ),
        (
            None,
            lambda f: [
                (f / "dm" / case / "DWI.nii.gz").rename(f / f"{case}.nii.gz")
                and shutil.copy(f / "dm" / other / "DWI.nii.gz", f / "dm" / case / "DWI.nii.gz")
                for case, other in (("C001", "C002"),)
            ],
            "the same pixels as case",
        ),
    ],
)
def test_images_that_cannot_be_shown_together_are_refused_in_one_line(run_cli, tmp_path, pattern, spoil, message):
    folder, good = planned(tmp_path, cases=3)
    if spoil is not None:
        spoil(tmp_path / "images")
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    wanted = good if pattern is None else str(tmp_path / "images" / pattern)
    out = run_cli("reader-study", "export", folder, "--images", wanted, "--passphrase-file", tmp_path / "passphrase")
    assert out.code == 2
    lines = [line for line in out.err.strip().splitlines() if "passphrase" not in line]
    assert len(lines) == 1
    assert re.search(message, lines[0]), lines
    assert not (folder / "packages").exists()


def test_the_placeholder_of_sequences_needs_sequences(run_cli, tmp_path):
    folder, pattern = make_study(tmp_path)
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    pattern = pattern.replace("{case}", "{case}/{sequence}")
    out = run_cli("reader-study", "export", folder, "--images", pattern, "--passphrase-file", tmp_path / "passphrase")
    assert (out.code, "the protocol names no sequences" in out.err) == (2, True)


def test_a_table_names_the_sequences(tmp_path):
    folder, _ = planned(tmp_path, cases=2)
    images, table = tmp_path / "images", tmp_path / "table.csv"
    rows = [
        f"{case},{arm},{name},images/{arm}/{case}/{name}.nii.gz"
        for case in ("C001", "C002", "T1")
        for arm in ("soc", "dm")
        for name in NAMES
        if (images / arm / case / f"{name}.nii.gz").exists()
    ]
    table.write_text("\n".join(["case,arm,sequence,path", *rows, "C001,dm,ADC,images/soc/C001/ADC.nii.gz"]))
    with pytest.raises(ReconError, match="all arms share ADC"):
        export_study(folder, str(table), PASSPHRASE, work_factor=2**4)
    table.write_text("\n".join(["case,arm,sequence,path", *rows, "C001,dm,SWI,x.nii"]))
    with pytest.raises(ReconError, match="sequence 'SWI' is not in the protocol"):
        export_study(folder, str(table), PASSPHRASE, work_factor=2**4)
    table.write_text("\n".join(["case,arm,path", *(row.replace(",FLAIR", "") for row in rows)]))
    with pytest.raises(ReconError, match="columns must be case, arm, sequence, path"):
        export_study(folder, str(table), PASSPHRASE, work_factor=2**4)
    table.write_text("\n".join(["case,arm,sequence,path", *rows]))
    assert export_study(folder, str(table), PASSPHRASE, work_factor=2**4).passed


def test_defacing_masks_are_of_a_sequence_where_the_grids_differ(tmp_path):
    """One mask does not fit both grids; one for each sequence is removed from all arms of it."""
    folder, pattern = planned(tmp_path, cases=2)
    for case in ("C001", "C002", "T1"):
        for name in NAMES:
            mask = np.zeros(head(name, 0).shape, np.uint8)
            mask[:, :3] = 1
            (tmp_path / "masks" / case).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(mask, affine_of(name)), tmp_path / "masks" / case / f"{name}.nii.gz")
    one = str(tmp_path / "masks" / "{case}" / "DWI.nii.gz")
    with pytest.raises(ReconError, match=r"FLAIR: defacing mask .* has shape"):
        export_study(folder, pattern, PASSPHRASE, masks=one, work_factor=2**4)
    each = one.replace("DWI", "{sequence}")
    assert export_study(folder, pattern, PASSPHRASE, masks=each, work_factor=2**4).passed
    for image in key_of(folder).images:
        pixels = pydicom.dcmread(folder / "dicom" / image.id / "0001.dcm").pixel_array
        assert (pixels[-3:] == 0).all()
        assert (pixels[:-3] > 0).any()


def test_pairs_of_sequences_show_both_arms(tmp_path):
    """Side by side: side A's sequences, then side B's, in the sheet and in the check of a flag."""
    folder, pattern = planned(tmp_path, mode="side-by-side", cases=2, guess={"presentations": 0})
    assert export_study(folder, pattern, PASSPHRASE, work_factor=2**4).passed
    study = open_study(folder)
    package = study.packages[0]
    assert {len(entry.images) for entry in package.presentations} == {6}
    assert {entry.images[2] == entry.images[5] for entry in package.presentations} == {True}
    facts = read_setup(folder / package.folder)
    responses = tuple(
        Response(
            *(entry.id, entry.order, entry.training, {"overall@A": 3, "overall@B": 4}),
            *((Flag("artifact", "B", 7, 1, 1, "ADC"),), "", 5.0, "", "", entry.images),
        )
        for entry in package.presentations
    )
    sheet = Sheet(facts["study"], package.id, package.reader, package.session, "", "x", responses, ())
    check_sheet(sheet.signed(facts["signing_key"]), study.protocol, study.packages)


def test_adjudication_finds_the_same_presentation_by_all_of_its_images(folder):
    """Readers see one image in different orders; what they share are the hashes of all sequences."""
    hand_back(folder, lambda reader, entry: 2 if reader == "R1" else 2 + 2 * (int(entry.images[0], 16) % 2))
    study = open_study(folder)
    images = {entry.images for package in study.packages for entry in package.presentations if not entry.training}
    sheets = [read_sheet(path) for path in sorted((folder / "sheets").iterdir())]
    entry = adjudicate(study, sheets)
    assert entry.details["compared"] == len(images) == 12
    wanted = {one for one in images if int(one[0], 16) % 2}
    assert {one.images for one in open_study(folder).packages[-1].presentations} == wanted
