"""recon interactive: files in, a table, a figure and one JSON object out; what cannot be segmented is said."""

import json
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from recon.images.nifti import write_nifti
from recon.images.result import ResultHeader, write_result
from recon.interactive.cases import segmented_cases
from recon.interactive.options import InteractiveOptions

SHAPE = (2, 32, 32)
AFFINE = np.diag([1.0, 1.0, 5.0, 1.0])


def disc(middle: int) -> np.ndarray:
    rows, columns = np.mgrid[: SHAPE[1], : SHAPE[2]]
    truth = np.zeros(SHAPE, bool)
    truth[1] = np.hypot(rows - middle, columns - 15) < 5
    return truth


def result(path: Path, image: np.ndarray, **attributes: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = ResultHeader(slices=len(image), shape=image.shape[1:], contrast="FLAIR", affine=AFFINE,
                          voxel_size=(1.0, 1.0, 5.0), attributes=attributes)  # fmt: skip
    with write_result(path, header) as writer:
        for index, one in enumerate(image):
            writer.put(index, reconstruction=one)
    return path


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Three heads with a bright disc: references, results of a faithful and a blurring method, masks."""
    for number, middle in enumerate((12, 15, 18)):
        truth, name = disc(middle), f"head{number}"
        noise = 0.02 * np.random.default_rng(number).normal(size=SHAPE)
        image = (1 + truth + noise).astype(np.float32)
        faint = (1 + 0.02 * truth + noise).astype(np.float32)
        for folder, shown, method, rate in (
            ("full", image, "sense", 1.0), ("good", image, "sense", 4.0 + 0.1 * number), ("bad", faint, "sense", 8.0)
        ):  # fmt: skip
            result(tmp_path / folder / f"{name}_T2.h5", shown, scan_name=f"{name}_T2", method=method, acceleration=rate)
        with h5py.File(tmp_path / "full" / f"{name}_lesion.h5", "w") as file:
            file["lesion"] = truth.astype(np.uint8)
            file["lesion"].attrs["affine"] = AFFINE
    return tmp_path


def test_a_lesion_that_faded_needs_more_clicks(study: Path, run_cli) -> None:
    words = [study / "good", study / "bad", "--reference", study / "full", "--lesions", study / "full"]
    outcome = run_cli("interactive", *words, "--clicks", 6, "--out", study / "out", "--json")
    assert outcome.code == 0, outcome.err
    found = outcome.json
    assert [(row["segmenter"], row["acceleration"]) for row in found["rows"]] == [
        ("random-walker", 4.1), ("random-walker", 8.0), ("region-growing", 4.1), ("region-growing", 8.0),
    ]  # fmt: skip
    for good, bad in (found["rows"][:2], found["rows"][2:]):
        assert good["dice_change"] == good["area_change"] == good["clicks_change"] == 0  # the same image
        assert good["reached"] == good["reached_reference"] == 1
        assert bad["area_change"] < -0.05
        assert bad["persons"] == 3
    assert len(found["scans"]) == 2 * (3 + 6)  # each reference once a segmenter
    assert all(len(scan["dice_by_click"]) == 6 for scan in found["scans"])
    stored = json.loads((study / "out" / "interactive.json").read_text())
    assert stored["rows"] == found["rows"]
    assert (study / "out" / "interactive.png").stat().st_size > 1000
    again = run_cli("interactive", *words, "--clicks", 6, "--segmenter", "region-growing", "--json").json
    assert [{**row, "seconds": 0} for row in again["rows"]] == [{**row, "seconds": 0} for row in found["rows"][2:]]
    people = run_cli("interactive", *words, "--clicks", 1, "--segmenter", "random-walker")
    assert "random-walker" in people.out
    assert "in brackets the change from the reference" in people.out


def test_a_tool_stands_beside_the_others(study: Path, run_cli) -> None:
    script = study / "tool.py"
    script.write_text(
        "import sys, nibabel, numpy as np\n"
        "image = nibabel.load(sys.argv[1] + '/image.nii.gz')\n"
        "mask = (np.asarray(image.dataobj) > 1.5).astype(np.uint8)\n"
        "nibabel.save(nibabel.Nifti1Image(mask, image.affine), sys.argv[1] + '/mask.nii.gz')\n"
    )
    outcome = run_cli(
        "interactive", study / "good" / "head0_T2.h5", "--reference", study / "full", "--lesions", study / "full",
        "--segmenter", "region-growing", "--tool", f"{sys.executable} {script} {{folder}}", "--clicks", 3, "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    row = outcome.json["rows"][1]
    assert (row["segmenter"], row["dice"], row["clicks"]) == ("tool", 1.0, 1.0)
    assert row["dice_low"] is None  # one person


def test_one_that_cannot_be_segmented_is_left_out(study: Path, run_cli) -> None:
    with h5py.File(study / "full" / "head1_lesion.h5", "a") as file:
        file["lesion"][:] = 0
    words = [study / "good", "--reference", study / "full", "--lesions", study / "full", "--clicks", 2]
    outcome = run_cli("interactive", *words, "--segmenter", "region-growing", "--json")
    assert outcome.code == 2
    assert "head1" in outcome.json["refused"][0]["problem"]
    assert "empty" in outcome.json["refused"][0]["problem"]
    assert outcome.json["rows"][0]["scans"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--clicks", "0"), "clicks"),
        (("--segmenter", "magic"), "magic"),
        (("--target", "2"), "target"),
        (("--scatter", "2"), "scatter"),
        (("--segmenter", "random-walker,random-walker"), "twice"),
        (("--tool", ""), "empty"),
    ],
)
def test_a_wrong_option_is_one_line(study: Path, run_cli, words: tuple[str, str], message: str) -> None:
    files = ["--reference", study / "full", "--lesions", study / "full"]
    outcome = run_cli("interactive", study / "good", *files, *words)
    assert outcome.code == 2
    twice = run_cli("interactive", study / "good", study / "good", *files)
    assert (twice.code, "named twice" in twice.err) == (2, True)
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_images_without_millimetres_are_refused(study: Path) -> None:
    header = ResultHeader(slices=2, shape=SHAPE[1:], contrast="FLAIR", attributes={"scan_name": "head0_T2"})
    with write_result(study / "bare.h5", header) as writer:
        for index in range(2):
            writer.put(index, reconstruction=np.ones(SHAPE[1:], np.float32))
    from recon.errors import ReconError

    full = [study / "full" / "head0_T2.h5"]
    with pytest.raises(ReconError, match="voxel size"):
        segmented_cases([study / "bare.h5"], full, [study / "full" / "head0_lesion.h5"], InteractiveOptions())


def test_nifti_serves_as_well(study: Path, run_cli) -> None:
    truth = disc(15)
    for name, image in (("a", 1.0 + truth), ("b", 1.0 + truth), ("a_lesion", 1.0 * truth)):
        write_nifti(study / f"{name}.nii.gz", image.astype(np.float32), affine=AFFINE)
    outcome = run_cli(
        "interactive", study / "a.nii.gz", "--reference", study / "b.nii.gz", "--lesions", study / "a_lesion.nii.gz",
        "--clicks", 2, "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert outcome.json["rows"][0]["acceleration"] is None
