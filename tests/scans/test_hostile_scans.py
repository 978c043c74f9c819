"""ISMRMRD files, XML headers and arrays that cannot be right: one refusal that names the file, and no memory filled."""

import gzip
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from recon.errors import ReconError
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import reconstruct
from recon.scans.arrays import open_array
from recon.scans.inspection import inspect
from recon.scans.opening import open_scan
from recon.simulate.anatomy_files import find_anatomies
from tests.fuzzing.bombs import PIECE, compressed_piece, deflated, gzipped, write_zip, zlib_stream
from tests.scans.test_ismrmrd_files import PHASE, READOUT, Recorder, header, random_kspace
from tests.small_world import write_small_scan


def recorded(path: Path, xml: str | None = None) -> Path:
    recorder = Recorder(path, header() if xml is None else xml)
    kspace = random_kspace(4, READOUT, PHASE)
    for line in range(PHASE):
        recorder.line(kspace[..., line], line=line)
    return recorder.close()


def test_the_recording_is_healthy(tmp_path: Path) -> None:
    assert open_scan(recorded(tmp_path / "scan.h5")).read_kspace(0).shape == (4, READOUT, PHASE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<x>32</x>", "<x>1e18</x>"),
        ("<y>20</y>", "<y>inf</y>"),
        ("<y>20</y>", "<y>-20</y>"),
        ("<x>320</x>", "<x>0</x>"),
        ("<x>320</x>", "<x>1e400</x>"),
        ("<z>4</z>", "<z>-4</z>"),
        ("<maximum>19</maximum>", "<maximum>" + "9" * 5000 + "</maximum>"),
        ("<center>10</center>", "<center>-1</center>"),
        ("<systemFieldStrength_T>1.5", "<systemFieldStrength_T>inf"),
        ("<systemFieldStrength_T>1.5", "<systemFieldStrength_T>nan"),
        ("Bandwidth>1.0<", "Bandwidth>0<"),
        ("Bandwidth>1.0<", "Bandwidth>nan<"),
        ("Bandwidth>1.0<", "Bandwidth>-1<"),
    ],
)
def test_numbers_of_the_header(old: str, new: str, tmp_path: Path) -> None:
    assert old in header()
    path = recorded(tmp_path / "scan.h5", header().replace(old, new))
    with pytest.raises(ReconError, match=r"scan\.h5: the ISMRMRD header is not readable"):
        open_scan(path).read_kspace(0)


def xml_as(value: Any) -> Callable[[h5py.Group], None]:
    def change(group: h5py.Group) -> None:
        del group["xml"]
        group["xml"] = value

    return change


def data_as(change: Callable[[np.ndarray], Any]) -> Callable[[h5py.Group], None]:
    def changed(group: h5py.Group) -> None:
        values = change(group["data"][()])
        del group["data"]
        group["data"] = values

    return changed


def xml_group(group: h5py.Group) -> None:
    del group["xml"]
    group.create_group("xml")


def xml_bomb(group: h5py.Group) -> None:
    del group["xml"]
    bomb = group.create_dataset("xml", (32,), f"S{PIECE}", chunks=(1,), compression="gzip")
    for index in range(32):
        bomb.id.write_direct_chunk((index,), compressed_piece())


def shorter(group: h5py.Group) -> None:
    rows = group["data"][()]
    rows["data"][3] = rows["data"][3][: 4 * 2 * 5]
    group["data"][...] = rows


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (xml_as(5), "'/dataset/xml' is int64, not a text"),
        (xml_as(np.complex64(1)), "not a text"),
        (xml_as(np.zeros(2, [("a", "f4")])), "of compound type, not a text"),
        (xml_group, "'/dataset/xml' is no dataset"),
        (xml_bomb, "claims|too long for a text"),
        (data_as(lambda rows: np.zeros((4, 5))), "no table of acquisitions"),
        (data_as(lambda rows: 5), "no table of acquisitions"),
        (data_as(lambda rows: rows["head"]), "no table of acquisitions"),
        (data_as(lambda rows: rows["head"]["idx"]), "no table of acquisitions"),
        (shorter, "acquisition 3 has fewer samples than its header says"),
    ],
)
def test_parts_of_ismrmrd(change: Callable[[h5py.Group], None], words: str, tmp_path: Path) -> None:
    path = recorded(tmp_path / "scan.h5")
    with h5py.File(path, "r+") as file:
        change(file["dataset"])
    with pytest.raises(ReconError, match=words) as refusal:
        open_scan(path).read_kspace(0)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize("name", ["ismrmrd_header", "recon/noise", "kspace"])
def test_packed_zeros_are_not_unpacked(name: str, tmp_path: Path) -> None:
    path = write_small_scan(tmp_path / "scan.h5")
    with h5py.File(path, "r+") as file:
        rank = max(file[name].ndim, 1)
        kind = "S1" if name == "ismrmrd_header" else "c8"
        del file[name]
        width = PIECE // np.dtype(kind).itemsize
        shape, chunk = (1,) * (rank - 1) + (32 * width,), (1,) * (rank - 1) + (width,)
        bomb = file.create_dataset(name, shape, kind, chunks=chunk, compression="gzip")
        for index in range(32):
            bomb.id.write_direct_chunk((0,) * (rank - 1) + (index * width,), compressed_piece())
    with pytest.raises(ReconError, match=r"scan\.h5: dataset '/\w+(/noise)?' claims 2147483648 bytes"):
        open_scan(path)


def test_soft_links_in_a_circle(tmp_path: Path) -> None:
    path = write_small_scan(tmp_path / "scan.h5")
    with h5py.File(path, "r+") as file:
        del file["recon/noise"]
        file["recon/noise"] = h5py.SoftLink("/recon/noise")
    with pytest.raises(ReconError, match=r"scan\.h5: .*cannot be read|scan\.h5: truncated or damaged"):
        open_scan(path)


def npy_of(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(800)


@pytest.mark.parametrize(
    "header",
    [
        b"'''",
        b"(" * 3000,
        b"{'descr': '<c8', 'fortran_order': False, 'shape': (True, 4)}",
        b"{'descr': '<c8', 'fortran_order': False, 'shape': (-4, 4)}",
        b"{'descr': '<c8', 'fortran_order': False, 'shape': (1099511627776,)}",
        b"{'descr': 'O', 'fortran_order': False, 'shape': (4,)}",
        b"\x00",
    ],
)
def test_npy_headers(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "odd.npy"
    path.write_bytes(npy_of(header))
    with pytest.raises(ReconError, match=r"odd\.npy: "), open_array(path, ["coil", "readout", "phase"]):
        pass


def test_damaged_and_packed_mat(tmp_path: Path) -> None:
    path = tmp_path / "odd.mat"
    scipy.io.savemat(path, {"kspace": random_kspace(2, 8, 8)}, do_compression=True)
    healthy = path.read_bytes()
    path.write_bytes(healthy[:-40] + bytes(40))
    with pytest.raises(ReconError, match=r"odd\.mat: truncated or not a MATLAB file"), open_array(path, ["coil"]):
        pass
    rows = 1 << 28
    sizes = struct.pack("<II8s", 6, 8, struct.pack("<BBHI", 6, 8, 0, 0)) + struct.pack("<IIii", 5, 8, rows, 1)
    inner = sizes + struct.pack("<HH4s", 1, 4, b"ksp\0") + struct.pack("<II", 7, rows * 4)
    packed = zlib_stream(struct.pack("<II", 14, len(inner) + 2 * (rows * 4 + 8)) + inner, 32)
    path.write_bytes(healthy[:128] + struct.pack("<II", 15, len(packed)) + packed)
    with pytest.raises(ReconError, match=r"odd\.mat: variable 'ksp.*' claims"), open_array(path, ["coil"]):
        pass


def test_damaged_and_packed_npz(tmp_path: Path) -> None:
    head = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2048, 1024, 1024), }".ljust(117) + b"\n"
    start = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head
    write_zip(tmp_path / "bomb.npz", {"t1.npy": b"", "labels.npy": npy_of(b"'''")}, "t1.npy", start, 32)
    with pytest.raises(ReconError, match=r"bomb\.npz: 't1\.npy' claims"):
        find_anatomies(tmp_path / "bomb.npz")
    members = {"t1.npy": npy_of(b"'''"), "labels.npy": npy_of(b"'''")}
    write_zip(tmp_path / "token.npz", members, "", b"", 0)
    with pytest.raises(ReconError, match=r"token\.npz: truncated or not an npz archive"):
        find_anatomies(tmp_path / "token.npz")
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1, 99999, 999, 999)}"
    members = {"t1.npy": npy_of(header), "labels.npy": npy_of(header)}
    write_zip(tmp_path / "declared.npz", members, "", b"", 0)
    with pytest.raises(ReconError, match=r"declared\.npz: .*declares \(1, 99999, 999, 999\)"):
        find_anatomies(tmp_path / "declared.npz")


def test_the_bombs_of_these_tests_are_what_they_say() -> None:
    unpacked = zlib.decompressobj(-15).decompress(deflated(b"abc", 1))
    assert (len(unpacked), unpacked[:4]) == (PIECE + 3, b"abc\0")
    with pytest.raises(zlib.error, match="incorrect data check"):
        zlib.decompress(zlib_stream(b"abc", 1))
    with pytest.raises(gzip.BadGzipFile, match="CRC"):
        gzip.decompress(gzipped(b"abc", 1))


def test_a_reconstruction_matrix_of_three_is_a_problem(tmp_path: Path) -> None:
    path = write_small_scan(tmp_path / "scan.h5")
    with h5py.File(path, "r+") as file:
        xml = file["ismrmrd_header"][()].decode()
        del file["ismrmrd_header"]
        head, _, tail = xml.partition("<reconSpace>")
        changed = tail.replace("<x>48</x>", "<x>3</x>", 1)
        assert changed != tail
        file["ismrmrd_header"] = f"{head}<reconSpace>{changed}"
        if "image_shape" in file["recon"].attrs:
            del file["recon"].attrs["image_shape"]
        if "reconstruction_rss" in file:
            del file["reconstruction_rss"]
    found = inspect(open_scan(path))
    assert any("at least 10 x 10 is needed" in problem for problem in found.problems)
    with pytest.raises(ReconError, match=r"scan\.h5: k-space of 3 x 40"):
        reconstruct(open_scan(path), options=ReconstructionOptions(method="zero-filled"))
