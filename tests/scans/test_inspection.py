"""``info`` and ``reconstruct`` agree on what can be reconstructed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from recon.scans.bart import write_bart
from tests.small_world import write_small_prior, write_small_scan


def empty_slice(file: h5py.File) -> None:
    file["kspace"][1] = 0


def dead_coil_without_noise_scan(file: h5py.File) -> None:
    file["kspace"][:, 2] = 0
    del file["recon/noise"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (empty_slice, "empty slices (all zero): 1"),
        (dead_coil_without_noise_scan, "coils without any signal or noise (2)"),
    ],
)
def test_what_reconstruct_refuses_info_refuses(
    change: Callable[[h5py.File], None], message: str, tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    path = write_small_scan(tmp_path / "scan.h5", slices=3)
    with h5py.File(path, "r+") as file:
        change(file)
    prior = write_small_prior(tmp_path / "prior")
    assert run_cli("reconstruct", path, "--prior", prior, "--out", tmp_path / "results").code == 2
    outcome = run_cli("info", path)
    assert outcome.code == 1
    assert message in outcome.out
    assert "cannot be reconstructed" in outcome.out


def test_a_grid_on_which_reconstructions_diverge_is_a_problem(tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    kspace = np.random.default_rng(0).normal(size=(1, 2, 8, 8)).astype(np.complex64)
    outcome = run_cli("info", write_bart(tmp_path / "scan.cfl", kspace.shape, kspace))
    assert outcome.code == 1
    assert "k-space of 8 x 8: at least 10 x 10 is needed" in outcome.out
