"""GRAPPA fills the missing lines of simulated multi-coil data and says clearly when it cannot."""

import numpy as np
import pytest

from recon.acquisition.masks import centre_block
from recon.errors import ReconError
from recon.images.result import read_result
from recon.quality.metrics import nrmse
from recon.reconstruction.grappa import grappa, neighbour_patterns
from recon.reconstruction.grappa_plane import grappa_plane
from tests.small_world import object_image, write_small_scan


def fft2(image: np.ndarray) -> np.ndarray:
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))


def ifft2(kspace: np.ndarray) -> np.ndarray:
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))


def rss(kspace: np.ndarray) -> np.ndarray:
    return np.sqrt((np.abs(ifft2(kspace)) ** 2).sum(0))


def head(readout: int, phase: int, coils: int = 8) -> np.ndarray:
    """Noise-free k-space ``[coil, readout, phase]`` of ellipses seen by smooth coils on a ring around them."""
    y, x = np.meshgrid(np.linspace(-1, 1, readout), np.linspace(-1, 1, phase), indexing="ij")
    image = 1.0 * ((y / 0.8) ** 2 + (x / 0.65) ** 2 < 1)
    image -= 0.4 * ((y / 0.74) ** 2 + (x / 0.58) ** 2 < 1)
    image += 0.5 * (((y - 0.3) / 0.15) ** 2 + ((x + 0.2) / 0.2) ** 2 < 1)
    coil_maps = []
    for angle in 2 * np.pi * np.arange(coils) / coils:
        distance = (y - 1.1 * np.sin(angle)) ** 2 + (x - 1.1 * np.cos(angle)) ** 2
        coil_maps.append(np.exp(-distance / 0.9 + 1j * (angle + 0.6 * y - 0.4 * x)))
    return fft2(image * np.stack(coil_maps)).astype(np.complex64)


def equispaced(lines: int, acceleration: int, calibration: int) -> np.ndarray:
    mask = np.zeros(lines, bool)
    mask[(lines // 2) % acceleration :: acceleration] = True
    start = lines // 2 - calibration // 2
    mask[start : start + calibration] = True
    return mask


def lattice(readout: int, phase: int, steps: tuple[int, int], shift: int = 0, calibration: int = 20) -> np.ndarray:
    """Every ``steps``-th sample along either axis, moved by ``shift`` from row to row, and a calibration region."""
    row, column = np.indices((readout, phase))
    mask = (row % steps[0] == 0) & ((column - shift * (row // steps[0])) % steps[1] == 0)
    mask[centre_block(readout, calibration), centre_block(phase, calibration)] = True
    return mask


def irregular(share: float) -> np.ndarray:
    mask = np.random.default_rng(0).random((64, 64)) < share
    mask[0, 0] = mask[-1, -1] = mask[0, -1] = True
    mask[centre_block(64, 12), centre_block(64, 12)] = True
    return mask


@pytest.mark.parametrize(
    ("shape", "acceleration", "bar"),
    [((72, 64), 2, 0.01), ((72, 64), 3, 0.02), ((65, 63), 2, 0.01), ((65, 63), 4, 0.06)],
)
def test_noise_free_data_are_completed(shape, acceleration, bar):
    full = head(*shape)
    mask = equispaced(shape[1], acceleration, 20)
    filled = grappa(full * mask, mask, (shape[0], 20))
    error = nrmse(rss(filled), rss(full))
    assert error < bar
    assert error < 0.3 * nrmse(rss(full * mask), rss(full))
    np.testing.assert_array_equal(filled[..., mask], full[..., mask])
    assert filled.dtype == np.complex64


def test_random_gaps_and_a_separate_calibration_scan():
    full = head(64, 64)
    generator = np.random.default_rng(1)
    mask = generator.random(64) < 0.55
    mask[24:40] = True
    assert np.diff(np.flatnonzero(mask)).max() >= 4
    within = grappa(full * mask, mask, (64, 16))
    assert nrmse(rss(within), rss(full)) < 0.3 * nrmse(rss(full * mask), rss(full))
    # equispaced without its own calibration lines, and the calibration lines from elsewhere
    sparse = equispaced(64, 3, 0)
    separate = np.where(equispaced(64, 64, 24), full, 0)
    filled = grappa(full * sparse, sparse, (64, 24), calibration_kspace=separate)
    assert nrmse(rss(filled), rss(full)) < 0.03
    np.testing.assert_array_equal(filled[..., sparse], full[..., sparse])


def test_unit_and_phase_of_the_data_do_not_matter():
    full = head(48, 48)
    mask = equispaced(48, 3, 16)
    factor = np.complex64(3e4 * np.exp(0.7j))
    once, scaled = grappa(full * mask, mask, (48, 16)), grappa(factor * full * mask, mask, (48, 16))
    np.testing.assert_allclose(scaled / factor, once, atol=1e-3 * np.abs(once).max(), rtol=0)


def test_noisy_calibration_is_regularised():
    """With as much noise as signal in the outer lines, completing must not amplify it beyond reason."""
    full = head(64, 64)
    generator = np.random.default_rng(0)
    noise = 0.05 * (generator.normal(size=full.shape) + 1j * generator.normal(size=full.shape))
    noisy = (full + noise).astype(np.complex64)
    mask = equispaced(64, 2, 16)
    filled = grappa(noisy * mask, mask, (64, 16))
    assert np.linalg.norm(filled - full) < 1.5 * np.linalg.norm(noise)


def test_every_missing_line_inside_the_range_is_filled_and_nothing_beyond():
    full = head(48, 60)
    mask = equispaced(60, 2, 16)
    mask[:4], mask[52:] = False, False
    filled = grappa(full * mask, mask, (48, 16), phase_limits=(4, 52))
    energy = np.abs(filled).sum((0, 1))
    assert (energy[4:52] > 0).all()
    assert not energy[:4].any()
    assert not energy[52:].any()


def test_partial_fourier_lines_stay_empty():
    mask = equispaced(60, 2, 16)
    mask[:16] = False
    patterns = neighbour_patterns(mask)
    assert min(patterns) == int(np.flatnonzero(mask)[0]) - 1  # one gap further out than the acquired lines, no more
    assert all(mask[line + offset] for line, pattern in patterns.items() for offset in pattern)


def test_patterns_at_the_ends_take_more_from_the_other_side():
    mask = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0], bool)
    assert neighbour_patterns(mask) == {
        0: (1, 3, 5, 7),
        2: (-1, 1, 3, 5),
        4: (-3, -1, 1, 3),
        6: (-5, -3, -1, 1),
        8: (-7, -5, -3, -1),
    }


@pytest.mark.parametrize("turned", [False, True])
def test_lines_of_2d_masks_along_either_axis(turned):
    """An asymmetric echo, and the slice of a 3-D scan that is accelerated along phase and not along the slab."""
    full = head(60, 64)
    columns, rows = equispaced(64, 3, 20), np.arange(60) >= 12
    mask = np.outer(rows, columns)
    apart = np.where(equispaced(64, 64, 20), full, 0)
    alone = np.zeros_like(full)
    alone[:, 12:] = grappa((full * mask)[:, 12:], columns, (48, 20), calibration_kspace=apart[:, 12:])
    arguments = (full * mask, mask, apart)
    if turned:
        arguments = (full.swapaxes(1, 2) * mask.T, mask.T.copy(), apart.swapaxes(1, 2))
    filled = grappa(*arguments[:2], (20, 48) if turned else (48, 20), calibration_kspace=arguments[2])
    filled = filled.swapaxes(1, 2) if turned else filled
    assert not filled[:, :12].any()
    np.testing.assert_array_equal(filled[:, mask], full[:, mask])
    assert nrmse(rss(filled), rss(full * rows[:, None])) < 0.03
    assert np.linalg.norm(filled - full * rows[:, None]) < 1.2 * np.linalg.norm(alone - full * rows[:, None])


@pytest.mark.parametrize(
    ("steps", "shift", "bar"),
    [((2, 2), 0, 0.01), ((2, 2), 1, 0.01), ((1, 2), 1, 0.01), ((3, 2), 1, 0.02), ((3, 3), 0, 0.04)],
)
def test_gaps_along_both_axes(steps, shift, bar):
    """Slices of 3-D scans: lattices with and without the shift of CAIPIRINHA, and a calibration region."""
    full = head(66, 60)
    mask = lattice(66, 60, steps, shift)
    filled = grappa(full * mask, mask, (20, 20))
    np.testing.assert_array_equal(filled[:, mask], full[:, mask])
    assert np.abs(filled).sum(0).all()
    error = nrmse(rss(filled), rss(full))
    assert error < bar
    assert error < 0.15 * nrmse(rss(full * mask), rss(full))


def test_a_lattice_from_the_mask_to_the_image(tmp_path, run_cli):
    full = write_small_scan(tmp_path / "full.h5", slices=1, coils=8)
    fast = tmp_path / "fast.h5"
    words = ("--mask", "caipirinha", "--acceleration", 4, "--calibration-lines", 16)
    assert run_cli("undersample", full, *words, "--out", fast).code == 0
    errors = {}
    for method in ("zero-filled", "grappa"):
        done = run_cli("reconstruct", fast, "--method", method, "--out", tmp_path / method)
        assert done.code == 0, done.err
        result = read_result(tmp_path / method / "fast.h5").reconstruction
        errors[method] = nrmse(result, np.abs(object_image(1)))
    assert errors["grappa"] < 0.65 * errors["zero-filled"]


def test_a_lattice_with_gaps_along_one_axis_agrees_with_lines():
    """The same samples by kernels of a plane and by those of lines."""
    full = head(60, 60)
    columns = equispaced(60, 2, 20)
    mask = np.broadcast_to(columns, (60, 60))
    lines, plane = grappa(full * mask, columns, (60, 20)), grappa_plane(full * mask, mask, full[:, 20:40, 20:40])
    assert np.linalg.norm(plane - full) < 1.5 * np.linalg.norm(lines - full) + 1e-3 * np.linalg.norm(full)


def test_a_separate_calibration_scan_and_what_lies_outside_of_a_lattice():
    """No calibration region within, corners of an ellipse, positions that were not encoded, and partial Fourier."""
    full = head(64, 60)
    y, x = np.mgrid[-32:32, -30:30]
    ellipse = (y / 32) ** 2 + (x / 30) ** 2 <= 1
    mask = lattice(64, 60, (2, 2), 1, calibration=0) & ellipse & (x >= -14) & (x < 27)
    apart = np.where(lattice(64, 60, (64, 60), calibration=24), full, 0)
    filled = grappa(full * mask, mask, (24, 24), calibration_kspace=apart, phase_limits=(14, 57))
    energy = np.abs(filled).sum(0)
    assert not energy[:, :14].any()
    assert not energy[:, 57:].any()
    assert not energy[:4, 50:].any()
    inside = ellipse & (x >= -12) & (x < 27)
    assert energy[inside].all()
    assert np.linalg.norm((filled - full)[:, inside]) < 0.05 * np.linalg.norm(full[:, inside])


def test_a_fully_sampled_scan_comes_back():
    full = head(32, 32)
    np.testing.assert_array_equal(grappa(full, np.ones(32, bool), (32, 32)), full)
    y, x = np.mgrid[-16:16, -16:16]
    ellipse = y**2 + x**2 <= 256
    np.testing.assert_array_equal(grappa(full * ellipse, ellipse, (20, 20)), full * ellipse)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mask": irregular(0.3)}, "lattices, not irregular masks"),
        ({"mask": irregular(0.002)}, "too far for its kernels"),
        ({"mask": lattice(32, 32, (2, 2)), "calibration": (2, 2)}, "calibration region of 2 x 2 is too small"),
        ({"mask": np.ones(31, bool)}, "differ in size"),
        ({"mask": np.zeros(32, bool)}, "mask is empty"),
        ({"calibration": (0, 0)}, "no usable calibration lines"),
        ({"calibration": (32, 2)}, "too few"),
        ({"kspace": np.full((4, 32, 32), np.nan, np.complex64)}, "NaN"),
        ({"kspace": np.zeros((4, 32, 32), np.complex64)}, "all zero"),
        ({"calibration_kspace": np.ones((4, 30, 32), np.complex64)}, "calibration scan .* differ in size"),
    ],
)
def test_what_grappa_cannot_do_is_one_clear_error(change, words):
    mask = equispaced(32, 4, 12)
    shape = change["mask"].shape if change.get("mask", mask).ndim == 2 else (32, 32)
    arguments = {"kspace": head(*shape, 4), "mask": mask, "calibration": (12, 12), **change}
    with pytest.raises(ReconError, match=words):
        grappa(**arguments)
