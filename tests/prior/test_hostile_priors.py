"""A prior's folder and prepared files whose facts cannot be true are refused: they would change images silently."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from recon.errors import ReconError
from recon.prior.dataset import open_prepared
from recon.prior.store import load_prior
from tests.small_world import write_small_prior


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_prior(tmp_path_factory.mktemp("prior") / "prior")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("sigma_data", -0.75, "sigma_data must be positive"),
        ("sigma_data", 0, "sigma_data must be positive"),
        ("contrast_labels", {"unknown": 0, "FLAIR": 99}, "contrast_labels must be different numbers from 0 to 15"),
        ("contrast_labels", {"unknown": 0, "FLAIR": 0}, "contrast_labels must be different numbers"),
        ("contrast_labels", {"FLAIR": -1}, "contrast_labels must be different numbers"),
        ("denoiser_variance_sigmas", [0.1, 0.01, 1.0, 10.0], "not ascending"),
        ("denoiser_variances", [0.1, 0.2, -0.3, 0.4], "denoiser-variance table"),
        ("amplifications", [1.0, 2.0], "table of variance factors"),
        ("draw_excess", 0.5, "draw_excess must be at least 1"),
        ("network", {"channels": [2**40, 24]}, "at most 8 levels of 1 to 4096 channels"),
        ("network", {"channels": [16, 24], "groups": 0}, "groups from 1"),
        ("network", {"channels": [16, 24], "blocks": 99}, "at most 16"),
        ("network", {"channels": [8], "groups": 4}, "'norm_num_groups' is not what prior.json says"),
        ("network", {"channels": [16, 32]}, "do not fit each other"),
        ("network", 5, "must be a mapping"),
    ],
)
def test_facts(key: str, value: Any, words: str, healthy: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(healthy, tmp_path / "prior"))
    facts = json.loads((folder / "prior.json").read_text("utf-8"))
    facts[key] = value
    (folder / "prior.json").write_text(json.dumps(facts), "utf-8")
    with pytest.raises(ReconError, match=words) as refusal:
        load_prior(folder)
    assert str(folder) in str(refusal.value)


@pytest.mark.parametrize("text", ["5", "null", "[]", "[" * 100_000, "{"])
@pytest.mark.parametrize("name", ["prior.json", "config.json"])
def test_no_facts(name: str, text: str, healthy: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(healthy, tmp_path / "prior"))
    (folder / name).write_text(text, "utf-8")
    with pytest.raises(ReconError, match=name):
        load_prior(folder)


@pytest.mark.parametrize(
    ("key", "value"), [("act_fn", "gelu"), ("norm_eps", 0.5), ("flip_sin_to_cos", False), ("norm_num_groups", 4)]
)
def test_another_network_of_the_same_weights(key: str, value: Any, healthy: Path, tmp_path: Path) -> None:
    """None of these changes the shape of a weight, so that the file of weights fits; each changes every image."""
    folder = Path(shutil.copytree(healthy, tmp_path / "prior"))
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config[key] = value
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(ReconError, match=f"config.json: '{key}' is not what prior.json says"):
        load_prior(folder)


def prepared(path: Path, change: Callable[[h5py.File], object]) -> Path:
    with h5py.File(path, "w") as file:
        file["image"] = np.ones((2, 8, 6), np.complex64)
        file.attrs["format"] = "recon-prepared-2"
        file.attrs["subject"], file.attrs["contrast"], file.attrs["noise_sigma"] = "a", "FLAIR", 0.1
        change(file)
    return path


def test_a_healthy_prepared_file(tmp_path: Path) -> None:
    assert open_prepared(prepared(tmp_path / "a.h5", lambda file: None)).read(1).shape == (8, 6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file.pop("image"), "'image' is missing"),
        (lambda file: file.move("image", "elsewhere") or file.create_group("image"), "'image' is no dataset"),
        (lambda file: file.attrs.__setitem__("noise_sigma", "loud"), "'noise_sigma' is 'loud', not a number"),
        (lambda file: file.attrs.__setitem__("noise_sigma", np.nan), "'noise_sigma' is NaN"),
        (lambda file: file.attrs.__setitem__("noise_sigma", -1.0), "less than 0"),
        (lambda file: file.attrs.__setitem__("subject", h5py.Empty("f4")), "'subject' has no value"),
        (lambda file: file.attrs.__setitem__("contrast", 5), "'contrast' is int64, not a text"),
        (lambda file: file.attrs.__setitem__("echo_time_ms", [1.0, 2.0]), "'echo_time_ms' has the shape"),
        (lambda file: file.attrs.pop("subject"), "'subject' is missing"),
    ],
)
def test_parts_of_prepared_files(change: Callable[[h5py.File], object], words: str, tmp_path: Path) -> None:
    path = prepared(tmp_path / "odd.h5", change)
    with pytest.raises(ReconError, match=words) as refusal:
        open_prepared(path)
    assert str(path) in str(refusal.value)


def test_values_of_prepared_files(tmp_path: Path) -> None:
    path = prepared(tmp_path / "nan.h5", lambda file: file["image"].__setitem__((1, 0, 0), np.nan))
    with pytest.raises(ReconError, match=r"nan\.h5: slice 1 has NaN"):
        open_prepared(path).read(1)


def test_a_diffusers_that_does_not_load_is_not_blamed_on_the_prior(
    healthy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where torch came from the index of processor builds and torchvision from PyPI."""
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ReconError, match="install both anew from one index") as refused:
        load_prior(healthy)
    assert "fit each other" not in str(refused.value)
