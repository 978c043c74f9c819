"""A damaged length inside of a table is refused before HDF5 allocates what it says."""

import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from recon.errors import ReconError
from recon.foreign import trial
from recon.foreign.varying_lengths import check_lengths
from recon.scans.ismrmrd import open_file

ROW = np.dtype([("head", "i4", (5,)), ("data", h5py.vlen_dtype("f4"))])
LENGTH = 1234  # values of the row that is damaged: its stored form can be found by it
LAYOUTS: dict[str, dict[str, Any]] = {
    "row by row": {"chunks": (1,), "maxshape": (None,)},
    "chunks": {"chunks": (70,), "maxshape": (None,)},
    "packed": {"chunks": (70,), "compression": "gzip", "shuffle": True, "fletcher32": True},
    "contiguous": {},
    "after a block of the user's": {"chunks": (70,), "userblock": 1024},
}


def table(path: Path, rows: int = 300, **layout: Any) -> Path:
    """Rows of a few values, one in the middle (which nobody looks at beforehand) of ``LENGTH``."""
    with h5py.File(path, "w", userblock_size=layout.pop("userblock", 0)) as file:
        data = file.create_dataset("data", (rows,), ROW, **layout)
        for number in range(rows):
            data[number] = (np.full(5, number), np.ones(LENGTH if number == rows // 2 else 3, np.float32))
    return path


def damaged(path: Path, length: int) -> Path:
    stored = path.read_bytes()
    assert stored.count(struct.pack("<IQ", LENGTH, 0)[:4]) == 1
    path.write_bytes(stored.replace(struct.pack("<I", LENGTH), struct.pack("<I", length)))
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
def test_healthy_tables_pass(layout: str, tmp_path: Path) -> None:
    path = table(tmp_path / "table.h5", **LAYOUTS[layout])
    with h5py.File(path) as file:
        check_lengths(path, file["data"], "data", 4)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "packed"])
def test_lengths_beyond_the_file_are_refused(layout: str, tmp_path: Path) -> None:
    path = damaged(table(tmp_path / "table.h5", **LAYOUTS[layout]), 1 << 28)
    with (
        h5py.File(path) as file,
        pytest.raises(ReconError, match=r"table\.h5: the rows of '/data' claim more than the \d+ bytes"),
    ):
        check_lengths(path, file["data"], "data", 4)


def test_lengths_in_packed_tables_are_read(tmp_path: Path) -> None:
    path = table(tmp_path / "table.h5", **LAYOUTS["packed"])
    with h5py.File(path) as file, pytest.raises(ReconError, match="claim more"):
        check_lengths(path, file["data"], "data", 100_000)  # as if its values were large


def collections(path: Path) -> list[int]:
    """Where the collections of the global heap begin."""
    stored = path.read_bytes()
    return [place for place in range(len(stored)) if stored.startswith(b"GCOL", place)]


def changed(path: Path, place: int, values: bytes) -> Path:
    stored = path.read_bytes()
    path.write_bytes(stored[:place] + values + stored[place + len(values) :])
    return path


def test_collections_beyond_the_file_are_refused(tmp_path: Path) -> None:
    path = table(tmp_path / "table.h5", **LAYOUTS["chunks"])
    changed(path, collections(path)[-1] + 8, struct.pack("<Q", 1 << 31))
    with h5py.File(path) as file, pytest.raises(ReconError, match="claim more"):
        check_lengths(path, file["data"], "data", 4)


def test_a_part_behind_a_damaged_one_is_looked_at(tmp_path: Path) -> None:
    path = table(tmp_path / "table.h5", 20, chunks=(20,))
    with h5py.File(path, "r+") as file:
        file["xml"] = ["x" * 9012]
    changed(path, collections(path)[0], b"XXXX")
    changed(path, path.read_bytes().index(struct.pack("<I", 9012)), struct.pack("<I", 3 << 30))
    examiner = trial._Examiner()
    try:
        assert not examiner.survives(path)
    finally:
        examiner.stop()


def test_it_takes_less_than_50_ms(tmp_path: Path) -> None:
    path = table(tmp_path / "table.h5", 1000, chunks=(1,), maxshape=(None,))
    with h5py.File(path) as file:
        start = time.process_time()
        check_lengths(path, file["data"], "data", 4)
        assert time.process_time() - start < 0.05


def test_a_length_in_a_row_that_is_looked_at_first(tmp_path: Path) -> None:
    """The process that looks through the file has little memory, and says that it did not do."""
    path = damaged(table(tmp_path / "table.h5", 20, chunks=(20,)), 1 << 28)
    examiner = trial._Examiner()
    try:
        assert not examiner.survives(path)
        assert examiner.survives(table(tmp_path / "healthy.h5", 20, chunks=(20,)))
    finally:
        examiner.stop()


def test_no_memory_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ismrmrd", reason="the package ismrmrd is absent")
    from tests.scans.test_ismrmrd_files import Recorder, header

    recorder = Recorder(tmp_path / "scan.h5", header())
    for number in range(201):  # the middle one is not looked at beforehand
        recorder.line(np.ones((2, LENGTH // 2 if number == 100 else 50), np.complex64))
    path = recorder.close()
    healthy = path.read_bytes()
    assert healthy.count(struct.pack("<I", 2 * LENGTH)) == 1
    path.write_bytes(healthy.replace(struct.pack("<I", 2 * LENGTH), struct.pack("<I", 1 << 28)))
    program = (
        "import resource, sys\nfrom recon.errors import ReconError\nfrom recon.scans.ismrmrd import open_file\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    open_file(sys.argv[1])\nexcept ReconError as error:\n    print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    words, grown = done.stdout.splitlines()
    assert words.startswith(f"{path}: damaged HDF5 file")
    monkeypatch.setattr("recon.foreign.hdf5.survives", lambda _: True)  # as it says of longer tables
    with pytest.raises(ReconError, match="the rows of '/dataset/data' claim more than the"):
        open_file(path)
    assert int(grown) < 100_000  # kB
