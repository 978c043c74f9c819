"""One scan for each warning of the audit: made so that the thing warned of is wrong with it, reconstructed as users do.

``test_audit`` tests the limits; here the default method runs with the shipped prior, and nothing but the one warning
may be said.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from recon.acquisition.fourier_numpy import to_kspace
from recon.prior.store import Prior, load_prior, shipped_prior
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import reconstruct
from recon.scan import Scan
from recon.scans.derived import with_mask
from recon.scans.inspection import UNCENTRED, inspect
from tests.small_world import SIZE, object_image

NOISE = 0.02  # per real component
INSIDE = np.abs(object_image(1)[0]) > 0


@pytest.fixture(scope="module")
def prior() -> Prior:
    return load_prior(shipped_prior())


def lines(acceleration: int = 2, calibration: int = 16) -> NDArray[np.bool_]:
    mask = np.zeros(SIZE[1], bool)
    mask[::acceleration] = True
    mask[SIZE[1] // 2 - calibration // 2 : SIZE[1] // 2 + calibration // 2] = True
    return mask


def coil_kspace(image: NDArray[np.complexfloating], coils: int) -> NDArray[np.complex128]:
    """Noise-free kspace ``[coil, readout, phase]``."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in SIZE), indexing="ij")
    angles = 2 * np.pi * np.arange(coils) / coils
    maps = np.stack([np.exp(-((y - np.sin(a)) ** 2 + (x - np.cos(a)) ** 2) + 1j * a) for a in angles])
    return to_kspace(maps / np.sqrt((np.abs(maps) ** 2).sum(0)) * image)


def scan_of(clean: NDArray[np.complexfloating], mask: NDArray[np.bool_], noise: float = NOISE, **changes: Any) -> Scan:
    """The scan of noise-free kspace, undersampled, with a noise scan that tells the truth."""
    generator = np.random.default_rng(1)

    def drawn(*shape: int) -> NDArray[np.complex64]:
        real = generator.standard_normal((2, *shape))
        return (noise * (real[0] + 1j * real[1])).astype(np.complex64)

    coils = clean.shape[0]
    kspace = (clean + drawn(*clean.shape)).astype(np.complex64)
    full = Scan(
        path=Path("memory.h5"),
        digest="",
        shape=(1, coils, *SIZE),
        read_kspace=lambda index: kspace,
        mask=np.ones(SIZE[1], bool),
        calibration=SIZE,
        image_shape=SIZE,
        contrast="FLAIR",
        noise=drawn(coils, 4000),
    )
    return replace(with_mask(full, mask), **changes)


def usual(**changes: Any) -> Scan:
    return scan_of(coil_kspace(object_image(1)[0], 6), lines(), **changes)


def gap_in_the_lines() -> Scan:
    mask = lines()
    mask[29:38] = False
    return scan_of(coil_kspace(object_image(1)[0], 6), mask)


def partial_fourier() -> Scan:
    mask = lines()
    mask[:6] = False
    return scan_of(coil_kspace(object_image(1)[0], 6), mask)


def moved() -> Scan:
    """Every fourth acquired line of another motion state; too little noise to hide it."""
    image = object_image(1)[0]
    kspace, other = (coil_kspace(entry, 6) for entry in (image, np.roll(image, (4, 3), (0, 1))))
    kspace[..., ::8] = other[..., ::8]
    return scan_of(kspace, lines(), noise=0.002)


def checks() -> Scan:
    """Anatomy that no head has."""
    return scan_of(coil_kspace((np.indices(SIZE).sum(0) // 2 % 2 * INSIDE).astype(complex), 6), lines())


def louder_calibration() -> Scan:
    """A separate calibration scan of ten times the receiver gain."""
    loud = (10 * coil_kspace(object_image(1)[0], 6)).astype(np.complex64)
    return usual(calibration_kspace=lambda index: loud, calibration=SIZE)


def stripes() -> Scan:
    """Lines thinner than the calibration can resolve: their brightness is unknown to it."""
    thin = (np.indices(SIZE)[1] % 13 == 0) & INSIDE
    return scan_of(coil_kspace(0.1 * object_image(1)[0] + 3.0 * thin, 6), lines())


CASES: dict[str, tuple[Callable[[], Scan], dict[str, Any], str]] = {
    "calibration": (lambda: scan_of(coil_kspace(object_image(1)[0], 6), lines(2, 12)), {}, "only 13 calibration lines"),
    "coils": (lambda: scan_of(coil_kspace(object_image(1)[0], 1), lines()), {}, "exceeds the number of coils (1)"),
    "gap": (gap_in_the_lines, {}, "a gap of"),
    "edge": (partial_fourier, {}, "partial Fourier"),
    "contrast": (lambda: usual(contrast="SWI"), {}, "contrast 'SWI' is unknown to the prior"),
    "noise too large": (usual, {"noise_sigma": 3 * NOISE}, "noise was fitted"),
    "noise too small": (usual, {"noise_sigma": NOISE / 10}, "the noise was raised"),
    "motion": (moved, {}, "the noise was raised"),
    "anatomy": (checks, {}, "differs from what the prior was trained on"),
}


def test_nothing_is_said_against_a_usual_scan(prior: Prior) -> None:
    assert reconstruct(usual(), prior).audit["warnings"] == []


@pytest.mark.parametrize("case", CASES)
def test_each_warning_has_a_scan_that_makes_it_and_no_other(case: str, prior: Prior) -> None:
    make, options, said = CASES[case]
    (text,) = reconstruct(make(), prior, ReconstructionOptions(**options)).audit["warnings"]
    assert said in text


@pytest.mark.parametrize("method", ["sense", "zero-filled"])
@pytest.mark.parametrize("gain", [1, 30])
def test_a_noise_scan_of_another_gain_is_said_by_every_method(method: str, gain: float) -> None:
    """CG-SENSE takes its weight from the noise: with thirty times too much its image fades, and no residual tells."""
    scan = usual()
    assert scan.noise is not None
    louder = replace(scan, noise=gain * scan.noise)
    warnings = reconstruct(louder, None, ReconstructionOptions(method=method)).audit["warnings"]
    cautions = inspect(louder).cautions
    for said in (warnings, cautions):
        assert any("of another scan, gain or unit" in text for text in said) == (gain > 1)
    covariance = 2 * (gain * NOISE) ** 2 * np.eye(6, dtype=np.complex128)
    stored = replace(scan, noise=None, noise_covariance=covariance)
    assert any("gain" in text for text in inspect(stored).cautions) == (gain > 1)


def test_a_residual_that_only_the_prior_can_notice(prior: Prior) -> None:
    """One coil: some image explains any data, so the noise is not raised; that image is unlike a head, and the samples
    leave more than the noise that was stated."""
    scan = scan_of(coil_kspace(object_image(1)[0], 1), lines())
    found = reconstruct(scan, prior, ReconstructionOptions(noise_sigma=NOISE / 4)).audit["warnings"]
    assert any("times what noise explains" in text for text in found)
    assert not any("noise was raised" in text for text in found)


def test_kspace_whose_centre_is_in_the_corners(prior: Prior) -> None:
    kspace = np.roll(coil_kspace(object_image(1)[0], 6), (SIZE[0] // 2, SIZE[1] // 2), (1, 2))
    found = reconstruct(scan_of(kspace, lines()), prior).audit["warnings"]
    assert any(UNCENTRED in text for text in found)


def test_a_scale_that_the_calibration_cannot_know(prior: Prior) -> None:
    """Nothing but foreign anatomy makes it, so that is said, too."""
    warnings = reconstruct(stripes(), prior).audit["warnings"]
    assert len(warnings) == 2
    assert "differs from what the prior was trained on" in warnings[0]
    assert "is far from that of the training images" in warnings[1]


def test_the_gain_of_a_separate_calibration_is_found_out(prior: Prior) -> None:
    assert reconstruct(louder_calibration(), prior).audit["warnings"] == []
