"""Files that crash or hang the HDF5 library, or claim sizes that they do not hold, end in one line."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from recon.errors import ReconError
from recon.foreign import trial
from recon.foreign.hdf5 import foreign_hdf5
from tests.small_world import write_small_scan


@pytest.mark.parametrize("name", ["fast_meta_100", "ism_any_28_dup", "ism_any_36_zero"])
def test_hostile_files_are_refused(
    name: str, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_cli: Callable[..., Any]
) -> None:
    source = shared_data / "hostile" / f"{name}.h5"
    if not source.is_file():
        pytest.skip(f"real data absent: {source}")
    monkeypatch.setattr(trial, "SECONDS", 1)
    path = Path(shutil.copy(source, tmp_path / "scan.h5"))
    outcome = run_cli("info", path)
    assert outcome.code == 2
    assert f"{path}: damaged HDF5 file on which the HDF5 library crashes or hangs" in outcome.err


def test_a_file_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_small_scan(tmp_path / "scan.h5")
    with foreign_hdf5(path):
        pass
    monkeypatch.setattr("recon.foreign.hdf5.survives", lambda _: pytest.fail("tried again"))
    start = time.perf_counter()
    for _ in range(10):
        with foreign_hdf5(path):
            pass
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("chunks", [None, (1, 1, 64, 64)])
def test_sizes_that_are_not_stored_are_refused(chunks: tuple[int, ...] | None, tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("kspace", (2**18, 4, 1024, 1024), np.complex64, chunks=chunks)
    words = r"scan\.h5: dataset '/kspace' claims \d+ bytes but 0 are stored"
    with pytest.raises(ReconError, match=words), foreign_hdf5(path):
        pass


def test_a_bomb_of_text_is_refused(tmp_path: Path) -> None:
    path = write_small_scan(tmp_path / "scan.h5")
    with h5py.File(path, "r+") as file:
        del file["ismrmrd_header"]
        file.create_dataset("ismrmrd_header", (), f"S{2**31 - 1}")
    with pytest.raises(ReconError, match=r"scan\.h5: dataset '/ismrmrd_header' claims"), foreign_hdf5(path):
        pass
