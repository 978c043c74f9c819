"""The prior: denoiser, contrast labels, training and its resumption, storage, the recipes."""

import dataclasses
import itertools
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from recon.configuration import load_config
from recon.errors import ReconError
from recon.prior.augmentation import augment
from recon.prior.dataset import PREPARED_FORMAT, Batches, open_folder, split_by_subject
from recon.prior.denoiser import Denoiser, build_denoiser, parameter_count
from recon.prior.options import AugmentationOptions, NetworkOptions, TrainingOptions
from recon.prior.pretraining import pretrain
from recon.prior.store import (
    WEIGHTS,
    assign_contrast_labels,
    interpolate_variance,
    load_prior,
    read_facts,
    shipped_prior,
)
from recon.prior.training import Run, learning_rate_at
from recon.progress import silent

ROOT = Path(__file__).parents[2]
TINY = NetworkOptions(channels=(8, 16))
OPTIONS = TrainingOptions(network=TINY, images=24, batch=4, crop=16, checkpoint_images=8, seed=3)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smooth random images of three subjects and two contrasts, as ``recon prepare`` stores them."""
    folder = tmp_path_factory.mktemp("prepared")
    generator = np.random.default_rng(0)
    for number in range(3):
        with h5py.File(folder / f"s{number}.h5", "w") as file:
            coarse = generator.standard_normal((2, 6, 6)).repeat(4, 1).repeat(4, 2) + 1.5
            file["image"] = coarse.astype(np.complex64)
            file.attrs.update(format=PREPARED_FORMAT, subject=f"p{number}", contrast=("T1", "T2")[number % 2])
    return folder


@pytest.mark.parametrize("shape", [(16, 16), (17, 23), (5, 40), (31, 8)])
@pytest.mark.parametrize("unshuffle", [1, 2])
def test_any_image_size_is_taken(shape: tuple[int, int], unshuffle: int) -> None:
    denoiser = build_denoiser(NetworkOptions(channels=(8, 16), unshuffle=unshuffle), 0.5, 0).eval()
    image = torch.view_as_complex(torch.randn((2, *shape, 2), generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        found = denoiser(image, torch.tensor([0.1, 1.0]), torch.tensor([0, 3]))
    assert found.shape == image.shape
    # An untrained network adds nothing, so D is the best linear denoised c_skip x: this fixes the preconditioning.
    expected = image * torch.tensor([0.25 / (0.25 + 0.01), 0.25 / (0.25 + 1.0)]).reshape(2, 1, 1)
    assert torch.allclose(found, expected, atol=1e-5)


def train_one_step(denoiser: Denoiser, contrast_label: int) -> None:
    image = torch.view_as_complex(torch.randn((2, 16, 16, 2), generator=torch.Generator().manual_seed(1)))
    weight = denoiser.network.class_embedding.weight  # type: ignore[union-attr]
    weight.requires_grad_(True)
    loss = denoiser(image, torch.ones(2), torch.full((2,), contrast_label)).abs().sum()
    (gradient,) = torch.autograd.grad(loss, weight)  # type: ignore[arg-type]
    touched = gradient.abs().sum(1).nonzero().flatten().tolist()
    assert touched == [contrast_label]
    with torch.no_grad():
        weight -= 0.1 * gradient  # type: ignore[operator]


def test_a_new_contrast_changes_no_output_of_the_old_ones() -> None:
    denoiser = build_denoiser(TINY, 0.5, 0)
    with torch.no_grad():
        denoiser.network.conv_out.weight.normal_(generator=torch.Generator().manual_seed(0))  # type: ignore[union-attr,operator]
    image = torch.view_as_complex(torch.randn((2, 16, 16, 2), generator=torch.Generator().manual_seed(0)))
    old = assign_contrast_labels({"T1", "T2"}, TINY.contrast_labels)
    before = {
        name: denoiser(image, torch.ones(2), torch.full((2,), contrast_label)) for name, contrast_label in old.items()
    }
    new = assign_contrast_labels({"FLAIR"}, TINY.contrast_labels, old)
    assert {name: new[name] for name in old} == old
    assert new["FLAIR"] not in {0, *old.values()}
    fresh = denoiser(image, torch.ones(2), torch.full((2,), new["FLAIR"]))
    train_one_step(denoiser, new["FLAIR"])
    assert not torch.equal(fresh, denoiser(image, torch.ones(2), torch.full((2,), new["FLAIR"])))
    for name, contrast_label in old.items():
        assert torch.equal(before[name], denoiser(image, torch.ones(2), torch.full((2,), contrast_label)))


def test_slots_run_out_with_a_clear_error() -> None:
    assert assign_contrast_labels({"T1", "unknown"}, 3) == {"T1": 1}
    with pytest.raises(ReconError, match="no free contrast label for 'T2'"):
        assign_contrast_labels({"T1", "T2"}, 2)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / WEIGHTS)


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_an_interrupted_training_ends_bit_for_bit_where_an_uninterrupted_one_does(
    prepared: Path, tmp_path: Path
) -> None:
    scans = open_folder(prepared)
    whole = pretrain(OPTIONS, scans, tmp_path / "whole", silent, device="cpu").facts
    assert whole is not None
    assert pretrain(OPTIONS, scans, tmp_path / "parts", silent, device="cpu", stop_after=8).facts is None
    assert pretrain(OPTIONS, scans, tmp_path / "parts", silent, device="cpu", stop_after=20).facts is None
    notes: list[str] = []
    heard: list[tuple[str, float]] = []
    parts = pretrain(
        OPTIONS, scans, tmp_path / "parts", lambda *said: heard.append(said), device="cpu", note=notes.append
    ).facts
    assert notes[0] == "continuing at 20 images"
    assert heard == [("training", 20 / 24), ("training", 1.0), ("measuring the denoising error", 1.0)]
    assert parts is not None
    assert same(weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts"))
    assert parts.denoiser_variances == whole.denoiser_variances
    assert parts.weights_sha256 == whole.weights_sha256
    prior = load_prior(tmp_path / "parts")
    assert prior.facts.contrast_labels.keys() == {"T1", "T2", "unknown"}
    # The denoiser_variance table: no denoiser errs more with less noise, beyond its own Monte Carlo error; at most all
    # noise is left.
    table = prior.facts.denoiser_variances
    assert all(later > 0.8 * earlier for earlier, later in itertools.pairwise(table))
    assert all(
        value < 2 * sigma**2
        for sigma, value in zip(prior.facts.denoiser_variance_sigmas, table, strict=True)
        if sigma < 0.05
    )


def test_a_run_with_other_options_or_a_damaged_state_is_refused(prepared: Path, tmp_path: Path) -> None:
    scans = open_folder(prepared)
    pretrain(OPTIONS, scans, tmp_path, silent, device="cpu", stop_after=8)
    with pytest.raises(ReconError, match="other options"):
        pretrain(dataclasses.replace(OPTIONS, learning_rate=1e-4), scans, tmp_path, silent, device="cpu")
    state = tmp_path / "state" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-50])
    with pytest.raises(ReconError, match="damaged"):
        pretrain(OPTIONS, scans, tmp_path, silent, device="cpu")


def test_the_moving_average_forgets_with_its_half_life(tmp_path: Path) -> None:
    denoiser = build_denoiser(TINY, 0.5, 0)
    options = TrainingOptions(network=TINY, images=1000, batch=10, crop=16, ema_fraction=0.1)
    run = Run(denoiser, options, tmp_path)
    name = next(iter(run.parameters))
    run.average[name].zero_()
    with torch.no_grad():
        run.parameters[name].fill_(1.0)
    run.samples = 1000
    for _ in range(10):  # 100 images are one half-life of a tenth of 1000
        run.update_average(10)
    assert torch.allclose(run.average[name], torch.full_like(run.average[name], 0.5))


def test_the_learning_rate_warms_up_stays_and_falls_to_zero() -> None:
    options = TrainingOptions(images=1000, learning_rate=1e-2, warmup_fraction=0.1, decay_fraction=0.5)
    assert learning_rate_at(options, 50) == pytest.approx(5e-3)
    assert learning_rate_at(options, 100) == learning_rate_at(options, 500) == pytest.approx(1e-2)
    assert learning_rate_at(options, 750) == pytest.approx(5e-3)
    assert learning_rate_at(options, 1000) == 0


def test_r2_is_interpolated_and_bounded() -> None:
    sigmas, values = (0.01, 0.1, 1.0), (1e-4, 4e-3, 0.1)
    assert interpolate_variance(sigmas, values, 0.1) == pytest.approx(4e-3)
    assert interpolate_variance(sigmas, values, 0.005) == pytest.approx(2.5e-5)
    assert interpolate_variance(sigmas, values, 5.0) == pytest.approx(0.1)
    between = interpolate_variance(sigmas, values, math.sqrt(0.1))
    assert between == pytest.approx(math.sqrt(4e-3 * 0.1))


def test_subjects_are_never_on_both_sides(prepared: Path) -> None:
    scans = open_folder(prepared)
    training, validation = split_by_subject(scans, 0.4, 0)
    assert {s.subject for s in training}.isdisjoint({s.subject for s in validation})
    assert training
    assert validation
    with pytest.raises(ReconError, match="one subject"):
        split_by_subject(scans[:1], 0.1, 0)


def test_processes_share_the_global_batch() -> None:
    together = list(Batches(2, 5, 8, 0, 1))
    halves = [list(Batches(2, 5, 8, process, 2)) for process in range(2)]
    assert [a + b for a, b in zip(*halves, strict=True)] == together
    with pytest.raises(ReconError, match="cannot be shared by 3 processes"):
        Batches(0, 1, 8, 0, 3)


def test_augmentation_repeats_with_its_generator() -> None:
    image = torch.view_as_complex(torch.randn((40, 36, 2), generator=torch.Generator().manual_seed(0)))
    options = AugmentationOptions(transpose=True, shading=0.2, fat_phase=0.5, resolution=0.5)
    first, second, third = (augment(image, options, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first, second)
    assert first.shape != third.shape or not torch.equal(first, third)


def test_nothing_is_ever_unpickled() -> None:
    """No module of the library may read a pickle."""
    for path in (ROOT / "recon").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for word in ("import pickle", "pickle.load", "torch.load(", "allow_pickle=True"):
            assert word not in text or "weights_only=True" in text, (path, word)


def test_the_recipe_of_the_paper_has_its_size() -> None:
    """About 65 M parameters with attention at 10 to 20 pixels a side of a 320x320 image."""
    options = load_config(TrainingOptions, "fastmri-brain")
    parameters = parameter_count(options.network)
    assert 60e6 < parameters < 70e6, f"{parameters:,}"
    sides = [320 / options.network.unshuffle / 2**level for level in options.network.attention]
    assert any(10 <= side <= 20 for side in sides), sides


@pytest.mark.slow
def test_two_steps_of_the_recipe_of_the_paper(tmp_path: Path) -> None:
    for number in range(2):
        with h5py.File(tmp_path / f"s{number}.h5", "w") as file:
            file["image"] = np.ones((2, 320, 320), np.complex64)
            file.attrs.update(format=PREPARED_FORMAT, subject=f"p{number}", contrast="T2")
    words = ["pretrain", "--config", "fastmri-brain", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    words += ["--batch", "1", "--images", "1000", "--dry-run", "2", "--device", "cpu", "--json"]
    done = subprocess.run([sys.executable, "-m", "cli", *words], cwd=ROOT, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["images"] == 2
    assert 60e6 < found["parameters"] < 70e6
    assert found["seconds_per_step"] > 0
    assert (
        found["peak_memory_bytes"] > 18 * found["parameters"]
    )  # weights, gradients, two moments, average: 4 bytes each


CONFIG = """
network: {channels: [8, 16]}
images: 400
batch: 4
crop: 16
checkpoint_images: 8
"""


def pretrain_command(prepared: Path, config: Path, out: Path) -> list[str]:
    return [
        "-m",
        "cli",
        "pretrain",
        "--data",
        str(prepared),
        "--out",
        str(out),
        "--config",
        str(config),
        "--device",
        "cpu",
    ]


@pytest.mark.slow
def test_a_kill_at_any_moment_costs_nothing_but_time(prepared: Path, tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG)
    whole = [sys.executable, *pretrain_command(prepared, config, tmp_path / "whole")]
    subprocess.run(whole, cwd=ROOT, check=True, capture_output=True, timeout=600)
    killed = [sys.executable, *pretrain_command(prepared, config, tmp_path / "killed")]
    moments = random.Random(0)
    for _ in range(3):
        process = subprocess.Popen(killed, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)
        state = tmp_path / "killed" / "state" / "state.safetensors"
        before = state.stat().st_mtime if state.exists() else 0
        while process.poll() is None and not (state.exists() and state.stat().st_mtime > before):
            time.sleep(0.05)
        time.sleep(moments.random())
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(killed, cwd=ROOT, check=True, capture_output=True, timeout=600)
    assert same(weights_of(tmp_path / "whole"), weights_of(tmp_path / "killed"))


@pytest.mark.slow
def test_a_scheduler_that_ends_a_training_and_its_readers_costs_no_step(prepared: Path, tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG.replace("checkpoint_images: 8", "checkpoint_images: 400\nworkers: 2"))
    command = [sys.executable, *pretrain_command(prepared, config, tmp_path / "out")]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    while "training (" not in process.stderr.readline():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 143, said
    assert ", state saved\n" in said
    assert (tmp_path / "out" / "state" / "state.safetensors").exists()


@pytest.mark.slow
def test_two_processes_train_the_same_prior(prepared: Path, tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG.replace("400", "40"))
    one = [sys.executable, *pretrain_command(prepared, config, tmp_path / "one")]
    subprocess.run(one, cwd=ROOT, check=True, capture_output=True, timeout=600)
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
    ]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--num_cpu_threads_per_process", "1"]
    two = [*launch, *pretrain_command(prepared, config, tmp_path / "two")]
    done = subprocess.run(two, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    left, right = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    worst = max(float((left[name] - right[name]).abs().max()) for name in left)
    assert worst < 2e-3, worst  # bf16 rounds the halves of a batch differently


def test_variance_factors_that_grew_with_the_acceleration_are_read_as_those_in_its_middle(tmp_path: Path) -> None:
    shutil.copytree(shipped_prior(), tmp_path / "prior")
    path = tmp_path / "prior" / "prior.json"
    values = json.loads(path.read_text()) | {"amplifications": [0.5, 4.0], "variance_factors": [1.2, 0.8]}
    for name in ("denoising_ratios", "denoising_exponents"):
        values.pop(name, None)
    path.write_text(json.dumps(values | {"accelerations": [2.0, 8.0], "acceleration_exponent": 0.5}))
    found = read_facts(tmp_path / "prior").spread()
    assert found.factors == pytest.approx((2.4, 1.6))
    assert found.denoising_ratios == ()
    path.write_text(json.dumps(values | {"accelerations": [], "acceleration_exponent": 0.0}))
    assert read_facts(tmp_path / "prior").spread().factors == (1.2, 0.8)


def test_a_prior_of_the_first_format_is_still_read_and_fine_tuned(tmp_path: Path) -> None:
    """Its keys were named otherwise (slots, r2), also within the options of its training."""
    from recon.finetuning.session import pretraining_options

    shutil.copytree(shipped_prior(), tmp_path / "prior")
    new = read_facts(tmp_path / "prior")
    names = {"contrast_labels": "slots", "denoiser_variance_sigmas": "r2_sigmas", "denoiser_variances": "r2_values"}

    since = ("draw_excess", "amplifications", "variance_factors", "denoising_ratios", "denoising_exponents")

    def old(value: object) -> object:
        if isinstance(value, dict):
            return {names.get(key, key): old(entry) for key, entry in value.items() if key not in since}
        return value

    values = json.loads((tmp_path / "prior" / "prior.json").read_text())
    first = {**old(values), "format": "recon-prior-1"}  # type: ignore[dict-item]
    (tmp_path / "prior" / "prior.json").write_text(json.dumps(first))
    assert "slots" in first["training"]["options"]["network"]
    found = read_facts(tmp_path / "prior")
    without = {"amplifications": (), "variance_factors": (), "denoising_ratios": (), "denoising_exponents": ()}
    assert found == dataclasses.replace(new, **without)  # type: ignore[arg-type]
    assert pretraining_options(found).network.contrast_labels == new.network.contrast_labels
