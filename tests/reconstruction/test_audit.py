"""The audit: each warning where it belongs, none where it does not; chi2 against its expectation."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from recon.posterior.schedule import Schedule
from recon.posterior.setup import system_of
from recon.posterior.stochastic_dds import stochastic_dds
from recon.reconstruction.audit import (
    SliceAudit,
    audit_slices,
    averaging_gain,
    data_warnings,
    result_warnings,
    summarise,
)
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import solver_for
from recon.reconstruction.preparing import Prepared
from recon.reconstruction.shown import shown_noise
from recon.reconstruction.solving import Solution
from recon.scan import Scan
from recon.scans.opening import open_scan
from tests.posterior.gaussian_posterior import BulkNoise, gaussian_case
from tests.small_world import write_small_scan


def scan_with(mask: np.ndarray, calibration: tuple[int, int] = (64, 24), **changes: object) -> Scan:
    scan = Scan(
        path=Path("memory.h5"),
        digest="",
        shape=(1, 8, 64, mask.shape[-1]),
        read_kspace=lambda index: np.zeros((8, 64, mask.shape[-1]), np.complex64),
        mask=mask,
        calibration=calibration,
        image_shape=(64, mask.shape[-1]),
        contrast="T2",
    )
    return dataclasses.replace(scan, **changes)  # type: ignore[arg-type]


def usual_mask(size: int = 96, acceleration: int = 2, lines: int = 24) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[::acceleration] = True
    mask[size // 2 - lines // 2 : size // 2 + lines // 2] = True
    return mask


def test_a_usual_scan_has_no_warning() -> None:
    assert data_warnings(scan_with(usual_mask()), 8) == []
    assert data_warnings(scan_with(np.random.default_rng(0).random((64, 96)) < 0.3, (24, 24)), 8) == []


def test_noise_of_a_head_in_a_wide_field_of_view(tmp_path: Path) -> None:
    """Where coil maps are masked the image has no noise; that must not become the noise of the image."""
    scan = open_scan(write_small_scan(tmp_path / "scan.h5", slices=1, noise=0.02))
    problem = solver_for(scan, ReconstructionOptions(method="zero-filled")).prepare(range(1)).problem
    assert shown_noise(problem) == pytest.approx(0.02, rel=0.15)
    inside = torch.zeros(problem.maps.shape[-2:])
    inside[20:30, 15:25] = 1
    assert shown_noise(dataclasses.replace(problem, maps=problem.maps * inside)) == pytest.approx(0.02, rel=0.15)
    assert shown_noise(dataclasses.replace(problem, maps=problem.maps * 0)) == 0


def test_each_warning_about_the_data() -> None:
    (few,) = data_warnings(scan_with(usual_mask(lines=12), (64, 12)), 8)
    assert "only 12 calibration lines" in few
    high = data_warnings(scan_with(usual_mask(acceleration=8)), 2)
    assert any("exceeds the number of coils (2)" in text for text in high)
    holed = usual_mask()
    holed[70:84] = False
    assert any("a gap of" in text for text in data_warnings(scan_with(holed), 8))
    partial = usual_mask()
    partial[:20] = False
    assert any("partial Fourier" in text for text in data_warnings(scan_with(partial), 8))
    padded = scan_with(partial, phase_limits=(20, 96))  # lines that nobody asked for are not missing
    assert data_warnings(padded, 8) == []


FINE = {"chi2": 1.0, "noise_inflation": 1.1, "denoising_inflation": 1.2, "scale_ratio": 2.0}


@pytest.mark.parametrize(
    ("figure", "value", "said"),
    [
        ("chi2", 1.5, "times what noise explains"),
        ("chi2", 0.5, "noise was fitted"),
        ("noise_inflation", 4.0, "the noise was raised 4.0 times"),
        ("denoising_inflation", 10.0, "differs from what the prior was trained on"),
        ("scale_ratio", 0.1, "image scale"),
        ("scale_ratio", 50.0, "image scale"),
    ],
)
def test_each_warning_about_the_result(figure: str, value: float, said: str) -> None:
    assert result_warnings(FINE) == []
    (text,) = result_warnings({**FINE, figure: value})
    assert said in text


def test_chi2_and_the_averaging_gain_of_exact_samples() -> None:
    """chi2 is one; the residual of the mean falls as the law says, here by construction of the spread."""
    case = gaussian_case(size=16)
    audits: list[SliceAudit] = []
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        problem = case.problem(case.truth(generator), generator)
        system = system_of(problem)
        draws = stochastic_dds(system, case.prior(), Schedule(0.5, 20, 0.01), BulkNoise(8, seed))
        solution = Solution(draws.means.mean(1), draws.samples, draws.network_calls, draws.denoising_ratios)
        audits += audit_slices(Prepared(problem, system, torch.ones(1)), solution)
    figures = summarise(audits)
    assert figures["chi2"] == pytest.approx(1, abs=0.05)
    assert figures["chi2_lowest"] > 0.6
    assert result_warnings(figures) == []
    assert figures["averaging_gain_db"] == pytest.approx(figures["averaging_gain_expected_db"], abs=0.15)
    assert figures["averaging_gain_db"] > 0.1


def test_a_single_sample_has_no_averaging_gain() -> None:
    audit = SliceAudit(0, (1.0,), 1.0, True, None, 0.1, 1.0, 1.0, 1.0, 2.0)
    assert all(math.isnan(value) for value in averaging_gain(audit))
    assert "averaging_gain_db" not in summarise([audit])
