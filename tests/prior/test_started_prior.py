"""Training that begins with another prior's weights: ``recon pretrain --from``."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from recon.errors import ReconError
from recon.prior.dataset import PREPARED_FORMAT, open_folder, split_by_subject
from recon.prior.options import NetworkOptions, TrainingOptions
from recon.prior.pretraining import pretrain, started_from
from recon.prior.store import WEIGHTS, Prior, load_prior
from recon.progress import silent
from tests.conftest import Outcome

TINY = NetworkOptions(channels=(8, 16))
OPTIONS = TrainingOptions(network=TINY, images=24, batch=4, crop=16, checkpoint_images=8, seed=3)


def prepared(folder: Path, contrasts: tuple[str, ...], origin: str) -> Path:
    """Smooth random images, one subject a contrast, as ``recon prepare`` stores them."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number, contrast in enumerate(contrasts):
        with h5py.File(folder / f"s{number}.h5", "w") as file:
            coarse = generator.standard_normal((2, 6, 6)).repeat(4, 1).repeat(4, 2) + 1.5
            file["image"] = coarse.astype(np.complex64)
            file.attrs.update(format=PREPARED_FORMAT, subject=f"p{number}", contrast=contrast, origin=origin)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("first") / "data", ("T1", "T2", "T1", "T2"), "first data")


@pytest.fixture(scope="module")
def first(data: Path) -> Prior:
    folder = data.parent / "prior"
    pretrain(OPTIONS, open_folder(data), folder, silent, device="cpu")
    return load_prior(folder)


def test_the_run_begins_with_the_priors_weights(data: Path, first: Prior, tmp_path: Path) -> None:
    """With a learning rate of next to nothing the weights stay what they were; from scratch they would not."""
    still = dataclasses.replace(OPTIONS, learning_rate=1e-30, images=4, seed=9)
    pretrain(still, open_folder(data), tmp_path, silent, start=first, device="cpu")
    before, after = load_file(first.folder / WEIGHTS), load_file(tmp_path / WEIGHTS)
    for name in before:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-7)


def test_the_prior_in_memory_is_not_trained(data: Path, first: Prior, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in first.denoiser.state_dict().items()}
    pretrain(OPTIONS, open_folder(data), tmp_path, silent, start=first, device="cpu")
    assert all(torch.equal(before[name], value) for name, value in first.denoiser.state_dict().items())
    assert not any(parameter.requires_grad for parameter in first.denoiser.parameters())


def test_labels_lengths_and_licences_of_both_runs_are_kept(first: Prior, tmp_path: Path) -> None:
    more = prepared(tmp_path / "more", ("FLAIR", "T2", "FLAIR"), "second data")
    out = tmp_path / "prior"
    facts = pretrain(OPTIONS, open_folder(more), out, silent, start=first, device="cpu").facts
    assert facts is not None
    labels = first.facts.contrast_labels
    assert {name: facts.contrast_labels[name] for name in labels} == labels
    assert facts.contrast_labels["FLAIR"] not in labels.values()
    assert facts.images_seen == 48
    assert facts.training["origins"] == ["first data", "second data"]
    assert facts.training["started_from"]["weights_sha256"] == first.facts.weights_sha256
    assert facts.training["started_from"]["training"] == first.facts.training
    assert "48 images, the first 24 of them" in (out / "README.md").read_text()


def test_who_was_held_out_stays_held_out_with_another_seed(data: Path, first: Prior, tmp_path: Path) -> None:
    """Otherwise the denoising error would be measured on persons that the prior was trained on."""
    other = next(
        seed
        for seed in range(50)
        if {s.subject for s in split_by_subject(open_folder(data), 0.1, seed)[1]}
        != {s.subject for s in split_by_subject(open_folder(data), 0.1, OPTIONS.seed)[1]}
    )
    changed = dataclasses.replace(OPTIONS, seed=other)
    second = pretrain(changed, open_folder(data), tmp_path / "second", silent, start=first, device="cpu").facts
    assert second is not None
    assert second.training["split_seed"] == OPTIONS.seed
    third = pretrain(
        dataclasses.replace(OPTIONS, seed=other + 1), open_folder(data), tmp_path / "third", silent,
        start=load_prior(tmp_path / "second"), device="cpu",
    ).facts  # fmt: skip
    assert third is not None
    assert third.training["split_seed"] == OPTIONS.seed


def test_an_interrupted_run_continues_from_the_same_start_only(data: Path, first: Prior, tmp_path: Path) -> None:
    scans = open_folder(data)
    whole = pretrain(OPTIONS, scans, tmp_path / "whole", silent, start=first, device="cpu").facts
    pretrain(OPTIONS, scans, tmp_path / "parts", silent, start=first, device="cpu", stop_after=8)
    with pytest.raises(ReconError, match="another start"):
        pretrain(OPTIONS, scans, tmp_path / "parts", silent, device="cpu")
    parts = pretrain(OPTIONS, scans, tmp_path / "parts", silent, start=first, device="cpu").facts
    assert whole is not None
    assert parts is not None
    assert parts.weights_sha256 == whole.weights_sha256


def test_the_command_takes_the_network_of_the_prior(
    data: Path, first: Prior, tmp_path: Path, run_cli: Callable[..., Outcome]
) -> None:
    """The recipe ``cpu`` names another network; a run that begins with weights has theirs."""
    short = ("--images", 8, "--batch", 4, "--crop", 16, "--device", "cpu")
    outcome = run_cli("pretrain", "--data", data, "--out", tmp_path / "out", "--from", first.folder, *short)
    assert outcome.code == 0, outcome.err
    assert load_prior(tmp_path / "out").facts.network == TINY


def test_a_start_that_is_no_prior_is_one_line(data: Path, tmp_path: Path, run_cli: Callable[..., Outcome]) -> None:
    out = tmp_path / "out"
    outcome = run_cli("pretrain", "--data", data, "--out", out, "--from", tmp_path / "nothing")
    assert outcome.code == 2
    assert "not a prior" in outcome.err
    assert str(tmp_path / "nothing") in outcome.err
    assert not out.exists()


def test_a_crop_that_the_priors_network_cannot_take_is_refused(first: Prior) -> None:
    options = dataclasses.replace(OPTIONS, network=dataclasses.replace(TINY, unshuffle=1), crop=18)
    with pytest.raises(ReconError, match=f"{first.folder}.*stride 4"):
        started_from(options, first)
