"""Two processes that share every batch train what one trains, whatever the loss; either goes on for the other."""

import csv
import multiprocessing
import os
import socket
import traceback
from contextlib import nullcontext
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from recon.errors import ReconError
from recon.prior.dataset import PREPARED_FORMAT
from recon.prior.store import WEIGHTS
from recon.processes import training_processes
from recon.study.fit import fit_study_model
from recon.study.images import Reconstructions
from recon.study.table import find_studies
from tests.encode.conftest import make_head, save_nifti
from tests.numerical_threads import numerical_threads
from tests.study.shared_trainings import FIT, run_all, train_encoder, train_prior


def labelled(folder: Path) -> Path:
    """A table of twelve heads of as many persons, every other with a lesion and its mask."""
    folder.mkdir()
    rows = []
    for number in range(12):
        head = make_head(seed=number)
        mask = np.zeros_like(head)
        if number % 2:
            mask[6:10, 6:10, 2:4] = 1
            head = head + 2 * head.mean() * mask
            save_nifti(folder / f"mask{number}.nii.gz", mask)
        save_nifti(folder / f"{number}.nii.gz", head)
        mask_name = f"mask{number}.nii.gz" if number % 2 else "none"
        rows.append((f"{number}.nii.gz", f"p{number}", number % 2, mask_name))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "subject", "lesion", "mask"), *rows])
    return folder / "labels.csv"


def prepared_images(folder: Path) -> Path:
    """Images of two persons, as ``recon prepare`` stores them."""
    folder.mkdir()
    for number in range(2):
        with h5py.File(folder / f"{number}.h5", "w") as file:
            coarse = np.random.default_rng(number).standard_normal((2, 6, 6)) + 1.5
            file["image"] = coarse.repeat(4, 1).repeat(4, 2).astype(np.complex64)
            file.attrs.update(format=PREPARED_FORMAT, subject=f"p{number}", contrast="T2")
    return folder


def two_processes(inputs: list[Path], out: Path, images: Path) -> None:
    """Two processes that are told what ``torchrun`` tells them, forked off this one, which has imported everything."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=one_of_two, args=(rank, shared, inputs, out, images)) for rank in range(2)]
    for process in started:
        process.start()
    try:
        for rank, process in enumerate(started):
            process.join(300)
            assert process.exitcode == 0, out.with_name(f"said{rank}").read_text()[-3000:]
    finally:
        for process in started:
            process.kill()


def one_of_two(rank: int, shared: dict[str, str], inputs: list[Path], out: Path, images: Path) -> None:
    """All trainings, of which three are interrupted. What goes wrong is written beside ``out``."""
    os.environ.update(shared, RANK=str(rank), LOCAL_RANK=str(rank))
    try:
        run_all(inputs, out, images, interrupted=True)
    except BaseException:
        out.with_name(f"said{rank}").write_text(traceback.format_exc())
        raise


def apart(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    assert set(first) == set(second)
    return sum(float((first[name].float() - second[name].float()).square().sum()) for name in first) ** 0.5


def test_two_processes_train_what_one_trains(
    cohorts: tuple[Path, Path], both_planes: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In bf16, which some processors have, parts of a batch round otherwise than the whole: a thousandth, not what is
    # looked for here. Forked processes inherit it.
    monkeypatch.setattr("recon.prior.training.low_precision", lambda device: nullcontext())
    prepared, images = prepared_images(tmp_path / "prepared"), tmp_path / "images"
    inputs = [*cohorts, *both_planes, labelled(tmp_path / "labelled"), prepared]
    with numerical_threads(1):  # no pool of threads, which forked processes would wait for
        train_prior(prepared, tmp_path / "one")  # imports the network's library, which would be imported twice below
        two_processes(inputs, tmp_path / "two", images)  # both make what is trained on, together ...
        run_all(inputs, tmp_path / "one", images)  # ... and one process finds it
    two = tmp_path / "two"
    for written in ("fit/model.safetensors", "encoder/model.safetensors", f"prior/{WEIGHTS}"):
        assert not (two / written).exists(), "it was interrupted"
        assert (tmp_path / "one" / written).exists()
    # One process goes on where two were interrupted.
    assert fit_study_model(FIT, find_studies(cohorts), two / "fit", Reconstructions(images / "kept")).finished
    assert train_encoder(cohorts[:1], two, images)
    assert train_prior(prepared, two)
    for name in ("fit", "pretraining", "planes", "task", "encoder", "prior/state"):
        state, theirs = (load_file(tmp_path / which / name / "state.safetensors") for which in ("one", "two"))
        weights, others = (
            {k: v for k, v in t.items() if not k.startswith(("exp_avg", "step"))} for t in (state, theirs)
        )
        # exp_avg is what the gradients were; the weights follow by Adam, whose first steps magnify rounding.
        gradients, shared = ({k: v for k, v in t.items() if k.startswith("exp_avg/")} for t in (state, theirs))
        size = sum(float(gradient.square().sum()) for gradient in gradients.values()) ** 0.5
        assert size > 0
        assert apart(gradients, shared) < 1e-4 * size, name
        largest = max(float((weights[k] - others[k]).abs().max()) for k in weights)
        assert largest < 1e-3, (name, largest)


def test_more_processes_than_samples_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from recon import processes

    place = torch.device("cpu")
    monkeypatch.setattr(processes, "start_processes", lambda device: (processes.OneProcess(place, 8), place))
    with pytest.raises(ReconError, match="8 processes share a batch of 4"):
        training_processes("cpu", 4)
