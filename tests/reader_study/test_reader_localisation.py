"""Lesions that readers mark: the masks frozen at the export, the marks in signed sheets, the areas in the report."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml
from sequences_maker import affine_of, sequences_mapping, write_sequences
from study_maker import PASSPHRASE, key_of, protocol_mapping

from reader_study.deviations import log_deviation
from reader_study.export import export_study
from reader_study.lesion_truth import read_lesions
from reader_study.localised import locate
from reader_study.observations import from_sheets
from reader_study.packages import read_setup
from reader_study.protocol import load_protocol
from reader_study.scores import collect
from reader_study.sheet import Flag, Response, Sheet
from reader_study.sheet_check import check_sheet, missing
from reader_study.sheet_files import read_sheet, write_sheet
from reader_study.statistics import obuchowski_rockette, roc
from reader_study.statistics.localisation import FIGURES
from reader_study.study import freeze, open_study
from recon.errors import ReconError

CASES = [f"C{index:03d}" for index in range(1, 9)]
LESIONS = {"C001": 1, "C002": 2, "C003": 1, "C004": 1}  # the others have none
ITEM = {
    "id": "infarcts",
    "question": "Mark every acute infarct",
    "direction": "higher-is-present",
    "anchors": {1: "perhaps", 2: "probably", 3: "surely"},
}
RULE = {"item": "infarcts", "condition": "acute infarct", "standard": "follow-up after a week", "acceptance_mm": 4.0}
PRIMARY = {
    "item": "infarcts",
    "hypothesis": "non-inferiority",
    "margin": 0.3,
    "margin_justification": "A third of the area is chosen for this test alone.",
    "readers": "random",
}


def mapping(**changes):
    readers = [{"id": f"R{number}", "experience": "simulated"} for number in (1, 2, 3)]
    items = [ITEM, protocol_mapping()["items"][0]]
    own = {"items": items, "readers": readers, "primary": PRIMARY, "localisation": RULE, "guess": {"presentations": 0}}
    return {**sequences_mapping(cases=8), **own, **changes}


def lesion_places(case):
    """Centres of the lesions of a case in mm on DWI's own, untilted axes: 24 mm across and 15 mm high."""
    number = CASES.index(case) if case in CASES else 0
    return [(-30 + 60 * place + number, 10.0 - number, 0.0) for place in range(LESIONS.get(case, 0))]


def on_grid(name, place):
    """A place in mm on the untilted axes of ``sequences_maker`` as an index [x, y, slice] of a sequence's file."""
    from sequences_maker import GRIDS

    shape, size, start = GRIDS[name]
    middle = [(shape[0] - 1) / 2, (shape[1] - 1) / 2, -start / size[2]]
    return np.array([middle[axis] + place[axis] / size[axis] for axis in range(3)])


def write_masks(folder, cases=CASES):
    """Masks on DWI's grid; gives the pattern for ``--lesions``."""
    folder.mkdir(parents=True, exist_ok=True)
    for case in cases:
        mask = np.zeros((26, 28, 7), np.uint8)
        for place in lesion_places(case):
            x, y, z = np.rint(on_grid("DWI", place)).astype(int)
            mask[x - 2 : x + 3, y - 2 : y + 3, z - 1 : z + 2] = 1
        nibabel.save(nibabel.Nifti1Image(mask, affine_of("DWI")), folder / f"{case}.nii.gz")
    return str(folder / "{case}.nii.gz")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """An exported study, its masks beside it."""
    folder = tmp_path_factory.mktemp("localisation")
    (folder / "plan.yaml").write_text(yaml.safe_dump(mapping(), sort_keys=False))
    study, _ = freeze(folder / "plan.yaml", folder / "study")
    images = write_sequences(folder / "images", [*CASES, "T1"])
    lesions = write_masks(folder / "masks")
    assert export_study(study.folder, images, PASSPHRASE, lesions=lesions, work_factor=2**4).passed
    return folder


@pytest.fixture
def made(original, tmp_path):
    return shutil.copytree(original, tmp_path / "made")


def shown_at(name, place):
    """Where the viewer shows a place: [slice, row, column]; it turns x and y of these files."""
    from sequences_maker import GRIDS

    shape = GRIDS[name][0]
    x, y, z = on_grid(name, place)
    return [z, shape[1] - 1 - y, shape[0] - 1 - x]


def mark(name, place, confidence):
    z, y, x = (round(float(value)) for value in shown_at(name, place))
    return Flag("infarcts", "A", z + 1, x, y, name, confidence)


def sheet_of(folder, package, marks):
    """A signed sheet whose marks ``marks(row of the key)`` gives."""
    facts, rows = read_setup(folder / package.folder), {row.id: row for row in key_of(folder).presentations}
    responses = tuple(
        Response(
            *(entry.id, entry.order, entry.training, {"overall": 4}, marks(rows[entry.id])),
            *("", 5.0, "2026-01-05T08:00:00Z", "2026-01-05T08:00:05Z", entry.images),
        )
        for entry in package.presentations
    )
    sheet = Sheet(facts["study"], package.id, package.reader, package.session, "", "x", responses, ())
    return sheet.signed(facts["signing_key"])


def simulated(row):
    """A reader who misses the second lesion, sees others less surely in the old arm, and errs in C005 and C007."""
    new, reader, found = row.arms[0] == "dm", int(row.reader[1]), []
    for number, place in enumerate(lesion_places(row.case)):
        if number == 0:
            found.append(mark("FLAIR" if reader == 1 else "DWI", place, 3 if new else 1 + reader // 2))
    if row.case == "C005" and not (new and reader == 2):
        found.append(mark("ADC", (0, 40, 0), 1 if new else 2))
    if row.case == "C003" and reader == 3:
        found.append(mark("DWI", (30, -40, 0), 3))
    return tuple(found)


def expected_ratings():
    """`[arm, reader, slot, case]` that follow from ``simulated`` by hand."""
    ratings = np.full((2, 3, 3, 8), np.nan)
    ratings[:, :, 0] = 0
    for case, name in enumerate(CASES):
        ratings[:, :, 1 : 1 + LESIONS.get(name, 0), case] = 0
    for arm in (0, 1):
        for reader in (1, 2, 3):
            ratings[arm, reader - 1, 1, :4] = 3 if arm else 1 + reader // 2
            if not (arm and reader == 2):
                ratings[arm, reader - 1, 0, 4] = 1 if arm else 2
        ratings[arm, 2, 0, 2] = 3
    return ratings


def by_pairs(ratings, truth, kind):
    """The figures of merit of one arm and reader `[slot, case]`, written out pair by pair."""
    won = total = 0.0
    for free in np.flatnonzero(~truth):
        for case in np.flatnonzero(truth):
            own = [rating for rating in ratings[1:, case] if np.isfinite(rating)]
            if kind == "localisation-roc":
                top = max([*own, ratings[0, case]])
                hits = max(own) == top and max(own) > 0
                right = 0.0 if not hits else 0.5 if ratings[0, case] == top else 1.0
                won += right * (1.0 if top > ratings[0, free] else 0.5 if top == ratings[0, free] else 0.0)
                total += 1
                continue
            for rating in own:
                weight = 1 / len(own) if kind == "weighted-afroc" else 1
                won += weight * (1.0 if rating > ratings[0, free] else 0.5 if rating == ratings[0, free] else 0.0)
                total += weight
    return won / total


def test_a_study_with_marks_from_plan_to_report(run_cli, tmp_path):
    secret = tmp_path / "passphrase"
    secret.write_text(PASSPHRASE + "\n")
    secret.chmod(0o600)
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(mapping(), sort_keys=False))
    study = tmp_path / "study"
    planning = run_cli("reader-study", "plan", tmp_path / "plan.yaml", "--out", study)
    assert "a mark within 4 mm of a lesion finds it; area under the AFROC curve" in planning.out
    assert "--images PATTERN --lesions PATTERN" in run_cli("reader-study", "status", study).out
    form = run_cli("reader-study", "redcap-dictionary", study, "--out", tmp_path / "form.csv")
    assert "marks of lesions are typed into 'infarcts'" in form.out
    assert "for each mark 'FLAIR image column row rating'" in (tmp_path / "form.csv").read_text()
    images, lesions = write_sequences(tmp_path / "images", [*CASES, "T1"]), write_masks(tmp_path / "masks")
    exporting = ["reader-study", "export", study, "--images", images, "--passphrase-file", secret]
    refused = run_cli(*exporting)
    assert (refused.code, len(refused.err.strip().splitlines())) == (2, 1)
    assert "--lesions" in refused.err
    assert run_cli(*exporting, "--lesions", lesions).code == 0
    for path in (study / "packages").rglob("*"):
        if path.is_file() and "images" not in path.parts:
            text = path.read_bytes()
            assert not any(word in text for word in (b"follow-up", b"acceptance", b"masks", b"C001"))
    for package in open_study(study).packages:
        sheet = sheet_of(study, package, simulated)
        write_sheet(study / "sheets" / f"{package.reader}.csv", sheet)
    assert run_cli("reader-study", "check", study, "--sheets", study / "sheets").code == 0
    opening = ("reader-study", "unseal", study, "--reason", "all in", "--passphrase-file", secret)
    assert run_cli(*opening).code == 0
    assert "--out REPORT --lesions PATTERN" in run_cli("reader-study", "status", study).out
    analysing = ["reader-study", "analyze", study, "--out", tmp_path / "report", "--json"]
    without = run_cli(*analysing)
    assert (without.code, "--lesions" in without.err) == (2, True)
    found = run_cli(*analysing, "--lesions", lesions)
    assert found.code == 0, found.err
    ratings, truth = expected_ratings(), np.arange(8) < 4
    planned = obuchowski_rockette.difference(roc.components_of_areas(ratings, truth, FIGURES["afroc"]), 0.3)
    assert found.json["estimate"] == pytest.approx(planned.estimate)
    assert found.json["lower_bound"] == pytest.approx(planned.low)
    assert "of the area under the AFROC curve" in found.json["claim"]
    assert any("5 lesions in 4 cases, and 4 cases without" in line for line in found.json["limits"])
    item = json.loads((tmp_path / "report" / "analysis.json").read_text())["items"][0]
    assert {name: one["estimate"] for name, one in item["subsets"]["by_reader"].items()} == {
        f"R{reader + 1}": pytest.approx(
            by_pairs(ratings[1, reader], truth, "afroc") - by_pairs(ratings[0, reader], truth, "afroc")
        )
        for reader in range(3)
    }
    values = item["localisation"]
    assert (values["lesions"], values["diseased"], values["not_diseased"], values["missing"]) == (5, 4, 4, 0)
    for kind, one in values["figures"].items():
        for reader in range(3):
            areas = one["by_reader"][f"R{reader + 1}"]
            for arm, name in enumerate(("reference", "new")):
                assert areas[name] == pytest.approx(by_pairs(ratings[arm, reader], truth, kind)), (kind, reader, name)
        mean = [np.mean([by_pairs(ratings[arm, reader], truth, kind) for reader in range(3)]) for arm in (0, 1)]
        assert one["random"]["test"]["estimate"] == pytest.approx(mean[1] - mean[0])
    assert values["marks"]["dm"] == {
        "readings": 24, "lesions": 15, "found": 12, "missed_marks": 3, "in_lesion_free": 2,
    }  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "report" / "marks.csv").read_text().splitlines()))
    marks = [row for row in rows if row["confidence"]]
    assert len(marks) == 2 * 3 * 4 + 5 + 2
    assert {(row["case"], row["reader"]) for row in marks if not row["lesion"]} == {
        *(("C005", f"R{number}") for number in (1, 2, 3)), ("C003", "R3"),
    }  # fmt: skip
    assert len({(row["reader"], row["case"], row["arm"]) for row in rows}) == 3 * 8 * 2
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Localisation of lesions" in page
    assert "weighted AFROC curve, readers in general" in page
    assert "nothing here measures diagnostic accuracy" not in page
    # Another mask than the one that was frozen.
    mask = tmp_path / "masks" / "C005.nii.gz"
    shutil.copy(tmp_path / "masks" / "C001.nii.gz", mask)
    changed = run_cli(*analysing, "--lesions", lesions)
    assert (changed.code, "case C005" in changed.err, "frozen at the export" in changed.err) == (2, True, True)


def test_the_place_of_a_mark_is_that_of_the_lesion_in_every_sequence(made):
    """Images and masks on tilted grids of their own: a mark on the lesion's middle has distance 0 in all sequences."""
    images = {(one.case, one.sequence): one for one in key_of(made / "study").images if one.arm == "dm"}
    for case in LESIONS:
        lesions = read_lesions(made / "masks" / f"{case}.nii.gz", case)
        for number, place in enumerate(lesion_places(case)):
            for name in ("FLAIR", "DWI", "ADC"):
                affine = np.array(images[case, name].affine).reshape(3, 4)
                distances = lesions.distances(affine @ [*shown_at(name, place), 1])
                assert len(distances) == LESIONS[case]
                order = int(np.argmin(distances))
                assert distances[order] == 0
                assert order == number


def test_distances_are_to_the_surface_of_the_lesion(tmp_path):
    """Voxels of 2 x 3 x 4 mm, one lesion of one voxel, another that touches at a corner is the same."""
    mask = np.zeros((9, 9, 9), np.uint8)
    mask[2, 2, 2] = mask[7, 7, 7] = 1
    mask[8, 8, 8] = 5
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = [100, -50, 7]
    nibabel.save(nibabel.Nifti1Image(mask, affine), tmp_path / "mask.nii")
    lesions = read_lesions(tmp_path / "mask.nii", "C1")
    assert len(lesions.voxels) == 2

    def away(index):
        return lesions.distances(affine[:3, :3] @ index + affine[:3, 3])

    assert away([2.4, 1.6, 2.0])[0] == 0
    assert away([3.0, 2.0, 2.0])[0] == pytest.approx(0.5 * 2)
    assert away([2.0, 4.0, 4.0])[0] == pytest.approx(np.hypot(1.5 * 3, 1.5 * 4))
    assert away([8.0, 8.0, 8.0])[1] == 0
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)), tmp_path / "empty.nii")
    assert read_lesions(tmp_path / "empty.nii", "C2").voxels == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda own: replace(own, confidence=None), "has no rating"),
        (lambda own: replace(own, confidence=4), r"out of scale \(1, 2, 3\)"),
        (lambda own: replace(own, confidence=0), "out of scale"),
        (lambda own: replace(own, confidence=True), "out of scale"),
        (lambda own: replace(own, confidence="3"), "out of scale"),
        (lambda own: replace(own, slice=8), "is not possible here"),
        (lambda own: replace(own, slice=0), "is not possible here"),
        (lambda own: replace(own, x=27), "is not possible here"),
        (lambda own: replace(own, y=-1), "is not possible here"),
        (lambda own: replace(own, sequence="FLAIR", slice=5), "is not possible here"),
        (lambda own: replace(own, sequence=""), "is not possible here"),
        (lambda own: replace(own, side="B"), "is not possible here"),
        (lambda own: replace(own, kind="artifact"), "is not possible here"),  # flags have no rating
        (lambda own: replace(own, kind="lesion"), "is not possible here"),
    ],
)
def test_marks_that_the_viewer_cannot_have_written_are_refused(made, change, message):
    study = open_study(made / "study")
    package = study.packages[0]
    good = mark("DWI", (0, 0, 0), 2)
    check_sheet(sheet_of(study.folder, package, lambda row: (good,)), study.protocol, study.packages)
    bad = sheet_of(study.folder, package, lambda row: (change(good),))
    with pytest.raises(ReconError, match=message):
        check_sheet(bad, study.protocol, study.packages)


def test_sheets_with_marks_are_one_in_json_and_csv(made, tmp_path):
    study = open_study(made / "study")
    sheet = sheet_of(study.folder, study.packages[0], simulated)
    for name in ("sheet.json", "sheet.csv"):
        write_sheet(tmp_path / name, sheet)
        back = read_sheet(tmp_path / name)
        check_sheet(back, study.protocol, study.packages)
        assert back.payload() == sheet.payload()
    edited = (tmp_path / "sheet.json").read_text().replace('"confidence": 1', '"confidence": 3')
    (tmp_path / "sheet.json").write_text(edited)
    with pytest.raises(ReconError, match="signature does not match"):
        check_sheet(read_sheet(tmp_path / "sheet.json"), study.protocol, study.packages)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"localisation": {**RULE, "item": "overall"}}, "is not an item with direction"),
        ({"localisation": {**RULE, "item": "x"}}, "is not an item with direction"),
        ({"localisation": {**RULE, "acceptance_mm": -1}}, "inside the lesion"),
        ({"localisation": {**RULE, "standard": " "}}, "the 'standard' by which it is known"),
        ({"localisation": {**RULE, "figure": "froc"}}, "figure"),
        ({"localisation": None}, "needs the key 'truth'"),
        ({"primary": {**PRIMARY, "margin": 0.6}}, "half of the figure of merit"),
        ({"viewing": {"flags": ["infarcts"]}}, "is a flag, too"),
        ({"mode": "side-by-side"}, "not independent"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused(tmp_path, changes, message):
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(mapping(**changes)))
    with pytest.raises(ReconError, match=message):
        load_protocol(tmp_path / "plan.yaml")


def elsewhere(path):
    image = nibabel.load(path)
    affine = image.affine.copy()
    affine[0, 3] += 500
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), path)


@pytest.mark.parametrize(
    ("pattern", "spoil", "message"),
    [
        (None, lambda f: (f / "masks/C003.nii.gz").unlink(), "case C003: the lesion mask is missing"),
        ("masks/all.nii.gz", lambda f: None, r"the pattern needs \{case\}"),
        (
            None,
            lambda f: elsewhere(f / "masks/C002.nii.gz"),
            "case C002: 100% of the lesion mask .* outside the images",
        ),
        (
            None,
            lambda f: clear(f),
            "lesions in 1 cases and none in 7",
        ),
        (None, lambda f: (f / "masks/C001.nii.gz").write_bytes(b"x"), "case C001, lesion mask"),
        (None, lambda f: blurred(f / "masks/C001.nii.gz"), "case C001: the lesion mask .* between integers"),
    ],
)
def test_masks_that_cannot_be_frozen_are_refused_in_one_line(run_cli, original, tmp_path, pattern, spoil, message):
    shutil.copytree(original / "images", tmp_path / "images")
    shutil.copytree(original / "masks", tmp_path / "masks")
    study, _ = freeze(original / "plan.yaml", tmp_path / "study")
    spoil(tmp_path)
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    lesions = tmp_path / (pattern or "masks/{case}.nii.gz")
    images = tmp_path / "images/{arm}/{case}/{sequence}.nii.gz"
    given = ["--images", images, "--lesions", lesions, "--passphrase-file", tmp_path / "passphrase"]
    out = run_cli("reader-study", "export", study.folder, *given)
    lines = [line for line in out.err.strip().splitlines() if "can be read by other users" not in line]
    assert (out.code, len(lines)) == (2, 1), out.err
    assert re.search(message, lines[0]), lines
    assert not (study.folder / "packages").exists()


def blurred(path):
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(0.5 * np.asarray(image.dataobj, np.float32), image.affine), path)


def clear(folder):
    """Leave a lesion in C004 alone."""
    for case in ("C001", "C002", "C003"):
        image = nibabel.load(folder / "masks" / f"{case}.nii.gz")
        empty = nibabel.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine)
        nibabel.save(empty, folder / "masks" / f"{case}.nii.gz")


def test_the_protocol_to_start_from_is_one():
    """The example of marks in several sequences."""
    example = Path(__file__).parents[2] / "examples" / "reader_study" / "lesions.yaml"
    protocol = load_protocol(example)
    assert protocol.sequence_names == ("FLAIR", "DWI", "ADC")
    assert protocol.located(protocol.item(protocol.primary.item))


def test_masks_without_marks_are_refused(run_cli, tmp_path):
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(sequences_mapping(cases=2)))
    study, _ = freeze(tmp_path / "plan.yaml", tmp_path / "study")
    images = write_sequences(tmp_path / "images", ["C001", "C002", "T1"])
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    given = ["--images", images, "--lesions", "m/{case}.nii", "--passphrase-file", tmp_path / "passphrase"]
    out = run_cli("reader-study", "export", study.folder, *given)
    assert (out.code, "nobody marks lesions" in out.err) == (2, True)


def test_masks_belong_to_a_study_folder(run_cli, tmp_path):
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(protocol_mapping()))
    words = ["reader-study", "analyze", tmp_path / "plan.yaml", "--out", tmp_path / "report"]
    found = run_cli(*words, "--lesions", "m/{case}.nii", "--sheets", tmp_path / "plan.yaml")
    assert (found.code, "is no study folder" in found.err) == (2, True)
    (tmp_path / "marks.yaml").write_text(yaml.safe_dump(mapping()))
    words[2] = tmp_path / "marks.yaml"
    found = run_cli(*words, "--sheets", tmp_path / "plan.yaml")
    assert (found.code, "give the study folder" in found.err) == (2, True)


def test_typed_scores_have_no_marks(run_cli, made, tmp_path):
    """A table under a deviation brings scores, but the marks stay missing and the key sealed."""
    study = made / "study"
    package = open_study(study).packages[0]
    lines = [f"{package.reader},{entry.id},4" for entry in package.presentations]
    (study / "sheets").mkdir()
    (study / "sheets" / "typed.csv").write_text("\n".join(["reader,presentation,overall", *lines]))
    for other in open_study(study).packages[1:]:
        write_sheet(study / "sheets" / f"{other.reader}.json", sheet_of(study, other, simulated))
    logging = ("reader-study", "deviation", study, "typed from paper", "--kind", "unsigned", "--reader", package.reader)
    assert run_cli(*logging).code == 0
    found = run_cli("reader-study", "status", study, "--json").json["sittings"]
    assert [(one["reader"], one["missing"]) for one in found] == [("R1", 16), ("R2", 0), ("R3", 0)]


def typed(marks):
    """Marks as one types them from the cursor of a PACS."""
    return "; ".join(f"{one.sequence} {one.slice} {one.x} {one.y} {one.confidence}" for one in marks) or "none"


@pytest.mark.parametrize("form", ["table", "redcap"])
def test_marks_typed_in_a_table_are_judged_as_those_of_the_viewer(made, tmp_path, form):
    """Of R1 typed, of the others signed: the same ratings as where all are signed."""
    study = open_study(made / "study")
    (study.folder / "sheets").mkdir(exist_ok=True)
    rows = {row.id: row for row in key_of(study.folder).presentations}
    for package in study.packages:
        if package.reader != "R1":
            write_sheet(study.folder / "sheets" / f"{package.reader}.json", sheet_of(study.folder, package, simulated))
            continue
        added = {"reading_complete": "2"} if form == "redcap" else {}
        lines = [
            {"record_id": entry.id, "reader": "R1", "presentation": entry.id, "overall": "4",
             "infarcts": typed(simulated(rows[entry.id])), **added}
            for entry in package.presentations
        ]  # fmt: skip
        with (study.folder / "sheets" / f"R1-{package.session}.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, lines[0].keys())
            table.writeheader()
            table.writerows(lines)
    log_deviation(study.folder, "unsigned", "R1 read on the PACS and typed", "R1")
    study = open_study(study.folder)
    collected = collect(study, [study.folder / "sheets"])
    assert missing(collected.sheets, study.protocol, study.packages) == []
    key = key_of(study.folder)
    found = from_sheets(study.protocol, key.presentations, collected.sheets, (), ("R1", "R2", "R3"))
    lesions = {case: read_lesions(made / "masks" / f"{case}.nii.gz", case) for case in CASES}
    located = locate(study.protocol, found.marked, found.readers, lesions, key.images)
    assert np.array_equal(located.ratings, expected_ratings(), equal_nan=True)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("DWI 3 10 12", "expected 'none', or for each mark"),
        ("3 10 12 2", "expected 'none', or for each mark"),
        ("T1 3 10 12 2", "expected 'none', or for each mark"),
        ("DWI 99 10 12 2", "is not possible here"),
        ("DWI 3 10 999 2", "is not possible here"),
        ("DWI 3 10 12 9", "rated out of scale"),
        (";", "expected 'none', or for each mark"),
    ],
)
def test_typed_marks_that_cannot_be_are_refused_in_one_line(made, answer, said):
    study = open_study(made / "study")
    package = study.packages[0]
    log_deviation(study.folder, "unsigned", "scores were typed", package.reader)
    table = made / "typed.csv"
    first = package.presentations[0]
    table.write_text(f'reader,presentation,infarcts\n{package.reader},{first.id},"{answer}"\n')
    with pytest.raises(ReconError, match=said) as refused:
        collect(open_study(study.folder), [table])
    assert "typed.csv row 2" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_typed_row_without_marks_lacks_them_and_a_signed_sheet_has_none_typed(made):
    study = open_study(made / "study")
    package = study.packages[0]
    log_deviation(study.folder, "unsigned", "scores were typed", package.reader)
    table = made / "typed.csv"
    analysed = next(entry for entry in package.presentations if not entry.training)
    table.write_text(f"reader,presentation,overall\n{package.reader},{analysed.id},4\n")
    study = open_study(study.folder)
    (sheet,) = collect(study, [table]).sheets
    lacking = [
        line["what"] for line in missing([sheet], study.protocol, [package]) if line["presentation"] == analysed.id
    ]
    assert lacking == ["infarcts"]
    signed = sheet_of(study.folder, package, simulated)
    forged = replace(signed, responses=(replace(signed.responses[0], typed_marks=True), *signed.responses[1:]))
    with pytest.raises(ReconError, match="signature"):
        check_sheet(forged, study.protocol, study.packages)
    with pytest.raises(ReconError, match="typed marks stand in a table"):
        check_sheet(
            forged.signed(read_setup(study.folder / package.folder)["signing_key"]), study.protocol, study.packages
        )
