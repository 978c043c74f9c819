"""The GPU path without a GPU: fake tensors on ``cuda:0`` have devices and shapes but no values.

A tensor left on another device raises, and so does anything that would make the processor wait for a value.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from recon.acquisition import espirit
from recon.acquisition.problem import CoilPreprocessing, Problem, calibrate
from recon.posterior import hybrid_modes, iterative, refinement
from recon.posterior.hybrid_space import hybrid_space_solver
from recon.posterior.iterative import iterative_system
from recon.posterior.mean_recursion import mean_recursion
from recon.posterior.pula import pula
from recon.posterior.random_streams import AntitheticNoise, NoiseStreams
from recon.posterior.sampler import DiffusionPrior
from recon.posterior.schedule import Schedule
from recon.posterior.stochastic_dds import stochastic_dds
from recon.prior.denoiser import Denoiser, build_denoiser
from recon.prior.options import NetworkOptions
from recon.prior.store import Prior, PriorFacts
from recon.reconstruction.denoising import denoise_with
from recon.reconstruction.machine import Stopwatch
from recon.scan import Scan

SLICES, COILS, ROWS, COLUMNS = 2, 4, 24, 20
NETWORK = NetworkOptions(channels=(8,))


class FakeNoise(NoiseStreams):
    """Generators need a real device; everything else about the noise is the same."""

    def __init__(self, samples: int) -> None:
        super().__init__(0, "", [], [])
        self.samples = samples

    def __call__(self, *shape: int) -> Tensor:
        return torch.view_as_complex(torch.randn((SLICES, self.samples, *shape, 2), device="cuda:0"))


@pytest.fixture
def denoiser() -> Denoiser:
    """Made before the fake mode begins, so that its initialisation has values to work on."""
    return build_denoiser(NETWORK, 0.5, 0).eval().requires_grad_(False)


@pytest.fixture
def fake() -> Iterator[FakeTensorMode]:
    with FakeTensorMode(allow_non_fake_inputs=False) as mode:
        yield mode


def fake_problem(dimensions: int) -> Problem:
    def empty(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.complex64, device="cuda:0")

    return Problem(
        slices=(0, 1),
        kspace=empty(SLICES, COILS, ROWS, COLUMNS),
        mask=torch.empty((ROWS, COLUMNS)[2 - dimensions :], dtype=torch.bool, device="cuda:0"),
        maps=empty(SLICES, 1, COILS, ROWS, COLUMNS),
        scale=torch.empty(SLICES, device="cuda:0"),
        sigma=torch.empty(SLICES, device="cuda:0"),
        restore_coils=empty(COILS, COILS),
        crop=(slice(0, ROWS), slice(0, COLUMNS)),
    )


def on_the_device(denoiser: Denoiser) -> Prior:
    """The prior with fake weights on ``cuda:0``; call it inside the fake mode."""
    for module in denoiser.modules():
        for name, weight in module.named_parameters(recurse=False):
            blank = torch.empty(weight.shape, dtype=weight.dtype, device="cuda:0")
            setattr(module, name, torch.nn.Parameter(blank, requires_grad=False))
    facts = PriorFacts(NETWORK, 0.5, {"unknown": 0, "T2": 1}, (0.01, 1.0), (1e-4, 0.1))
    return Prior(denoiser, facts, Path("fake"))


def test_the_mode_finds_what_it_is_meant_to_find(fake: FakeTensorMode) -> None:
    left = torch.ones(3, device="cuda:0")
    with pytest.raises(RuntimeError, match="device"):
        left + torch.ones(3)
    with pytest.raises(DataDependentOutputException):
        left.sum().item()


@pytest.mark.parametrize("sampler", ["stochastic-dds", "pula", "antithetic pairs"])
def test_samplers_stay_on_the_device_and_never_wait(
    sampler: str, denoiser: Denoiser, fake: FakeTensorMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set-up and the whole loop: no copy to the host, and but for the support of the rows no value read."""
    rows = list(range(SLICES * ROWS))
    supports = [(12, rows[:20], [10] * 20), (16, rows[20:40], [16] * 20)]
    monkeypatch.setattr(hybrid_modes, "_widths", lambda _: supports)
    problem, prior, noise = fake_problem(1), on_the_device(denoiser), FakeNoise(3)
    seen = DiffusionPrior(denoise_with(prior, 1, Stopwatch()), prior.denoiser_variance, 0.5)
    schedule = Schedule(1.0, 2)
    if sampler == "pula":
        draws = pula(hybrid_space_solver(problem), seen, schedule, noise)
    elif sampler == "stochastic-dds":
        draws = stochastic_dds(hybrid_space_solver(problem), seen, schedule, noise)
    else:
        draws = stochastic_dds(hybrid_space_solver(problem), seen, schedule, AntitheticNoise(noise, 3), flips=True)
    assert draws.samples.shape == (SLICES, 3, 1, ROWS, COLUMNS)
    assert draws.samples.device == draws.means.device == draws.denoising_ratios.device == torch.device("cuda:0")
    if sampler == "antithetic pairs":
        means, ratios = mean_recursion(hybrid_space_solver(problem), seen, schedule, noise, 3)
        assert means.shape == (SLICES, 3, 1, ROWS, COLUMNS)
        assert means.device == ratios.device == torch.device("cuda:0")


def test_conjugate_gradients_stay_on_the_device(
    denoiser: Denoiser, fake: FakeTensorMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but their stopping rule, which has to read one number."""
    problem, prior, noise = fake_problem(2), on_the_device(denoiser), FakeNoise(2)
    asked: list[torch.device] = []

    def not_yet(done: Tensor) -> bool:
        asked.append(done.device)
        return len(asked) % 4 in (3, 0)  # two steps, then both loops end

    monkeypatch.setattr(iterative, "_all", not_yet)
    system = iterative_system(problem)
    draws = stochastic_dds(
        system,
        DiffusionPrior(denoise_with(prior, 0, Stopwatch()), prior.denoiser_variance, 0.5),
        Schedule(1.0, 2),
        noise,
    )
    assert draws.samples.device == torch.device("cuda:0")
    assert set(asked) == {torch.device("cuda:0")}
    assert system.residual(draws.samples).shape == (SLICES, 2)


@pytest.mark.parametrize("sets", [1, 2])
def test_calibration_stays_on_the_device(sets: int, fake: FakeTensorMode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Coil maps, scale and phase; the check for an empty calibration reads one number and is left out here."""
    from recon.acquisition import problem as module

    scan = small_scan()
    kspace = fake_problem(1).kspace
    monkeypatch.setattr(module, "read_slices", lambda *_: kspace)
    monkeypatch.setattr(espirit, "_check_signal", lambda _: None)
    matrix = torch.empty((COILS, COILS), dtype=torch.complex64, device="cuda:0")
    preprocessing = CoilPreprocessing(None, matrix, matrix, 0.01)  # type: ignore[arg-type]
    problem = calibrate(scan, preprocessing, [0, 1], map_sets=sets, device="cuda:0")
    for tensor in (problem.kspace, problem.mask, problem.maps, problem.scale, problem.sigma, problem.restore_coils):
        assert tensor.device == torch.device("cuda:0")
    assert problem.maps.shape == (SLICES, sets, COILS, ROWS, COLUMNS)
    assert problem.magnitude(problem.maps[:, :, 0]).shape == (SLICES, ROWS, COLUMNS)


def small_scan() -> Scan:
    mask = np.ones(COLUMNS, bool)
    return Scan(
        path=Path("fake.h5"),
        digest="",
        shape=(SLICES, COILS, ROWS, COLUMNS),
        read_kspace=lambda index: np.zeros((COILS, ROWS, COLUMNS), np.complex64),
        mask=mask,
        calibration=(ROWS, 12),
        image_shape=(ROWS, COLUMNS),
        contrast="T2",
    )


def test_refined_maps_stay_on_the_device(fake: FakeTensorMode) -> None:
    problem = fake_problem(1)
    image = torch.empty(problem.maps.shape[-2:], dtype=torch.complex64, device="cuda:0")
    acquired = torch.empty(ROWS * COLUMNS // 2, dtype=torch.int64, device="cuda:0")
    maps = refinement._corrected(problem.kspace[0], image, problem.maps[0, 0], acquired, 3)
    assert maps.device == torch.device("cuda:0")
    assert maps.shape == problem.maps[0, 0].shape
    assert refinement._unexplained(problem, problem.kspace).device == torch.device("cuda:0")
