"""The hand-made control features: what they measure, and that they go through the commands of probes."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from recon.encode.encoders import load_encoder
from recon.encode.probes.labels import read_labels
from recon.encode.probes.store import embed_table, embed_with_each
from recon.errors import ReconError
from tests.encode.conftest import AFFINE, make_head, save_nifti


def symmetric_head() -> np.ndarray:
    head = make_head(background=0.0)
    return (head + head[::-1]) / 2


def test_a_bright_side_is_asymmetric_and_nothing_else() -> None:
    encoder = load_encoder("hand-made")
    even = encoder.encode(encoder.prepare(symmetric_head(), AFFINE)).pooled
    bright = symmetric_head()
    bright[12:28, 24:56, 2:10] *= 1.5
    odd = encoder.encode(encoder.prepare(bright, AFFINE)).pooled
    assert even.shape == (4,)
    assert even[3] < 0.05
    assert odd[3] > even[3] + 0.3
    assert odd[2] > even[2] + 0.1
    assert (even[:2].diff() > 0).all()


def test_tokens_differ_from_their_mirror_images_with_opposite_signs() -> None:
    encoder = load_encoder("hand-made")
    prepared = encoder.prepare(make_head(), AFFINE)
    found = encoder.encode(prepared)
    assert found.tokens.shape == (len(prepared.coords), 4)
    assert torch.allclose(found.tokens[:, 0], prepared.inputs.mean(dim=1))
    assert float(found.tokens[:, 3].sum().abs()) < 1e-3 * float(found.tokens[:, 3].abs().sum())


def test_it_shares_the_preparation_of_the_small_encoder(tmp_path: Path) -> None:
    for seed in range(2):
        save_nifti(tmp_path / f"{seed}.nii.gz", make_head(seed))
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "subject", "lesion"), ("0.nii.gz", "a", 0), ("1.nii.gz", "b", 1)])
    table = read_labels(tmp_path / "t.csv")
    together = embed_with_each([load_encoder("recon-small"), load_encoder("hand-made")], table)
    alone = embed_table(load_encoder("hand-made"), table)
    assert np.array_equal(together[1].pooled, alone.pooled)
    assert (alone.encoder, alone.weights_hash) == ("hand-made", "no weights")


def test_there_is_nothing_to_load_or_draw(run_cli, tmp_path: Path) -> None:
    with pytest.raises(ReconError, match="has no weights"):
        load_encoder("hand-made", random_seed=0)
    path = save_nifti(tmp_path / "head.nii.gz", make_head())
    outcome = run_cli("encode", "drift", path, "--reference", path, "--encoder", "hand-made", "--snr", 30)
    assert outcome.code == 2
    assert "'recon probe embed'" in outcome.err
