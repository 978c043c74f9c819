"""Scans made from a scan: what they hold is what calibration and solvers see."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recon.acquisition.problem import calibration_kspace, read_slices
from recon.errors import ReconError
from recon.scan import Scan
from recon.scans.derived import with_calibration, with_mask, without_coils
from recon.scans.fastmri import describe, write_fastmri
from recon.scans.opening import open_scan
from recon.scans.options import UndersamplingOptions
from recon.scans.undersample import undersample
from tests.small_world import write_small_scan


@pytest.fixture
def scan(tmp_path: Path) -> Scan:
    return open_scan(write_small_scan(tmp_path / "scan.h5"))


@pytest.fixture
def separate(scan: Scan) -> Scan:
    """With a calibration scan of its own, of 12 lines and of another size."""
    lines = np.abs(np.arange(40) - 20) < 6
    return replace(
        scan,
        calibration_kspace=lambda index: (7 * scan.read_kspace(index) * lines).astype(np.complex64),
        calibration=(48, 11),
    )


def seen(scan: Scan) -> np.ndarray:
    """What coil maps and scale are made from."""
    return calibration_kspace(scan, read_slices(scan, [0]), [0]).numpy()


@pytest.mark.parametrize("lines", [8, 15, 16])
def test_with_calibration_calibrates_on_the_central_lines_of_the_scan(scan: Scan, lines: int) -> None:
    few = with_calibration(scan, lines)
    assert few.calibration == (48, lines)
    first = 20 - lines // 2
    np.testing.assert_array_equal(seen(few)[0], scan.read_kspace(0)[..., first : first + lines])
    np.testing.assert_array_equal(few.read_kspace(0), scan.read_kspace(0))


def test_with_calibration_puts_a_separate_calibration_scan_aside(scan: Scan, separate: Scan) -> None:
    """Else maps and scale would come from it, within an extent that is not its own."""
    few = with_calibration(separate, 16)
    assert few.calibration_kspace is None
    np.testing.assert_array_equal(seen(few), seen(with_calibration(scan, 16)))


def test_with_calibration_never_reaches_beyond_what_was_sampled(scan: Scan) -> None:
    cut = replace(scan, mask=(np.arange(40) >= 15) & (np.arange(40) < 36), phase_limits=(15, 36))
    assert with_calibration(cut, 32).calibration == (48, 11)
    assert with_calibration(scan, 100).calibration == (48, 40)
    rows = np.zeros((48, 40), bool)
    rows[10:] = True  # an asymmetric echo
    assert with_calibration(replace(scan, mask=rows), 16).calibration == (29, 16)


def test_with_mask_keeps_a_separate_calibration_and_its_extent(separate: Scan, tmp_path: Path) -> None:
    every_other = np.arange(40) % 2 == 0
    fast = with_mask(separate, every_other)
    assert fast.calibration == separate.calibration
    np.testing.assert_array_equal(seen(fast), seen(separate))


def test_files_keep_a_separate_calibration_and_its_extent(separate: Scan, tmp_path: Path) -> None:
    with write_fastmri(tmp_path / "own.h5", describe(separate, separate)) as writer:
        for index in range(2):
            assert separate.calibration_kspace is not None
            writer.put(index, separate.read_kspace(index), calibration=separate.calibration_kspace(index))
    stored = open_scan(tmp_path / "own.h5")
    assert stored.calibration == separate.calibration
    undersample(stored, tmp_path / "fast.h5", UndersamplingOptions(acceleration=2))
    fast = open_scan(tmp_path / "fast.h5")
    assert fast.calibration == separate.calibration
    np.testing.assert_array_equal(seen(fast), seen(separate))


def test_without_coils_leaves_them_out_everywhere(separate: Scan) -> None:
    covariance = np.arange(16).reshape(4, 4).astype(np.complex128)
    full = replace(separate, noise_covariance=covariance, read_reference=lambda _: np.ones((48, 40), np.float32))
    fewer = without_coils(full, (1, 3, 1))
    assert fewer.shape == (full.shape[0], 2, *full.shape[2:])
    np.testing.assert_array_equal(fewer.read_kspace(0), full.read_kspace(0)[[0, 2]])
    np.testing.assert_array_equal(seen(fewer), seen(full)[:, [0, 2]])
    np.testing.assert_array_equal(fewer.noise_covariance, [[0, 2], [8, 10]])
    assert fewer.read_reference is None, "the stored image was made of all coils"
    assert fewer.digest != full.digest
    assert fewer.digest == without_coils(full, (3, 1)).digest
    with pytest.raises(ReconError, match="no coil 4; the scan has coils 0 to 3"):
        without_coils(full, (4,))
    with pytest.raises(ReconError, match="no coil would be left"):
        without_coils(full, range(4))
