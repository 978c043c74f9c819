"""Masks and noise are named by what was measured: the same on every machine, whatever the last bits of k-space."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from recon.benchmark.held_out import hold_out
from recon.images.result import read_result
from recon.posterior.random_streams import NoiseStreams
from recon.scan import Scan
from recon.scans.derived import with_axes_swapped, with_calibration, with_mask, with_noise, with_slices
from recon.scans.opening import open_scan
from recon.scans.options import UndersamplingOptions
from recon.scans.undersample import undersample, undersampling_mask
from tests.numerical_threads import numerical_threads
from tests.small_world import write_small_prior, write_small_scan


def rounded_elsewhere(path: Path, copy: Path) -> Path:
    """The file as another machine would have computed it: every value of k-space to the last bit or one beside it."""
    shutil.copy(path, copy)
    with h5py.File(copy, "r+") as file:
        kspace = file["kspace"][()].view(np.float32)
        kspace[..., ::3] = np.nextafter(kspace[..., ::3], np.float32(np.inf))
        file["kspace"][...] = kspace.view(np.complex64)
    return copy


@pytest.fixture
def twins(tmp_path: Path) -> tuple[Scan, Scan]:
    path = write_small_scan(tmp_path / "one.h5")
    return open_scan(path), open_scan(rounded_elsewhere(path, tmp_path / "renamed.h5"))


def test_rounding_and_file_name_change_the_digest_only(twins: tuple[Scan, Scan]) -> None:
    one, other = twins
    assert one.digest != other.digest
    assert one.identity == other.identity


@pytest.mark.parametrize("kind", ["equispaced", "random", "poisson"])
def test_rounding_changes_no_mask(twins: tuple[Scan, Scan], kind: str) -> None:
    for seed in range(3):
        masks = [undersampling_mask(scan, UndersamplingOptions(3, kind, 8, seed)) for scan in twins]
        np.testing.assert_array_equal(*masks)
        held = [hold_out(with_mask(scan, masks[0]), 0.2, seed).held for scan in twins]
        np.testing.assert_array_equal(*held)


def test_rounding_changes_no_noise(twins: tuple[Scan, Scan]) -> None:
    added = [with_noise(scan, 1.0, 1, np.eye(4, dtype=np.complex64)).read_kspace(0) for scan in twins]
    np.testing.assert_allclose(*added, atol=1e-5)
    samples = [NoiseStreams(0, scan.identity, [0], [0, 1])(8, 8).numpy() for scan in twins]
    np.testing.assert_array_equal(*samples)


def test_what_is_done_to_a_scan_joins_its_identity(twins: tuple[Scan, Scan]) -> None:
    every_other = np.arange(twins[0].shape[3]) % 2 == 0
    ways: list[Callable[[Scan], Scan]] = [
        lambda scan: scan,
        lambda scan: with_mask(scan, every_other),
        lambda scan: with_mask(scan, ~every_other),
        lambda scan: with_calibration(scan, 16),
        lambda scan: with_noise(scan, 1.0, 0, np.eye(4, dtype=np.complex64)),
        lambda scan: with_noise(scan, 1.0, 1, np.eye(4, dtype=np.complex64)),
        lambda scan: with_slices(scan, range(1)),
        with_axes_swapped,
        lambda scan: replace(scan, contrast="T2", identity=""),
        lambda scan: replace(scan, header=replace(scan.header, subject="p1"), identity=""),
        lambda scan: replace(scan, header=replace(scan.header, echo_time_ms=91.0), identity=""),
    ]
    names = [[way(scan).identity for way in ways] for scan in twins]
    assert names[0] == names[1]
    assert len(set(names[0])) == len(ways)


def test_header_numbers_count_to_four_digits(twins: tuple[Scan, Scan]) -> None:
    """A field of view that another machine computed one bit apart is the same."""
    scan = replace(twins[0], identity="")
    assert scan.voxel_size is not None
    beside = replace(
        scan,
        voxel_size=(np.nextafter(scan.voxel_size[0], 9.0), *scan.voxel_size[1:]),
        header=replace(scan.header, echo_time_ms=np.nextafter(90.0, 91.0)),
        identity="",
    )
    assert beside.identity == scan.identity


def test_files_keep_the_identity(twins: tuple[Scan, Scan], tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    """Converting a scan changes nothing; an undersampled file is the scan that is undersampled in memory."""
    scan = twins[0]
    assert run_cli("convert", scan.path, "--out", tmp_path / "copy.h5", "--contrast", "T2").code == 0
    assert open_scan(tmp_path / "copy.h5").identity == scan.identity
    undersample(scan, tmp_path / "fast.h5", UndersamplingOptions(acceleration=2, calibration_lines=12))
    mask = undersampling_mask(scan, UndersamplingOptions(2, calibration_lines=12))
    stored, made = open_scan(tmp_path / "fast.h5"), with_mask(scan, mask)
    assert stored.identity == made.identity != scan.identity
    assert stored.calibration == made.calibration
    assert stored.source_digest == scan.digest
    for index in range(scan.shape[0]):
        np.testing.assert_array_equal(stored.read_kspace(index), made.read_kspace(index))


def test_one_and_two_threads_draw_the_same(tmp_path: Path, run_cli) -> None:
    """The way of a user through three commands: the same mask and noise to the bit, images equal up to rounding."""
    prior = write_small_prior(tmp_path / "prior")
    found = []
    for threads in (1, 2):
        folder = tmp_path / str(threads)
        with numerical_threads(threads):
            words = ("--size", 80, "--coils", 6, "--slices", 1, "--seed", 3)
            assert run_cli("simulate", "--out", folder, *words).code == 0
            (full,) = folder.glob("*.h5")
            fast = folder / "fast" / "scan.h5"
            assert run_cli("undersample", full, "--acceleration", 3, "--mask", "random", "--out", fast).code == 0
            few = ("--samples", 2, "--steps", 3, "--coils", 4, "--threads", threads)
            assert run_cli("reconstruct", fast, "--prior", prior, "--out", folder / "out", *few).code == 0
        found.append((open_scan(full), open_scan(fast), read_result(folder / "out" / "scan.h5")))
    (full, fast, result), (full2, fast2, result2) = found
    assert full.identity == full2.identity
    assert fast.identity == fast2.identity
    np.testing.assert_array_equal(fast.mask, fast2.mask)
    assert full.noise is not None
    assert full2.noise is not None
    np.testing.assert_array_equal(full.noise, full2.noise)
    # The network computes in bf16, which makes 1e-3 of last bits.
    for name, tolerance in (("zero_filled", 1e-5), ("reconstruction", 2e-3), ("std", 2e-3)):
        one, other = getattr(result, name), getattr(result2, name)
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * np.abs(one).max(), err_msg=name)
