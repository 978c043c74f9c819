"""HDF5 whose parts lie in other files: nothing outside the file is ever read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from recon.errors import ReconError
from recon.foreign.hdf5 import foreign_hdf5
from recon.images.references import read_lesions
from recon.images.result import read_result
from recon.prior.dataset import open_prepared
from tests.small_world import write_small_scan


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(bytes(range(256)) * 64)
    return path


def external_storage(path: Path, secret: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["recon/noise"]
        file["recon"].create_dataset("noise", (4, 100), np.complex64, external=[(str(secret), 0, 3200)])


def external_link(path: Path, secret: Path) -> None:
    with h5py.File(secret.with_suffix(".h5"), "w") as other, h5py.File(path, "r+") as file:
        file.copy("kspace", other)
        del file["kspace"]
        file["kspace"] = h5py.ExternalLink(str(secret.with_suffix(".h5")), "/kspace")


def virtual(path: Path, secret: Path) -> None:
    with h5py.File(secret.with_suffix(".h5"), "w") as other, h5py.File(path, "r+") as file:
        kspace = file["kspace"]
        file.copy("kspace", other)
        layout = h5py.VirtualLayout(kspace.shape, kspace.dtype)
        layout[...] = h5py.VirtualSource(str(secret.with_suffix(".h5")), "kspace", kspace.shape)
        del file["kspace"]
        file.create_virtual_dataset("kspace", layout)


def through_a_soft_link(path: Path, secret: Path) -> None:
    external_link(path, secret)
    with h5py.File(path, "r+") as file:
        file.move("kspace", "elsewhere")
        file["kspace"] = h5py.SoftLink("/elsewhere")


@pytest.mark.parametrize(
    ("trick", "message"),
    [
        (external_storage, "'/recon/noise' keeps its data in another file"),
        (external_link, "'/kspace' is a link to another file"),
        (virtual, "'/kspace' is put together from other datasets"),
        (through_a_soft_link, "'/elsewhere' is a link to another file"),
    ],
)
def test_data_of_other_files_never_come_in(
    trick: Callable[[Path, Path], None], message: str, secret: Path, tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    path = write_small_scan(tmp_path / "scan.h5")
    trick(path, secret)
    for words in (["info", path], ["convert", path, "--out", tmp_path / "out.h5"]):
        outcome = run_cli(*words)
        assert outcome.code == 2
        assert f"{path}: " in outcome.err
        assert message in outcome.err
    assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize("read", [read_result, read_lesions, open_prepared])
def test_every_reader_of_hdf5_asks_at_the_door(read: Callable[[Path], Any], secret: Path, tmp_path: Path) -> None:
    path = write_small_scan(tmp_path / "scan.h5")
    external_storage(path, secret)
    with pytest.raises(ReconError, match=r"scan\.h5: dataset '/recon/noise' keeps its data in another file"):
        read(path)


def test_links_inside_the_file_and_circles_are_fine(tmp_path: Path) -> None:
    path = write_small_scan(tmp_path / "scan.h5")
    with h5py.File(path, "r+") as file:
        file.move("kspace", "data/kspace")
        file["kspace"] = h5py.SoftLink("/data/kspace")
        file["data/again"] = file["/"]
        file["nowhere"] = h5py.SoftLink("/missing")
    with foreign_hdf5(path) as file:
        assert file["kspace"].shape == (2, 4, 48, 40)
