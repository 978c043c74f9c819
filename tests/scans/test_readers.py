"""The table of raw formats: one module and one row are all that a format needs, and everybody reads it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recon.errors import ReconError
from recon.images.result import read_result
from recon.scans import readers
from recon.scans.bart import write_bart
from recon.scans.finding import scans_in
from recon.scans.opening import open_scan
from recon.scans.readers import READERS, Reader
from tests.small_world import write_small_scan

TOY = Reader("toy archive", (".toy",), "tests.scans.toy_format", "for tests only")


@pytest.fixture
def toy_file(tmp_path: Path) -> Path:
    scan = open_scan(write_small_scan(tmp_path / "raw" / "full.h5"))
    kspace = np.stack([scan.read_kspace(index) for index in range(scan.shape[0])])
    kspace[..., 1::2] *= np.abs(np.arange(kspace.shape[-1] // 2) - kspace.shape[-1] // 4) < 6
    path = tmp_path / "toys" / "scan.toy"
    path.parent.mkdir()
    with path.open("wb") as file:
        np.save(file, kspace)
    return path


def test_a_format_is_one_module_and_one_row(
    run_cli: Callable[..., Any], toy_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = run_cli("info", toy_file)
    assert unknown.code == 2
    assert "not a scan that recon reads (fastMRI HDF5, ISMRMRD HDF5, Siemens twix, BART cfl/hdr)" in unknown.err

    monkeypatch.setattr(readers, "READERS", (*READERS, TOY))
    found = run_cli("info", toy_file, "--json").json
    assert found["format"] == "toy archive"
    assert found["header"] == {"vendor": "toy maker"}
    assert found["can_reconstruct"]
    # By its folder, too: the table says what in it is a scan.
    result = run_cli("reconstruct", toy_file.parent, "--method", "zero-filled", "--out", tmp_path / "out")
    assert result.code == 0, result.err
    assert read_result(tmp_path / "out" / "scan.h5").reconstruction.shape == (2, 48, 40)
    assert run_cli("undersample", toy_file, "--acceleration", 2, "--out", tmp_path / "u.h5").code == 2
    assert run_cli("convert", toy_file, "--out", tmp_path / "c.h5").code == 0
    assert open_scan(tmp_path / "c.h5").header.vendor == "toy maker"
    (tmp_path / "foreign.bin").write_bytes(b"no scan")
    assert "toy archive" in run_cli("info", tmp_path / "foreign.bin").err


def test_folders_are_searched_by_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ReconError, match=r"no \.h5 or \.dat or \.cfl scans in this folder"):
        scans_in(tmp_path)
    write_small_scan(tmp_path / "b.h5")
    write_bart(tmp_path / "a.cfl", (1, 2, 8, 8), [np.ones((2, 8, 8), np.complex64)])
    (tmp_path / "b_lesion.h5").touch()
    (tmp_path / "c.toy").touch()
    assert [path.name for path in scans_in(tmp_path)] == ["a.cfl", "b.h5"]
    monkeypatch.setattr(readers, "READERS", (*READERS, TOY))
    assert [path.name for path in scans_in(tmp_path)] == ["a.cfl", "b.h5", "c.toy"]


def test_help_names_every_format(run_cli: Callable[..., Any]) -> None:
    said = " ".join(run_cli("info", "--help").out.split())
    for reader in READERS:
        assert reader.name in said
