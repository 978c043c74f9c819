"""Embeddings, label tables and weights that cannot be right are refused in one line that names the file."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from recon.encode.probes.labels import read_labels
from recon.encode.probes.options import FitOptions
from recon.encode.probes.probe import fit_probe
from recon.encode.probes.store import Embeddings, read_embeddings, write_embeddings
from recon.encode.weights import check_tensors, read_tensors
from recon.errors import ReconError
from tests.fuzzing.bombs import write_zip


def written(path: Path, persons: int = 12) -> Path:
    generator = np.random.default_rng(0)
    names = tuple(f"person {n}" for n in range(persons))
    labels = {"lesion": np.arange(persons) % 2}
    tokens = tuple(generator.normal(size=(3, 4)).astype(np.float16) for _ in names)
    pooled = generator.normal(size=(persons, 6)).astype(np.float32)
    splits = ("fit",) * persons
    write_embeddings(
        path, Embeddings("small", "0" * 64, pooled, tokens, names, names, np.ones(persons), splits, labels)
    )
    return path


def replaced(name: str, value: object) -> Callable[[h5py.File], object]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (replaced("pooled", 5), "'pooled' has 0 axes"),
        (replaced("pooled", np.zeros((12, 6), np.complex64)), "'pooled' is complex64, not a number"),
        (replaced("tokens", np.zeros(5)), "'tokens' has 1 axes"),
        (replaced("volumes", 5), "'volumes' is int64, not a text"),
        (replaced("volumes", "5"), "a JSON object is needed"),
        (replaced("volumes", "[" * 50_000), "nested too deeply"),
        (replaced("volumes", json.dumps({"subjects": 5})), "not an embeddings file"),
        (replaced("token_counts", np.full(12, 4)), "36 tokens where the counts ask for 48"),
        (replaced("token_counts", np.array([39, -3] + [0] * 10)), "tokens where the counts ask for"),
        (replaced("accelerations", np.full(12, np.nan)), "an acceleration is less than 1"),
        (replaced("accelerations", np.full(12, -2.0)), "an acceleration is less than 1"),
        (lambda file: file.attrs.__setitem__("encoder", 5), "'encoder' is int64, not a text"),
        (lambda file: file.attrs.__setitem__("format", 5), "not an embeddings file"),
    ],
)
def test_parts_of_embeddings(change: Callable[[h5py.File], object], words: str, tmp_path: Path) -> None:
    path = written(tmp_path / "odd.h5")
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(ReconError, match=words) as refusal:
        read_embeddings(path)
    assert str(path) in str(refusal.value)


def test_four_persons_of_each_class_are_enough(tmp_path: Path) -> None:
    probe = fit_probe(read_embeddings(written(tmp_path / "few.h5", persons=8)), FitOptions("lesion"))
    assert probe.classes == (0, 1)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("scan.h5,a,1,1,extra", "line 2: has not as many cells"),
        ("scan.h5,a", "line 2: has not as many cells"),
        ("scan.h5,a,1," + "9" * 5000, "line 2: "),
        ("scan.h5,a,1,9999999999", "line 2: label lesion"),
        ("x" * 140_000 + ",a,1,1", "not readable as CSV|no such file"),
        ("x" * 5000 + ",a,1,1", "line 2: no such file"),
        ("a\x00b,a,1,1", "no such file|not readable as CSV"),
        ("scan.h5,a,nan,1", "acceleration nan"),
    ],
)
def test_rows_of_labels(row: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "scan.h5").write_bytes(b"")
    path = tmp_path / "labels.csv"
    path.write_text(f"file,subject,acceleration,lesion\n{row}\n", "utf-8")
    with pytest.raises(ReconError, match=words) as refusal:
        read_labels(path)
    assert str(path) in str(refusal.value)


def test_a_packed_checkpoint_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "odd.pt"
    torch.save({"a": torch.ones(4)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    write_zip(path, members, next(name for name in members if name.endswith("/data/0")), b"", 16)
    with pytest.raises(ReconError, match=r"odd\.pt: '.*/data/0' claims"):
        read_tensors(path)


def test_tensors_of_another_type_are_not_loaded(tmp_path: Path) -> None:
    network = torch.nn.Linear(3, 2)
    tensors = {name: torch.zeros(value.shape, dtype=torch.int8) for name, value in network.state_dict().items()}
    with pytest.raises(ReconError, match="2 of another type"):
        check_tensors(network, tensors, tmp_path / "weights.safetensors")
    check_tensors(network, {name: value.half() for name, value in network.state_dict().items()}, tmp_path / "weights")
