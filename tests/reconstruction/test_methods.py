"""The table of methods: one row is all that a method needs, and everybody reads it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recon.benchmark import demonstration
from recon.benchmark.options import BenchmarkOptions, DemonstrationOptions
from recon.benchmark.uncertainty_options import UncertaintyOptions
from recon.errors import ReconError
from recon.images.result import read_result
from recon.prior.store import load_prior
from recon.reconstruction import classical, preparing
from recon.reconstruction.methods import METHODS, Method, method_of, options_of
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import one_slice, reconstruct_to_file
from recon.reconstruction.plan import stochastic_dds_plan
from recon.reconstruction.preparing import Prepared
from recon.reconstruction.solving import Solution, Task, required_sampling, required_system
from recon.scans.opening import open_scan
from recon.scans.options import UndersamplingOptions
from recon.scans.undersample import undersample
from recon.study.options import AccelerationOptions
from tests.small_world import write_small_prior, write_small_scan


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scan")
    full = open_scan(write_small_scan(folder / "full.h5"))
    undersample(full, folder / "fast.h5", UndersamplingOptions(acceleration=2, calibration_lines=12))
    return folder / "fast.h5"


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_prior(tmp_path_factory.mktemp("prior"))


def one_denoising(prepared: Prepared, task: Task) -> Solution:
    """A toy sampler: the conditional mean around one denoising of the zero-filled image's posterior draw."""
    given, system = required_sampling(task), required_system(prepared, task)
    sigma = given.plan.schedule.sigma_max
    image = system.start(given.prior.sigma_data**2, given.noise)
    denoised = given.prior.denoise(image, sigma)
    given.step()
    means = system.mean(denoised, system.sigma.new_full(system.sigma.shape, given.prior.variance(sigma)))
    return Solution(means.mean(1), means, image.shape[1])


TOY = Method(
    "one-denoising", "one denoising", "a toy with a single network call",
    preparing.refined_system, one_denoising, stochastic_dds_plan, frozenset({"samples"}), shown=True,
)  # fmt: skip

SMALLER: dict[str, Any] = {"size": (48, 40), "coils": 4, "slices": 1}


def test_a_sampler_is_one_row(
    run_cli: Callable[..., Any], fast: Path, prior: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the command line, the benchmark, held-out scores and the demonstration, with nothing else told."""
    monkeypatch.setitem(METHODS, TOY.name, TOY)
    words = ("reconstruct", fast, "--prior", prior, "--method", TOY.name, "--samples", 3, "--out", tmp_path, "--json")
    found = run_cli(*words)
    assert found.code == 0, found.err
    assert found.json["scans"][0]["network_calls"] == 3
    result = read_result(tmp_path / "fast.h5")
    assert result.attributes["method"] == TOY.name
    assert result.attributes["title"] == TOY.title
    assert result.std is not None
    full = fast.with_name("full.h5")
    table = run_cli(
        "benchmark", full, "--prior", prior, "--methods", f"{TOY.name},sense", "--acceleration", 2, "--json"
    )  # fmt: skip
    assert table.code == 0, table.err
    assert [row["method"] for row in table.json["rows"]] == [TOY.name, "sense"]
    held = run_cli("benchmark", fast, "--prior", prior, "--methods", TOY.name, "--hold-out", 0.2, "--json")
    assert held.code == 0, held.err
    assert held.json["rows"][0]["held_out_nrmse"] > 0
    monkeypatch.setattr(demonstration, "SMALL_SUBJECT", dataclasses.replace(demonstration.SUBJECT, **SMALLER))
    quick = DemonstrationOptions((2,), quick=True)
    made = demonstration.demonstrate(tmp_path / "demo", lambda: load_prior(prior), quick)
    assert TOY.name in {row["method"] for row in made.rows}
    assert TOY.name in run_cli("reconstruct", fast, "--method", "none", "--out", tmp_path / "no").err


def test_methods_are_known_in_any_case() -> None:
    assert method_of(ReconstructionOptions(method="SENSE")) is METHODS["sense"]
    assert BenchmarkOptions(methods=("SENSE", "Posterior")).methods == ("sense", "posterior")
    assert UncertaintyOptions(method="DDS").method == "dds"
    assert AccelerationOptions(methods=("L1-Wavelet",)).methods == ("l1-wavelet",)


def test_unknown_methods_and_unread_options_are_refused(
    run_cli: Callable[..., Any], fast: Path, tmp_path: Path
) -> None:
    with pytest.raises(ReconError, match="unknown method 'magic'; choose from posterior"):
        method_of(ReconstructionOptions(method="magic"))
    for words, said in (
        (("--method", "zero-filled", "--weight", "0.1"), "--weight has no meaning for method 'zero-filled'"),
        (("--method", "sense", "--steps", "3"), "--steps has no meaning for method 'sense'"),
    ):
        found = run_cli("reconstruct", fast, "--out", tmp_path / "out", *words)
        assert found.code == 2
        assert said in found.err


def test_options_of_keeps_what_a_method_reads() -> None:
    common = ReconstructionOptions(samples=2, weight=0.1, coils=5, seed=3)
    sense = options_of(METHODS["sense"], common)
    assert (sense.method, sense.samples, sense.weight, sense.coils, sense.seed) == ("sense", None, 0.1, 5, 3)
    for row in METHODS.values():
        method_of(options_of(row, common))


@pytest.mark.parametrize("method", ["zero-filled", "sense", "l1-wavelet"])
def test_one_image_wherever_it_is_asked_for(method: str, fast: Path, tmp_path: Path) -> None:
    """The PNG panel, held-out scores and oracles take single slices: the very image of ``recon reconstruct``.

    Before, three CG-SENSEs disagreed on the noise, and so on the default weight."""
    scan, options = open_scan(fast), ReconstructionOptions(method=method)
    reconstruct_to_file(scan, options, tmp_path / "r.h5")
    stored = read_result(tmp_path / "r.h5").reconstruction
    for index in range(scan.shape[0]):
        assert np.array_equal(one_slice(scan, index, options), stored[index])


def test_sense_raises_the_noise_where_no_image_explains_the_data(fast: Path) -> None:
    """The default weight of CG-SENSE rests on the noise that the data show, not on what the noise scan says."""
    scan = open_scan(fast)
    assert scan.noise is not None
    quiet = dataclasses.replace(scan, noise=scan.noise * np.float32(0.2))
    measured = [preparing.measure(one, ReconstructionOptions()) for one in (scan, quiet)]
    loud, silent = (preparing.calibrated_system(m, range(1), ReconstructionOptions()) for m in measured)
    assert float(silent.noise_inflation) > 2 * float(loud.noise_inflation)
    images = [
        p.problem.magnitude(classical.cg_sense(p, Task(scan, ReconstructionOptions(method="sense"))).image)
        for p in (loud, silent)
    ]
    assert float((images[0] - images[1]).norm() / images[0].norm()) < 0.1


@pytest.mark.parametrize(("samples", "calls"), [(0, 3), (1, 11), (2, 19)])
def test_the_image_does_not_depend_on_how_many_samples_are_drawn(
    samples: int, calls: int, run_cli: Callable[..., Any], fast: Path, prior: Path, tmp_path: Path
) -> None:
    """Samples are for the standard deviation and chi2: none leaves both out, one has chi2 alone."""
    words = ("reconstruct", fast, "--prior", prior, "--steps", 3, "--json")
    found = run_cli(*words, "--samples", samples, "--out", tmp_path / "some")
    assert found.code == 0, found.err
    (entry,) = found.json["scans"]
    assert entry["network_calls"] == calls
    assert ("chi2" in entry) == (samples > 0)
    assert "mean_chi2" in entry
    some = read_result(tmp_path / "some" / "fast.h5")
    assert (some.std is not None) == (samples > 1)
    run_cli(*words, "--samples", 4, "--out", tmp_path / "more")
    assert np.array_equal(some.reconstruction, read_result(tmp_path / "more" / "fast.h5").reconstruction)
