"""The blind check catches deliberate leaks by name, and passes what does not leak."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image, PngImagePlugin
from pydicom.dataset import Dataset

from reader_study.blind_check import Pair, check_pairs, predict, single_images
from reader_study.dicom_writer import SeriesGeometry, SeriesIdentity, random_uid, series_datasets, stamp
from reader_study.pair_folders import find_pairs
from recon.errors import ReconError


def write_series(folder: Path, rng: np.random.Generator, change: Callable[[Dataset], None] | None = None) -> None:
    """A small series as the exporter writes it, with one thing changed."""
    folder.mkdir(parents=True)
    uids = [random_uid(rng.bytes(16)) for _ in range(5)]
    datasets = series_datasets(
        rng.integers(1, 4095, (2, 16, 16)).astype(np.uint16),
        SeriesGeometry((5.0, 0.9, 0.9), "axial", (1000, 2000)),
        SeriesIdentity(rng.bytes(8).hex(), *uids[:3], tuple(uids[3:])),
    )
    for index, dataset in enumerate(datasets, start=1):
        if change is not None:
            change(dataset)
        dataset.save_as(folder / f"{index:04d}.dcm", enforce_file_format=True)
        stamp(folder / f"{index:04d}.dcm")


def make_pairs(
    folder: Path, count: int = 1, change: Callable[[Dataset], None] | None = None, names: Any = None, seed: int = 0
) -> list[Pair]:
    """``count`` pairs; ``change`` alters the second arm's headers. Series have random names and order on disk."""
    rng = np.random.default_rng(seed)
    pairs = []
    for index in range(count):
        series = [folder / rng.bytes(8).hex() for _ in range(2)] if names is None else names(folder, index)
        for arm in rng.permutation(2).tolist():
            write_series(series[arm], rng, change if arm == 1 else None)
        files = [tuple(sorted(path.iterdir())) for path in series]
        pairs.append(Pair(f"case {index + 1}", files[0], files[1]))
    return pairs


def set_value(keyword: str, value: Any) -> Callable[[Dataset], None]:
    return lambda dataset: setattr(dataset, keyword, value)


def add_private(dataset: Dataset) -> None:
    dataset.private_block(0x0019, "VENDOR", create=True).add_new(0x01, "LO", "deep learning")


LEAKY_TAGS = {
    "SeriesDescription": "FLAIR_DL_x2",
    "ProtocolName": "fast",
    "ImageComments": "reconstructed by a network",
    "DerivationDescription": "diffusion",
    "Manufacturer": "RECON",
    "SoftwareVersions": "2.1",
    "SeriesNumber": 7,
    "ParallelReductionFactorInPlane": 2.0,
    "SequenceName": "*tir2d1",
    "PercentSampling": "50",
    "AcquisitionMatrix": [0, 320, 160, 0],
    "AcquisitionDuration": 61.0,
    "ImageType": ["ORIGINAL", "PRIMARY", "M"],
    "WindowCenter": "900",
    "PixelSpacing": ["0.9", "0.8"],
    "RescaleSlope": "2",
    "StationName": "MR7",
    "EchoTrainLength": 12,
    "NumberOfPhaseEncodingSteps": 160,
    "BitsStored": 16,
}


@pytest.mark.parametrize("keyword", LEAKY_TAGS)
def test_each_leaky_tag_is_named(tmp_path, keyword):
    verdict = check_pairs(make_pairs(tmp_path, change=set_value(keyword, LEAKY_TAGS[keyword])))
    assert not verdict.passed
    leaks = {finding.attribute for finding in verdict.findings if finding.leaks}
    assert leaks <= {keyword, "file size"}
    assert keyword in leaks


def test_private_nested_and_preamble_leaks_are_named(tmp_path):
    def nested(dataset: Dataset) -> None:
        dataset.DeidentificationMethodCodeSequence[0].CodeMeaning = "Retain Device Identity"

    def preamble(dataset: Dataset) -> None:
        dataset.preamble = b"scanner".ljust(128, b"\0")

    for name, change, expected in (
        ("private", add_private, "(0019,1001)"),
        ("nested", nested, "DeidentificationMethodCodeSequence[0].CodeMeaning"),
        ("preamble", preamble, "preamble"),
    ):
        verdict = check_pairs(make_pairs(tmp_path / name, change=change))
        assert expected in {finding.attribute for finding in verdict.findings if finding.leaks}, name


def test_long_values_differ_at_their_end_and_personal_values_are_not_repeated(tmp_path):
    (pair,) = make_pairs(tmp_path, change=set_value("ImageComments", "x" * 900))
    for files, ending in ((pair.first, "a"), (pair.second, "b")):
        for path in files:
            dataset = pydicom.dcmread(path)
            dataset.ImageComments = "x" * 900 + ending
            dataset.PatientBirthDate = f"1961020{ord(ending) % 10}"
            dataset.save_as(path)
            stamp(path)
    leaks = {finding.attribute: finding.example for finding in check_pairs([pair]).findings if finding.leaks}
    assert set(leaks) == {"ImageComments", "PatientBirthDate"}
    assert "1961" not in str(leaks)


def test_file_size_time_stamp_permissions_and_count_are_leaks(tmp_path):
    def leaks(pairs: list[Pair]) -> set[str]:
        return {finding.attribute for finding in check_pairs(pairs).findings if finding.leaks}

    (pair,) = make_pairs(tmp_path / "size")
    with pair.second[0].open("ab") as file:
        file.write(b"\0\0")
    stamp(pair.second[0])
    assert "file size" in leaks([pair])
    (pair,) = make_pairs(tmp_path / "time")
    os.utime(pair.second[1], (1_700_000_000, 1_700_000_000))
    assert leaks([pair]) == {"modification time"}
    (pair,) = make_pairs(tmp_path / "rights")
    pair.first[0].chmod(0o600)
    pair.second[0].chmod(0o640)
    assert leaks([pair]) == {"permissions"}
    (pair,) = make_pairs(tmp_path / "count")
    assert leaks([Pair(pair.case, pair.first, pair.second[:1])]) == {"number of files"}


def test_compressed_pixels_are_a_leak(tmp_path):
    (pair,) = make_pairs(tmp_path)
    for path in pair.second:
        dataset = pydicom.dcmread(path)
        dataset.compress(pydicom.uid.RLELossless)
        dataset.save_as(path)
        stamp(path)
    leaks = {finding.attribute for finding in check_pairs([pair]).findings if finding.leaks}
    assert {"TransferSyntaxUID", "PixelData"} <= leaks


def test_uid_root_and_length_are_leaks_in_a_single_pair(tmp_path):
    change = set_value("SeriesInstanceUID", "1.2.826.0.1.3680043.8.498.12345")
    verdict = check_pairs(make_pairs(tmp_path, change=change))
    assert "SeriesInstanceUID (form)" in {finding.attribute for finding in verdict.findings if finding.leaks}


def test_order_of_uids_is_caught_by_prediction(tmp_path):
    pairs = make_pairs(tmp_path, count=12)
    for pair in pairs:  # same form, but the second arm's UID is always the larger
        for files, uid in ((pair.first, f"2.25.{'1' * 38}5"), (pair.second, f"2.25.{'2' * 38}5")):
            for path in files:
                dataset = pydicom.dcmread(path)
                dataset.StudyInstanceUID = uid
                dataset.save_as(path)
                stamp(path)
    verdict = check_pairs(pairs)
    assert [finding.attribute for finding in verdict.findings if finding.leaks] == ["StudyInstanceUID (order)"]
    assert verdict.correct == 12


def test_order_of_names_and_of_writing_is_caught(tmp_path):
    def alternating(folder: Path, index: int) -> list[Path]:
        return [folder / f"{2 * index:04d}", folder / f"{2 * index + 1:04d}"]

    verdict = check_pairs(make_pairs(tmp_path / "names", count=12, names=alternating))
    assert not verdict.passed
    assert "series name" in verdict.rule
    rng = np.random.default_rng(1)
    pairs = []
    for index in range(12):  # random names, but the first arm is always written first
        series = [tmp_path / "written" / rng.bytes(8).hex() for _ in range(2)]
        for path in series:
            write_series(path, rng)
            time.sleep(0.012)  # the file system's clock ticks every 4 ms or so
        pairs.append(Pair(f"case {index}", *(tuple(sorted(path.iterdir())) for path in series)))
    verdict = check_pairs(pairs)
    assert not verdict.passed
    assert verdict.rule in ("change time order", "order on disk (inode)")


@pytest.mark.parametrize("fault", ["zero background share", "constant border rows", "histogram gaps", "bits in use"])
def test_pixel_container_faults_are_warnings(tmp_path, fault):
    def change(dataset: Dataset) -> None:
        image = np.frombuffer(dataset.PixelData, "<u2").reshape(16, 16).copy()
        if fault == "zero background share":
            image[4:8, 4:8] = 0
        elif fault == "constant border rows":
            image[:2] = 7
        elif fault == "histogram gaps":
            image = image // 400 * 400 + 1
        else:
            image = image // 16 + 1
        dataset.PixelData = image.tobytes()

    verdict = check_pairs(make_pairs(tmp_path, change=change))
    assert verdict.passed
    assert fault in {finding.attribute for finding in verdict.findings}


@pytest.mark.parametrize("fault", ["constant border rows", "histogram gaps", "pixels at the highest level"])
def test_a_container_that_tells_single_images_is_a_leak(tmp_path, fault):
    """Pair by pair it was a warning only."""

    def change(dataset: Dataset) -> None:
        image = np.frombuffer(dataset.PixelData, "<u2").reshape(16, 16).copy()
        if fault == "constant border rows":
            image[:2] = 7
        elif fault == "histogram gaps":
            image = image // 400 * 400 + 1
        else:
            image = np.minimum(image, 3500)
        dataset.PixelData = image.tobytes()

    verdict = check_pairs(make_pairs(tmp_path, count=12, change=change))
    assert not verdict.passed
    assert fault in {finding.attribute for finding in verdict.findings if finding.step == "single image"}
    assert not verdict.by_chance


def test_single_images_of_a_sound_package_are_not_told():
    rng = np.random.default_rng(3)
    names = ("zero background share", "histogram gaps", "pixels at the highest level")
    for _ in range(40):
        facts = [tuple(dict(zip(names, rng.normal(size=3), strict=True)) for _ in range(2)) for _ in range(12)]
        assert single_images(facts) == {}


def test_clean_pairs_pass(tmp_path):
    verdict = check_pairs(make_pairs(tmp_path, count=8, seed=4))
    assert verdict.passed
    assert not [finding for finding in verdict.findings if finding.step == "equality"]


def test_prediction_keeps_its_level_where_the_binomial_test_does_not():
    """Over random packages of 20 pairs and 15 aspects: 5 % by exchanges, far more by the binomial test."""
    rng = np.random.default_rng(0)
    exchange = binomial = 0
    for _ in range(200):
        signs = [{f"aspect {i:02d}": int(s) for i, s in enumerate(rng.choice([-1, 1], 15))} for _ in range(20)]
        _, binomial_p, exchange_p, _ = predict(signs)
        exchange += exchange_p <= 0.05
        binomial += binomial_p <= 0.05
    assert exchange <= 20  # 10 expected; a binomial variable exceeds 20 with probability .001
    assert binomial >= 30


def test_prediction_finds_fifteen_and_more_of_twenty():
    signs = [{"leak": 1 if index else -1, "other": 1 if index % 2 else -1} for index in range(20)]
    correct, binomial_p, exchange_p, rule = predict(signs)
    assert (correct, rule) == (19, "leak")
    assert binomial_p == pytest.approx(21 / 2**20)
    assert exchange_p < 0.01
    assert predict(signs[:4])[2] == 1.0


@pytest.mark.parametrize("layout", ["ARM/CASE", "CASE/ARM"])
def test_any_folder_is_checked_and_the_exit_code_names_the_leak(tmp_path, run_cli, layout):
    pairs = make_pairs(tmp_path / "made", count=3, change=set_value("SeriesDescription", "DL"))
    folder = tmp_path / "package"
    for index, pair in enumerate(pairs):
        for arm, files in (("a", pair.first), ("b", pair.second)):
            target = folder / arm / f"c{index}" if layout == "ARM/CASE" else folder / f"c{index}" / arm
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(files[0].parent, target)
    assert [len(pair.first) for pair in find_pairs(folder)] == [2, 2, 2]
    outcome = run_cli("reader-study", "check", folder, "--json")
    assert outcome.code == 1
    assert "SeriesDescription" in {finding["attribute"] for finding in outcome.json["findings"]}


def test_folders_that_hold_no_pairs_are_refused(tmp_path, run_cli):
    (tmp_path / "x").mkdir()
    outcome = run_cli("reader-study", "check", tmp_path)
    assert outcome.code == 2
    assert "ARM/CASE" in outcome.err
    for name in ("a/x", "a/y", "b/x", "b/y"):  # are a and b the arms, or x and y?
        (tmp_path / "both" / name).mkdir(parents=True)
    assert "either layout" in run_cli("reader-study", "check", tmp_path / "both").err
    table = tmp_path / "pairs.csv"
    table.write_text("case,arm,path\nC1,a,x\nC1,b,x\nC2,a,x\n")
    outcome = run_cli("reader-study", "check", tmp_path, "--pairs", table)
    assert outcome.code == 2
    assert "C2" in outcome.err


# ---- other packages --------------------------------------------------------------------------------------------------


def write_packages(folder: Path, kind: str, leak: bool, cases: int = 3) -> Path:
    """ARM/CASE/file as PNG or NIfTI, sound but for the leak."""
    rng = np.random.default_rng(0)
    for case in range(cases):
        for arm in rng.permutation(["soc", "dm"]).tolist():
            target = folder / arm / f"case-{case}"
            target.mkdir(parents=True)
            pixels = rng.integers(1, 4000, (16, 16)).astype(np.uint16)
            path = target / f"{rng.bytes(4).hex()}.{'png' if kind == 'png' else 'nii'}"
            told = leak and arm == "dm"
            if kind == "png":
                facts = PngImagePlugin.PngInfo()
                if told:
                    facts.add_text("Software", "network")
                Image.fromarray(pixels).save(path, pnginfo=facts, compress_level=0)
            else:
                image = nibabel.Nifti1Image(np.stack([pixels, pixels], axis=2), np.eye(4))
                image.header["descrip"] = b"network" if told else b""
                nibabel.save(image, path)
            stamp(path)
    return folder


@pytest.mark.parametrize(("kind", "attribute"), [("png", "PNG tEXt, 1"), ("nifti", "NIfTI descrip")])
def test_png_and_nifti_packages_are_checked(tmp_path, run_cli, kind, attribute):
    """They could not be read."""
    sound = run_cli("reader-study", "check", write_packages(tmp_path / "sound", kind, False), "--json")
    assert sound.code == 0, sound.json
    told = run_cli("reader-study", "check", write_packages(tmp_path / "told", kind, True), "--json")
    assert told.code == 1
    found = {finding["attribute"]: finding["example"] for finding in told.json["findings"] if finding["leaks"]}
    assert attribute in found
    assert "network" not in found[attribute]


def test_a_zip_archive_is_checked_as_the_folder_in_it(tmp_path, run_cli):
    write_packages(tmp_path / "package", "png", True)
    archive = shutil.make_archive(str(tmp_path / "package"), "zip", tmp_path, "package")
    outcome = run_cli("reader-study", "check", archive, "--json")
    assert outcome.code == 1
    assert "PNG tEXt, 1" in {finding["attribute"] for finding in outcome.json["findings"]}
    Path(archive).write_bytes(b"PK no archive")
    broken = run_cli("reader-study", "check", archive)
    assert broken.code == 2
    assert "cannot be read as a zip archive" in broken.err


@pytest.mark.parametrize("name", ["x.png", "x.nii"])
def test_a_damaged_image_file_is_named(tmp_path, name):
    paths = []
    for arm in ("soc", "dm"):
        (tmp_path / arm).mkdir()
        (tmp_path / arm / name).write_bytes(b"nothing")
        paths.append((tmp_path / arm / name,))
    with pytest.raises(ReconError, match=name):
        check_pairs([Pair("case 1", *paths)])
