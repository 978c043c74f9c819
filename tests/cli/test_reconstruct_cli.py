"""``recon reconstruct``: what it writes, what it keeps, what it refuses, and how a cohort is split."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from recon.errors import ReconError
from recon.images.result import read_result
from recon.reconstruction.cohort import own_share
from recon.scans.opening import open_scan
from recon.scans.options import UndersamplingOptions
from recon.scans.undersample import undersample
from tests.numerical_threads import numerical_threads
from tests.small_world import AFFINE, write_small_prior, write_small_scan

FAST = ("--samples", 2, "--steps", 2)


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    return write_small_prior(tmp_path_factory.mktemp("prior"))


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return write_small_scan(tmp_path_factory.mktemp("full") / "case.h5")


@pytest.fixture(scope="module")
def fast(full, tmp_path_factory):
    path = tmp_path_factory.mktemp("fast") / "case.h5"
    undersample(open_scan(full), path, UndersamplingOptions(acceleration=2, calibration_lines=12))
    return path


def test_every_format_shows_the_same_image_in_the_same_place(run_cli, prior, full, fast, tmp_path):
    import nibabel
    import pydicom

    outcome = run_cli(
        "reconstruct", fast, "--prior", prior, "--out", tmp_path, *FAST, "--format", "h5,nifti,dicom,png",
        "--reference", full, "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    entry = outcome.json["scans"][0]
    result = read_result(entry["output"])
    assert {Path(file).suffix for file in entry["files"]} == {".gz", ".dcm", ".png"}

    mean = nibabel.load(tmp_path / "case.nii.gz")
    np.testing.assert_allclose(mean.affine, AFFINE, atol=1e-5)
    np.testing.assert_allclose(np.moveaxis(mean.get_fdata(), -1, 0), result.reconstruction, rtol=1e-6)
    std = nibabel.load(tmp_path / "case_std.nii.gz").get_fdata()
    np.testing.assert_allclose(np.moveaxis(std, -1, 0), result.std, rtol=1e-6)

    series = {name: sorted((tmp_path / "case_dicom" / name).glob("*.dcm")) for name in ("mean", "std")}
    first = {name: pydicom.dcmread(files[0]) for name, files in series.items()}
    assert all(len(files) == 2 for files in series.values())
    for attribute in ("StudyInstanceUID", "FrameOfReferenceUID", "ImagePositionPatient", "EchoTime"):
        assert first["mean"][attribute].value == first["std"][attribute].value
    assert first["mean"].SeriesInstanceUID != first["std"].SeriesInstanceUID
    # One scale for both: the ratio of their largest values is the result's.
    values = {name: d.pixel_array * float(d.RescaleSlope) + float(d.RescaleIntercept) for name, d in first.items()}
    expected = result.std[0].max() / result.reconstruction[0].max()
    assert values["std"].max() / values["mean"].max() == pytest.approx(expected, rel=1e-2)
    words = ("evaluate", tmp_path / "case_dicom" / "mean", "--json", "--reference")
    assert run_cli(*words, tmp_path / "case.nii.gz").json["scans"][0]["scale"] == pytest.approx(1, abs=1e-3)
    assert not str(first["mean"].PatientName)
    assert not first["mean"].PatientID

    from matplotlib.image import imread

    picture = imread(tmp_path / "case.png")
    assert min(picture.shape[:2]) > 200
    assert picture.std() > 0.05


def test_a_kept_result_gets_the_formats_it_lacks(run_cli, fast, tmp_path):
    words = ("reconstruct", fast, "--method", "sense", "--out", tmp_path)
    assert run_cli(*words).code == 0
    before = (tmp_path / "case.h5").read_bytes()
    outcome = run_cli(*words, "--format", "nifti", "--json")
    assert outcome.json["scans"][0]["kept"]
    assert (tmp_path / "case.nii.gz").is_file()
    assert (tmp_path / "case.h5").read_bytes() == before


def test_an_export_that_was_killed_or_cut_short_is_written_again(run_cli, fast, tmp_path):
    words = ("reconstruct", fast, "--method", "sense", "--out", tmp_path, "--format", "nifti,dicom,png", "--json")
    assert run_cli(*words).code == 0
    assert "files" not in run_cli(*words).json["scans"][0], "all is there"
    nifti, picture = tmp_path / "case.nii.gz", tmp_path / "case.png"
    series = tmp_path / "case_dicom" / "sense"
    whole = {path: path.read_bytes() for path in (nifti, picture)}

    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:-200])

    def empty(folder: Path) -> None:
        for path in folder.iterdir():
            path.unlink()

    for damage, path in (
        (cut, nifti), (cut, picture), (empty, series), (cut, series / "IM0002.dcm"),
        (Path.unlink, series / "IM0001.dcm"),
    ):  # fmt: skip
        damage(path)
        again = run_cli(*words).json["scans"][0]
        assert again["kept"]
        assert again["files"], f"{damage.__name__} {path.name} went unnoticed"
        assert len(list(series.glob("*.dcm"))) == 2
    assert picture.read_bytes() == whole[picture]
    assert len(nifti.read_bytes()) == len(whole[nifti])


def test_a_result_of_other_settings_is_not_kept_silently(run_cli, fast, tmp_path):
    words = ("reconstruct", fast, "--out", tmp_path, "--method")
    assert run_cli(*words, "zero-filled").code == 0
    outcome = run_cli(*words, "sense")
    assert outcome.code == 2
    assert "other settings (method)" in outcome.err


def test_a_result_of_another_scan_is_not_kept_silently(run_cli, fast, tmp_path):
    """Another patient's scan under the same name: yesterday's image must not pass for today's."""
    scan, out = tmp_path / "case.h5", tmp_path / "out"
    scan.write_bytes(fast.read_bytes())
    words = ("reconstruct", scan, "--method", "zero-filled", "--out", out)
    assert run_cli(*words).code == 0
    write_small_scan(scan, seed=1)
    outcome = run_cli(*words)
    assert outcome.code == 2
    assert f"{out / 'case.h5'}: is the result of another scan than {scan}" in outcome.err


def fewer_slices(file):
    for name in ("reconstruction", "zero_filled", "std"):
        if name in file:
            images = file[name][:1]
            del file[name]
            file[name] = images


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: file.attrs.__setitem__("audit", "5"), "a JSON object is needed"),
        (lambda file: file.attrs.__setitem__("configuration", "null"), "a JSON object is needed"),
        (lambda file: file.attrs.__delitem__("audit"), "'audit'"),
        (lambda file: file.attrs.__delitem__("scan_digest"), "is the result of another scan"),
        (lambda file: file.move("reconstruction", "image"), "'reconstruction'"),
        (fewer_slices, "is the result of another scan"),
    ],
)  # fmt: skip
def test_a_damaged_result_is_not_kept(run_cli, fast, tmp_path, damage, said):
    """What 'recon evaluate' would refuse is not kept either."""
    words = ("reconstruct", fast, "--out", tmp_path, "--method", "zero-filled")
    assert run_cli(*words).code == 0
    with h5py.File(tmp_path / "case.h5", "r+") as file:
        damage(file)
    outcome = run_cli(*words)
    assert outcome.code == 2
    assert said in outcome.err
    assert "case.h5" in outcome.err
    assert outcome.err.rstrip().endswith("remove it, or choose another --out")


def test_a_truncated_result_is_named(run_cli, fast, tmp_path):
    words = ("reconstruct", fast, "--out", tmp_path, "--method", "zero-filled")
    assert run_cli(*words).code == 0
    result = tmp_path / "case.h5"
    result.write_bytes(result.read_bytes()[:3000])
    outcome = run_cli(*words)
    assert outcome.code == 2
    assert "truncated" in outcome.err
    assert str(result) in outcome.err


def test_dicom_is_refused_before_the_work_when_the_voxel_size_is_unknown(run_cli, fast, tmp_path):
    bare = tmp_path / "bare.h5"
    bare.write_bytes(fast.read_bytes())
    with h5py.File(bare, "r+") as file:
        del file["recon"].attrs["voxel_size_mm"]
        del file["recon"].attrs["affine"]
        del file["ismrmrd_header"]
    out = tmp_path / "out"
    outcome = run_cli("reconstruct", bare, "--method", "sense", "--out", out, "--format", "dicom")
    assert outcome.code == 2
    assert "voxel size" in outcome.err
    assert not list(out.glob("*.h5"))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--format", "jpeg"), "choose from h5, nifti, dicom, dicom-enhanced, png"),
        (("--reference", "pyproject.toml"), "--format png"),
        (("--reference", "gone.h5", "--format", "png"), "gone.h5: no such file"),
        (("--method", "magic"), "method"),
        (("--device", "cuda:7"), "CUDA"),
    ],
)
def test_mistakes_are_one_line(run_cli, fast, tmp_path, words, complaint):
    outcome = run_cli("reconstruct", fast, "--out", tmp_path, "--method", "sense", *words)
    assert outcome.code == 2
    assert complaint in outcome.err.splitlines()[-1]


def test_shares_are_disjoint_and_complete():
    entries = list(range(7))
    shares = [own_share(entries, {"RANK": str(rank), "WORLD_SIZE": "3"}) for rank in range(3)]
    assert sorted(entry for share in shares for entry in share) == entries
    assert own_share(entries, {}) == entries
    with pytest.raises(ReconError, match="WORLD_SIZE"):
        own_share(entries, {"RANK": "3", "WORLD_SIZE": "3"})


def twice(fast: Path, tmp_path: Path) -> Path:
    """A cohort of two scans."""
    cohort = tmp_path / "cohort"
    cohort.mkdir()
    for name in ("a", "b"):
        (cohort / f"{name}.h5").write_bytes(fast.read_bytes())
    return cohort


def same_to_the_bit(first: Path, second: Path) -> None:
    """All that the results of both scans of the cohort hold."""
    for name in ("a", "b"):
        one, two = read_result(first / f"{name}.h5"), read_result(second / f"{name}.h5")
        np.testing.assert_array_equal(one.reconstruction, two.reconstruction)
        assert (one.std is None) == (two.std is None)
        if one.std is not None:
            np.testing.assert_array_equal(one.std, two.std)


def test_two_processes_give_the_bits_of_one(prior, fast, tmp_path, run_cli, monkeypatch):
    """Posterior samples of each scan by the process whose part it is: told apart by what ``accelerate`` tells them."""
    words = ("reconstruct", twice(fast, tmp_path), "--prior", prior, *FAST, "--threads", 1, "--json", "--out")
    with numerical_threads(1):
        assert run_cli(*words, tmp_path / "one").code == 0
        monkeypatch.setenv("WORLD_SIZE", "2")
        for rank, name in enumerate(("a", "b")):
            monkeypatch.setenv("RANK", str(rank))
            done = run_cli(*words, tmp_path / "two")
            assert [Path(entry["output"]).stem for entry in done.json["scans"]] == [name], "either makes one scan"
    same_to_the_bit(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize("method", ["sense", pytest.param("posterior", marks=pytest.mark.slow)])
def test_two_processes_that_accelerate_launches_give_the_bits_of_one(method, prior, fast, tmp_path, run_cli):
    """As a user starts them; most often by a method whose processes need not import the network."""
    settings = ("--prior", prior, *FAST) if method == "posterior" else ("--method", method)
    words = [str(w) for w in ("reconstruct", twice(fast, tmp_path), *settings, "--threads", 1, "--out")]
    # As accelerate does: libraries below torch round differently on another number of threads.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[2]
    with numerical_threads(1):
        assert run_cli(*words, tmp_path / "one").code == 0
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--num_cpu_threads_per_process", "1", "-m", "cli"]
    done = subprocess.run(
        [sys.executable, *launch, *words, str(tmp_path / "two"), "--json"],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"scan"') == 2  # either process made one scan
    assert done.stdout.count('"kept"') == 2
    same_to_the_bit(tmp_path / "one", tmp_path / "two")


def test_an_image_format_is_one_row(run_cli, prior, fast, tmp_path, monkeypatch):
    from recon.reconstruction.formats import FORMATS, ImageFormat

    def write(result, scan, reference):
        path = result.path.with_suffix(".txt")
        path.write_text(f"{result.reconstruction.max():.3e}")
        return [path]

    monkeypatch.setitem(FORMATS, "text", ImageFormat("text", "a toy", write, lambda stem: stem.with_suffix(".txt")))
    words = ("reconstruct", fast, "--method", "zero-filled", "--out", tmp_path, "--format", "text", "--json")
    outcome = run_cli(*words)
    assert outcome.code == 0, outcome.err
    (written,) = outcome.json["scans"][0]["files"]
    assert float(Path(written).read_text()) > 0
    again = run_cli(*words)
    assert again.json["scans"][0]["kept"]
    assert "files" not in again.json["scans"][0], "it is there already"
    assert "text" in run_cli("reconstruct", fast, "--out", tmp_path, "--format", "word").err


def test_a_toy_picture_is_handed_the_reference(run_cli, full, fast, tmp_path, monkeypatch):
    from recon.reconstruction.formats import FORMATS, ImageFormat

    def write(result, scan, reference):
        path = result.path.with_suffix(".txt")
        path.write_text(str(reference))
        return [path]

    row = ImageFormat("text", "a toy", write, lambda stem: stem.with_suffix(".txt"), draws_reference=True)
    monkeypatch.setitem(FORMATS, row.name, row)
    words = ("reconstruct", fast, "--method", "zero-filled", "--out", tmp_path, "--reference", full, "--format")
    outcome = run_cli(*words, "text")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "case.txt").read_text() == str(full)
    assert "--format png, text" in run_cli(*words, "nifti").err


def test_a_folder_of_references_and_a_scan_named_twice(run_cli, full, fast, tmp_path):
    words = (
        "reconstruct",
        fast,
        fast.parent,
        "--method",
        "zero-filled",
        "--out",
        tmp_path,
        "--format",
        "png",
        "--json",
    )
    outcome = run_cli(*words, "--reference", full.parent)
    assert outcome.code == 0, outcome.err
    assert [Path(one["output"]).name for one in outcome.json["scans"]] == ["case.h5"]
    assert (tmp_path / "case.png").is_file()


def test_a_contrast_in_lower_case_is_the_one_that_the_prior_knows(run_cli, prior, full, fast, tmp_path):
    lower = tmp_path / "lower.h5"
    assert run_cli("convert", fast, "--out", lower, "--contrast", "t2-flair").code == 0
    words = ("reconstruct", "--json", "--prior", prior, *FAST, "--samples", 0)
    told = run_cli(*words, lower, "--out", tmp_path / "told")
    asked = run_cli(*words, fast, "--contrast", "flair", "--out", tmp_path / "asked")
    for outcome, name in ((told, "told/lower.h5"), (asked, "asked/case.h5")):
        assert outcome.code == 0, outcome.err
        assert not [said for said in outcome.json["scans"][0]["warnings"] if "contrast" in said]
        assert read_result(tmp_path / name).contrast == "FLAIR"


@pytest.mark.parametrize(
    ("facts", "folder", "words"),
    [
        ({"method": "posterior", "sampler": "pula", "prior_hash": "ab" * 32}, "mean", "posterior, prior abab"),
        ({"method": "sense", "prior_hash": "none"}, "sense", "sense, acceleration"),
    ],
)
def test_results_of_older_forms_are_exported_by_what_they_hold(fast, tmp_path, facts, folder, words):
    """Neither ``title`` nor ``std``, and the sampler named apart: the prior's hash says that a prior made it."""
    import pydicom

    from recon.images.result import ResultHeader, write_result
    from recon.reconstruction.formats import export

    image = np.random.default_rng(0).random((2, 48, 40)).astype(np.float32)
    with write_result(tmp_path / "old.h5", ResultHeader(2, (48, 40), "FLAIR", affine=AFFINE, attributes=facts)) as old:
        for index in range(2):
            old.put(index, reconstruction=image[index], zero_filled=0.5 * image[index])
    files = export(tmp_path / "old.h5", open_scan(fast), ("h5", "nifti", "dicom", "png"))
    series = [file for file in files if file.suffix == ".dcm"]
    assert {file.parent.name for file in series} == {folder}
    assert words in pydicom.dcmread(series[0]).DerivationDescription
    assert (tmp_path / "old.png").is_file()
