"""`recon info` and `recon undersample`, and what a full disk leaves behind."""

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from recon.acquisition.rss import reference_image
from recon.errors import ReconError
from recon.header import Header
from recon.images.result import ResultHeader, write_result
from recon.scans.fastmri import ScanDescription, write_fastmri
from recon.scans.opening import open_scan
from tests.small_world import write_small_scan

Run = Callable[..., Any]


def write_scan(path: Path, shape: tuple[int, int, int, int] = (2, 4, 64, 60), **options: Any) -> Path:
    generator = np.random.default_rng(0)
    with write_fastmri(
        path, ScanDescription(shape=shape, contrast=options.pop("contrast", "FLAIR"), **options)
    ) as writer:
        for index in range(shape[0]):
            kspace = generator.normal(size=shape[1:]) + 1j * generator.normal(size=shape[1:])
            first, last = options.get("phase_limits", (0, shape[3]))
            kspace[..., :first] = kspace[..., last:] = 0
            writer.put(index, kspace.astype(np.complex64))
    return path


@pytest.fixture
def full_scan(tmp_path: Path) -> Path:
    options = {"voxel_size": (1.0, 1.0, 5.0), "affine": np.diag([1.0, 1, 5, 1]), "phase_limits": (4, 58)}
    return write_scan(tmp_path / "full.h5", image_shape=(32, 60), header=Header(echo_time_ms=90.0), **options)


@pytest.mark.parametrize("kind", ["equispaced", "random", "poisson", "fastmri-random", "fastmri-equispaced"])
def test_undersampling_keeps_exactly_the_masks_lines(kind: str, full_scan: Path, tmp_path: Path, run_cli: Run) -> None:
    out = tmp_path / "out.h5"
    command = ("undersample", full_scan, "--acceleration", 3, "--mask", kind, "--calibration-lines", 8, "--out", out)
    result = run_cli(*command, "--json")
    assert result.code == 0
    whole, fewer = open_scan(full_scan), open_scan(out)
    assert result.json["acceleration"] == pytest.approx(fewer.acceleration)
    assert result.json["sampled_lines"] == fewer.mask.sum()
    assert fewer.mask.ndim == (2 if kind == "poisson" else 1)
    for index in range(2):
        np.testing.assert_array_equal(fewer.read_kspace(index), whole.read_kspace(index) * fewer.mask)
    assert fewer.source_digest == whole.digest
    for name in ("image_shape", "contrast", "voxel_size", "phase_limits"):
        assert getattr(fewer, name) == getattr(whole, name)
    np.testing.assert_array_equal(fewer.affine, whole.affine)
    first = out.read_bytes()
    run_cli(*command)
    assert out.read_bytes() == first  # the same seed gives the same file
    others = []
    for seed in (1, 2, 3, 4, 5):
        run_cli(*command, "--seed", seed)
        others.append(open_scan(out).mask)
    assert any((mask != fewer.mask).any() for mask in others)


def test_an_edge_of_k_space_that_is_missing_is_said(tmp_path: Path, run_cli: Run) -> None:
    """Beside every other mask, too: the acceleration alone does not tell it."""
    whole = open_scan(write_small_scan(tmp_path / "whole.h5"))
    said = {}
    for name, step, first in (("whole", 1, 0), ("edge", 1, 10), ("both", 2, 10), ("far", 1, 7)):
        lines = np.stack([whole.read_kspace(index) for index in range(2)])  # 40 phase lines
        kept = np.zeros(40, bool)
        kept[first::step] = True
        kept[14:26] = True
        np.save(tmp_path / f"{name}.npy", lines * kept)
        scan = tmp_path / f"{name}_scan.h5"
        run_cli("convert", tmp_path / f"{name}.npy", "--axes", "slice,coil,readout,phase", "--out", scan)
        said[name] = run_cli("info", scan).out, run_cli("info", scan, "--json").json["partial_fourier"]
    assert said["whole"][1] is None
    assert "ourier" not in said["whole"][0]
    assert said["edge"][1] == [1, 0.75]
    assert "sampling     partial Fourier: 75 % of phase (6/8), 1.33x" in said["edge"][0]
    assert said["both"][1] == [1, pytest.approx(29 / 38, abs=1e-4)]
    assert "sampling     equispaced by 2, partial Fourier: 76 % of phase (6/8), " in said["both"][0]
    assert "sampling     partial Fourier: 82 % of phase, " in said["far"][0]


def test_reference_stays_out_unless_asked_for(full_scan: Path, tmp_path: Path, run_cli: Run) -> None:
    command = ("undersample", full_scan, "--acceleration", 2, "--out", tmp_path / "out.h5")
    run_cli(*command)
    assert open_scan(tmp_path / "out.h5").read_reference is None
    run_cli(*command, "--keep-reference")
    kept = open_scan(tmp_path / "out.h5")
    np.testing.assert_array_equal(kept.read_reference(1), reference_image(open_scan(full_scan), 1))


def test_undersampling_that_makes_no_sense(full_scan: Path, tmp_path: Path, run_cli: Run) -> None:
    out = tmp_path / "out.h5"
    assert run_cli("undersample", full_scan, "--acceleration", 2, "--out", out).code == 0
    again = run_cli("undersample", out, "--acceleration", 2, "--out", tmp_path / "more.h5")
    assert (again.code, "already undersampled" in again.err) == (2, True)
    assert run_cli("undersample", full_scan, "--acceleration", 2, "--out", full_scan).code == 2
    assert run_cli("undersample", full_scan, "--acceleration", 2, "--mask", "spiral", "--out", out).code == 2
    assert run_cli("undersample", full_scan, "--acceleration", 2.5, "--out", out).code == 2
    assert run_cli("undersample", full_scan, "--acceleration", -1, "--out", out).code == 2
    assert not (tmp_path / "more.h5").exists()
    assert open_scan(full_scan).acceleration == 1


def test_info_for_people_and_machines(full_scan: Path, run_cli: Run) -> None:
    found = run_cli("info", full_scan, "--json").json
    assert (found["slices"], found["coils"], found["readout"], found["phase"]) == (2, 4, 64, 60)
    assert found["can_reconstruct"]
    assert found["problems"] == []
    assert found["voxel_size_mm"] == [1, 1, 5]
    text = run_cli("info", full_scan)
    assert text.code == 0
    assert "can be reconstructed" in text.out
    assert "echo_time_ms 90" in text.out


def test_info_says_why_not(tmp_path: Path, run_cli: Run) -> None:
    """No calibration lines; a dead coil and an empty slice are only warned about."""
    mask = np.zeros(60, bool)
    mask[1::4] = True
    path = tmp_path / "a.h5"
    with write_fastmri(path, ScanDescription(shape=(2, 3, 32, 60), contrast="unknown", mask=mask)) as writer:
        kspace = np.ones((3, 32, 60), np.complex64) * mask
        kspace[1] = 0
        writer.put(0, kspace)
        writer.put(1, 0 * kspace)
    result = run_cli("info", path, "--json")
    assert result.code == 1
    assert result.json["calibration"] == [0, 0]
    assert "no calibration lines" in result.json["problems"][0]
    assert result.json["dead_coils"] == [1]
    assert result.json["empty_slices"] == [1]
    assert "cannot be reconstructed" in run_cli("info", path).out


def test_memory_does_not_grow_with_slices(tmp_path: Path, run_cli: Run) -> None:
    peaks = []
    for slices in (8, 32):  # the noise is estimated from four of them at once
        path = write_scan(tmp_path / f"{slices}.h5", (slices, 4, 128, 128))
        tracemalloc.start()
        run_cli("undersample", path, "--acceleration", 2, "--keep-reference", "--out", tmp_path / "out.h5")
        run_cli("info", path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] <= 1.15 * peaks[0]


def test_commands_start_without_torch(full_scan: Path, tmp_path: Path) -> None:
    """Moving k-space about must not wait for torch, sigpy or matplotlib."""
    program = (
        "import sys; from cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "assert not {'torch', 'sigpy', 'matplotlib', 'diffusers', 'nibabel'} & set(sys.modules)"
    )
    for words in (
        ["convert", full_scan, "--out", tmp_path / "c.h5"],
        ["undersample", full_scan, "--acceleration", "2", "--out", tmp_path / "u.h5"],
    ):
        done = subprocess.run([sys.executable, "-c", program, *map(str, words)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB; needs the right to mount."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "none", str(folder)], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_leaves_nothing(full_scan: Path, small_disk: Path, run_cli: Run) -> None:
    for words in (
        ("undersample", full_scan, "--acceleration", 2, "--out", small_disk / "out.h5"),
        ("convert", full_scan, "--out", small_disk / "out.h5"),
        ("convert", full_scan, "--out", small_disk / "out.cfl"),
    ):
        result = run_cli(*words)
        assert result.code == 2
        assert "free some space" in result.err, result.err
        assert result.err.count("\n") == 1
        assert list(small_disk.iterdir()) == []


def test_a_full_disk_ends_a_cohort(tmp_path: Path, small_disk: Path, run_cli: Run) -> None:
    """The other scans would be computed for nothing, and none of them is bad."""
    scans = [write_small_scan(tmp_path / f"{name}.h5", seed=seed) for seed, name in enumerate("abc")]
    (small_disk / "filling").write_bytes(
        bytes(os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize - 9000)
    )
    for words in (
        ("reconstruct", *scans, "--out", small_disk, "--method", "zero-filled"),
        ("prepare", *scans, "--out", small_disk, "--skip-bad", "--processes", 1),
        ("undersample", *scans, "--acceleration", 2, "--out", small_disk),
    ):
        result = run_cli(*words)
        assert result.code == 2
        said = [line for line in result.err.splitlines() if "free some space" in line]
        assert len(said) == 1, result.err
        assert "skip" not in result.err
        assert [path.name for path in small_disk.iterdir()] == ["filling"]


def test_write_error_leaves_nothing(
    full_scan: Path, tmp_path: Path, run_cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same without the right to mount: the fourth write fails as on a full disk."""
    import h5py

    original, count = h5py.Dataset.__setitem__, iter(range(100))

    def failing(self: h5py.Dataset, *arguments: Any) -> None:
        if next(count) >= 1:
            raise OSError(28, "No space left on device")
        original(self, *arguments)

    folder = tmp_path / "out"
    monkeypatch.setattr(h5py.Dataset, "__setitem__", failing)
    result = run_cli("undersample", full_scan, "--acceleration", 2, "--out", folder / "out.h5")
    assert result.code == 2
    assert "No space left on device" in result.err
    assert list(folder.iterdir()) == []


def test_full_disk_while_a_result_is_written(small_disk: Path) -> None:
    options: dict[str, Any] = {"contrast": "T2", "voxel_size": None, "affine": None}
    with (  # noqa: PT012
        pytest.raises(ReconError, match="No space left"),
        write_result(
            small_disk / "a.h5", ResultHeader(slices=4, shape=(128, 128), configuration={}, attributes={}, **options)
        ) as writer,
    ):
        for index in range(4):
            writer.put(index, reconstruction=np.ones((128, 128), np.float32))
    assert list(small_disk.iterdir()) == []


def test_convert_replaces_only_what_was_made_of_the_same_file(run_cli, full_scan, tmp_path):
    other = write_small_scan(tmp_path / "other.h5", seed=7)
    precious = other.read_bytes()
    words = ("convert", full_scan, "--out", other)
    refused = run_cli(*words)
    assert refused.code == 2
    assert f"{other}: exists and was not made of {full_scan}; add --force to replace it" in refused.err
    assert other.read_bytes() == precious
    assert run_cli(*words, "--force").code == 0
    assert run_cli(*words, "--contrast", "T2").code == 0, "made of the same scan, it can be made again"
    assert open_scan(other).contrast == "T2"
    pair = ("convert", full_scan, "--out", tmp_path / "pair.cfl")
    assert [run_cli(*pair).code, run_cli(*pair).code, run_cli(*pair, "--force").code] == [0, 2, 0]
    assert "the input itself" in run_cli("convert", other, "--out", other, "--force").err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full.h5", "other.h5", "pair.cfl", "pair.hdr"]


def test_a_dead_coil_is_left_out_as_the_refusal_says(run_cli, full_scan, tmp_path):
    """Without a noise scan nothing tells a dead coil's noise: the message names the command, and the command helps."""
    scan, out = tmp_path / "dead.h5", tmp_path / "alive.h5"
    scan.write_bytes(full_scan.read_bytes())
    with h5py.File(scan, "r+") as file:
        file["kspace"][:, 1] = 0
        for name in ("noise", "noise_covariance"):
            file["recon"].pop(name, None)
    told = run_cli("info", scan)
    assert told.code == 1
    assert "'recon convert --without-coils 1' leaves them out" in told.out
    refused = run_cli("reconstruct", scan, "--method", "sense", "--out", tmp_path / "results")
    assert refused.code == 2
    assert "--without-coils 1" in refused.err
    assert run_cli("convert", scan, "--without-coils", "1", "--out", out, "--json").json["coils"] == 3
    assert run_cli("reconstruct", out, "--method", "sense", "--out", tmp_path / "results").code == 0
    for words, said in (("1,x", "give numbers of coils"), ("7", "no coil 7"), ("0,1,2,3", "no coil would be left")):
        outcome = run_cli("convert", scan, "--without-coils", words, "--out", tmp_path / "none.h5")
        assert outcome.code == 2
        assert said in outcome.err
    np.save(tmp_path / "array.npy", np.ones((2, 8, 8), np.complex64))
    words = ("--axes", "coil,readout,phase", "--without-coils", "1", "--out", tmp_path / "none.h5")
    assert "coils are left out of scans" in run_cli("convert", tmp_path / "array.npy", *words).err


def test_convert_that_fails_leaves_no_output(run_cli, full_scan, tmp_path):
    """k-space of nothing but zeros passes as a file whose mask is stored, and cannot be read back from a BART pair."""
    scan, out = tmp_path / "zeros.h5", tmp_path / "out" / "zeros.cfl"
    scan.write_bytes(full_scan.read_bytes())
    with h5py.File(scan, "r+") as file:
        file["kspace"][:] = 0
        file["mask"] = np.ones(file["kspace"].shape[-1], bool)
    outcome = run_cli("convert", scan, "--out", out)
    assert outcome.code == 2
    assert f"{out}" in outcome.err
    assert not list(out.parent.iterdir())


def test_undersample_replaces_only_what_was_made_of_the_same_scan(run_cli, full_scan, tmp_path):
    other = write_small_scan(tmp_path / "other.h5", seed=7)
    precious = other.read_bytes()
    refused = run_cli("undersample", full_scan, "--acceleration", 2, "--out", other)
    assert refused.code == 2
    assert f"{other}: exists and was not made of {full_scan}; remove it" in refused.err
    assert other.read_bytes() == precious
    for acceleration in (2, 3):
        assert run_cli("undersample", full_scan, "--acceleration", acceleration, "--out", tmp_path / "a.h5").code == 0
