"""`recon encode` end to end on files: what is printed, what is written, and one clear line for every bad input."""

import csv
import importlib.util
import json
import re
import sys
import types
import warnings
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cli import progress
from recon.encode import encoders
from recon.encode.encoders import ENCODERS
from recon.encode.interface import Embedding, PreparedVolume
from recon.encode.latent_prediction.preparation import prepare_small
from recon.errors import ReconWarning
from recon.images.dicom import DicomSeries, write_dicom_series
from recon.images.result import ResultHeader, write_result
from tests.encode.conftest import AFFINE, save_nifti

BLOCKS = 2
RANDOM = ("--encoder", "neurovfm", "--random-init", "0")


@pytest.fixture(scope="session")
def files(head: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("volumes")
    blurred = gaussian_filter(head, (1.5, 1.5, 0))
    samples = np.stack([blurred, np.roll(blurred, 1, axis=0)]).astype(np.complex64)
    with write_result(
        folder / "result.h5",
        ResultHeader(
            slices=12,
            shape=(64, 80),
            contrast="FLAIR",
            voxel_size=(1, 1, 4),
            affine=AFFINE,
            configuration={},
            attributes={"method": "posterior", "noise_std": 0.02},
        ),
    ) as writer:
        for index in range(12):
            writer.put(index, reconstruction=blurred[..., index], samples=samples[..., index])
    unplaced = nibabel.Nifti1Image(head, None)
    nibabel.save(unplaced, folder / "unplaced.nii.gz")
    broken = head.copy()
    broken[0, 0, 0] = np.nan
    return {
        "reference": save_nifti(folder / "reference.nii.gz", head),
        "blurred": save_nifti(folder / "blurred.nii.gz", blurred),
        "result": folder / "result.h5",
        "unplaced": folder / "unplaced.nii.gz",
        "single": save_nifti(folder / "single.nii.gz", head[..., 5:6]),
        "shorter": save_nifti(folder / "shorter.nii.gz", head[..., :-1]),
        "nan": save_nifti(folder / "nan.nii.gz", broken),
    }


def test_list_says_what_is_loadable_and_what_to_obtain(run_cli) -> None:
    found = run_cli("encode", "list", "--json").json["encoders"]
    assert {entry["encoder"] for entry in found} >= {"neurovfm", "brainiac", "brainsegfounder", "dinov3"}
    neurovfm = next(entry for entry in found if entry["encoder"] == "neurovfm")
    assert neurovfm["loadable"] == "with random weights"
    assert "huggingface.co/mlinslab" in neurovfm["needs"][0]
    assert "CC-BY-NC-SA-4.0" in run_cli("encode", "list").out


def test_a_missing_extra_is_one_line(run_cli, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "monai" else real(name, *rest))
    outcome = run_cli("encode", "drift", files["blurred"], "--reference", files["reference"], "--encoder", "brainiac")
    assert outcome.code == 2
    assert "needs monai" in outcome.err
    assert "recon[encoders]" in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    listed = run_cli("encode", "list", "--json").json["encoders"]
    assert next(entry for entry in listed if entry["encoder"] == "brainiac")["loadable"] == "no"


def test_doctor_on_a_good_volume(run_cli, files: dict[str, Path]) -> None:
    outcome = run_cli("encode", "doctor", files["reference"], *RANDOM, "--json")
    assert outcome.code == 0
    found = outcome.json
    assert found["usable"]
    assert found["slice_axis"] == 2
    assert "largest spacing" in found["slice_axis_reason"]
    assert found["tokens_kept"] + found["tokens_dropped"] == 3 * 5 * 4
    assert found["orientation"] == "LPS"
    assert "random-init seed 0" in run_cli("encode", "doctor", files["reference"], *RANDOM).out


def test_doctor_names_every_reason_to_refuse(run_cli, files: dict[str, Path], tmp_path: Path) -> None:
    outcome = run_cli(
        *("encode", "doctor", files["single"], "--encoder", "neurovfm", "--weights", tmp_path),
        *("--head", tmp_path, "--reference", files["unplaced"], "--json"),
    )
    assert outcome.code == 1
    reasons = " | ".join(outcome.json["refusals"])
    assert len(outcome.json["refusals"]) >= 3
    assert "config.json" in reasons
    assert "single slice" in reasons


@pytest.mark.filterwarnings("ignore:.*off by a factor:recon.errors.ReconWarning")
@pytest.mark.filterwarnings("ignore:.*noise level is estimated:recon.errors.ReconWarning")
def test_drift_writes_json_table_and_figure(run_cli, files: dict[str, Path], tmp_path: Path) -> None:
    outcome = run_cli(
        *("encode", "drift", files["result"], files["reference"], "--reference", files["reference"], *RANDOM),
        *("--replicas", 2, "--snr", 30, "--out", tmp_path / "out", "--json"),
    )
    assert outcome.code == 0, outcome.err
    found = outcome.json
    blurred, same = found["reconstructions"]
    assert same["token_distance"] == 0
    assert same["inside_noise_floor"]
    assert not blurred["inside_noise_floor"]
    assert blurred["verdict"].startswith("OUTSIDE")
    assert len(blurred["posterior_samples"]["samples"]) == 2
    assert blurred["noise_floor"]["source"] == "SNR as given"
    assert 0 < blurred["random_init"]["token_cosine"] < 1
    assert blurred["hfen"] > 0 and 0 < blurred["ssim"] < 1  # noqa: PT018
    assert json.loads((tmp_path / "out" / "drift.json").read_text()) == found
    rows = list(csv.DictReader((tmp_path / "out" / "drift.csv").read_text().splitlines()))
    assert [row["what"] for row in rows].count("reconstruction") == 2
    assert (tmp_path / "out" / "drift-00.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    text = run_cli(*("encode", "drift", files["blurred"], "--reference", files["result"], *RANDOM, "--replicas", 2))
    assert "exploratory" in text.out
    assert "noise level of the scan, from the result file" in text.out
    assert text.out.count("noise floor:") == 1
    assert "random weights" in text.err


def test_unlocked_drift_warns(run_cli, files: dict[str, Path]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always", ReconWarning)
        outcome = run_cli(
            *("encode", "drift", files["blurred"], "--reference", files["reference"], *RANDOM, "--replicas", 2),
            *("--preprocessing", "own", "--json"),
        )
    assert outcome.code == 0
    assert "warning: --preprocessing own" in outcome.err
    assert outcome.json["preprocessing"] == "own"


def test_map_lies_in_the_reference_s_space(run_cli, files: dict[str, Path], head_folder: Path, tmp_path: Path) -> None:
    words = ("encode", "map", files["result"], "--reference", files["reference"], *RANDOM)
    plain = run_cli(*words, "--out", tmp_path / "map.nii.gz")
    assert plain.code == 0
    assert "16 x 16 x 16 mm (one token: 16 x 16 x 4 voxels of 1 x 1 x 4 mm)" in plain.out
    image = nibabel.load(tmp_path / "map.nii.gz")
    assert np.allclose(image.affine, AFFINE)
    assert image.shape == (64, 80, 12)
    labelled = run_cli(
        *words, "--out", tmp_path / "label.nii.gz", "--label", "acute_ischemic_stroke", "--head", head_folder, "--json"
    ).json
    assert labelled["sum_of_tokens"] == pytest.approx(labelled["score_change"], rel=1e-9)
    painted = nibabel.load(tmp_path / "label.nii.gz").get_fdata()
    assert np.abs(painted).max() == pytest.approx(abs(labelled["peak_value"]), rel=1e-5)
    alone = run_cli(*words, "--out", tmp_path / "x.nii.gz", "--label", "acute_ischemic_stroke")
    assert alone.code == 2
    assert "--head belong together" in alone.err
    wrong = run_cli(*words, "--out", tmp_path / "x.png")
    assert wrong.code == 2
    assert "NIfTI" in wrong.err
    assert not (tmp_path / "x.png").exists()


def test_dx_over_several_series(run_cli, files: dict[str, Path], head_folder: Path) -> None:
    words = (
        *("encode", "dx", "--reference", f"FLAIR={files['reference']}", "--reference", f"T1={files['blurred']}"),
        *("--reconstruction", f"FLAIR={files['result']}", "--head", head_folder, "--random-init", 0, "--replicas", 1),
    )
    found = run_cli(*words, "--json").json
    assert found["labels"][0]["label"] == "acute_ischemic_stroke"
    assert len(found["labels"]) == 74
    assert found["unchanged_series"] == ["T1"]
    assert found["scores_are"] == "logits, not probabilities"
    text = run_cli(*words[:-2], "--replicas", 0)
    assert text.out.index("acute_ischemic_stroke") < text.out.index("small_vessel")
    assert "not probabilities" in text.out


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("single", "single slice"),
        ("unplaced", "no affine"),
        ("shorter", "--resample"),
        ("nan", "NaN"),
        ("absent", "no such file"),
    ],
)
def test_bad_volumes_are_one_line(run_cli, files: dict[str, Path], name: str, words: str, tmp_path: Path) -> None:
    path = files.get(name, tmp_path / "absent.nii.gz")
    outcome = run_cli("encode", "drift", path, "--reference", files["reference"], *RANDOM, "--replicas", 2)
    assert outcome.code == 2
    assert words in outcome.err
    lines = [line for line in outcome.err.strip().splitlines() if not line.startswith("random weights")]
    assert len(lines) == 1
    assert lines[0].startswith("recon: ")


def test_options_that_make_no_sense(run_cli, files: dict[str, Path], head_folder: Path) -> None:
    base = ("encode", "drift", files["blurred"], "--reference", files["reference"])
    for words, expected in (
        (("--encoder", "neurovfm"), "request access"),
        (("--encoder", "nothing"), "choose one of recon-small, neurovfm"),
        ((*RANDOM, "--device", "cuda:77"), "CUDA devices here"),
        ((*RANDOM, "--slice-axis", "7"), "--slice-axis 7"),
        ((*RANDOM, "--voxel-size", "1,1"), "--voxel-size 1,1"),
        ((*RANDOM, "--snr", "-3"), "must be positive"),
    ):
        outcome = run_cli(*base, *words)
        assert outcome.code == 2
        assert expected in outcome.err
    unnamed = run_cli("encode", "dx", "--reference", "a.nii", "--reconstruction", "b.nii", "--head", head_folder)
    assert unnamed.code == 2
    assert "NAME=FILE" in unnamed.err


def test_an_assumed_voxel_size_lets_an_unplaced_file_in(run_cli, files: dict[str, Path]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always", ReconWarning)
        outcome = run_cli(
            *("encode", "drift", files["unplaced"], "--reference", files["unplaced"], *RANDOM),
            *("--replicas", 2, "--voxel-size", "1,1,4", "--json"),
        )
    assert outcome.code == 0
    assert "left and right are unknown" in outcome.err
    assert outcome.json["reconstructions"][0]["token_distance"] == 0


def test_every_row_has_a_module_and_says_what_it_needs() -> None:
    for row in ENCODERS:
        assert importlib.util.find_spec(row.module) is not None
        assert row.ships or row.obtain
        assert row.licence


@dataclass(frozen=True)
class BlockMeans:
    """A toy encoder: a token is the patch itself, scaled."""

    scale: float
    name: str = "blocks"
    licence: str = "none needed"
    weights_hash: str = "no weights"

    def prepare(self, volume, affine, preprocessing=None, *, slice_axis=None) -> PreparedVolume:
        return prepare_small(volume, affine, preprocessing, slice_axis=slice_axis, patch=8)

    def encode(self, prepared: PreparedVolume) -> Embedding:
        tokens = prepared.inputs.float().flatten(1) * self.scale
        return Embedding(tokens, prepared.coords, tokens.mean(0))


@pytest.mark.filterwarnings("ignore:.*off by a factor:recon.errors.ReconWarning")
@pytest.mark.filterwarnings("ignore:.*noise level is estimated:recon.errors.ReconWarning")
def test_an_encoder_is_one_row(run_cli, files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through list, doctor and drift, with nothing else told."""
    module = types.ModuleType("toy_blocks")
    module.load = lambda weights, *, device, random_seed: BlockMeans(1.0 if random_seed is None else 2.0)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "toy_blocks", module)
    row = encoders.EncoderRow("blocks", "toy_blocks", "patches as they are", "8 x 8 mm", "none", "nothing", ships=True)
    monkeypatch.setattr(encoders, "ENCODERS", (*encoders.ENCODERS, row))
    assert "blocks" in {entry["encoder"] for entry in run_cli("encode", "list", "--json").json["encoders"]}
    found = run_cli("encode", "doctor", files["reference"], "--encoder", "blocks", "--json")
    assert found.code == 0, found.err
    assert found.json["weights_hash"] == "no weights"
    words = ("encode", "drift", files["blurred"], "--reference", files["reference"], "--encoder", "blocks", "--json")
    drift = run_cli(*words)
    assert drift.code == 0, drift.err
    assert drift.json["encoder"] == "blocks"
    assert len(drift.json["reconstructions"]) == 1


@pytest.mark.filterwarnings("ignore:.*off by a factor:recon.errors.ReconWarning")
def test_drift_takes_folders_of_dicom_and_says_how_long_it_takes(
    run_cli, head: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blurred = gaussian_filter(head, (1.5, 1.5, 0))
    for name, values in (("full", head), ("fast", blurred)):
        series = DicomSeries(derivation="made here", description=name, contrast="FLAIR", affine=AFFINE)
        write_dicom_series(tmp_path / name, np.moveaxis(3 * values, -1, 0), series)  # one display scale for both
    monkeypatch.setattr(progress, "WORTH_SAYING", 0.0)
    outcome = run_cli(
        *("encode", "drift", tmp_path / "fast", tmp_path / "full", "--reference", tmp_path / "full"),
        *("--snr", 30, "--replicas", 2, "--json"),
    )
    assert outcome.code == 0, outcome.err
    blurred_, same = outcome.json["reconstructions"]
    assert same["token_distance"] == 0
    assert not blurred_["inside_noise_floor"]
    assert re.search(r"about \d+ s for 12 volumes", outcome.err)
