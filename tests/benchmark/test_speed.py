"""``recon speed``: what is measured is there, is positive, and adds up."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from recon.benchmark.speed import in_full_precision
from recon.prior.denoiser import denoise
from recon.prior.store import load_prior, shipped_prior
from recon.reconstruction.machine import Stopwatch
from tests.conftest import Outcome

SMALL = (
    "--size", "32,32", "--coils", "4", "--slices", "2", "--training-steps", "1", "--training-batch", "1",
    "--device", "cpu",
)  # fmt: skip


def test_the_command_measures_everything(tmp_path: Path, run_cli: Callable[..., Outcome]) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text("network: {channels: [8, 16]}\ncrop: 16\n")
    report = tmp_path / "speed.md"
    outcome = run_cli("speed", *SMALL, "--recipe", recipe, "--report", report, "--json")
    assert outcome.code == 0, outcome.err
    found = outcome.json
    assert [row["network"] for row in found["reconstruction"]] == ["prior", f"{recipe}, untrained"]
    for row in found["reconstruction"]:
        assert row["slices"] == 2
        assert row["network_calls"] == 32
        assert {"calibration", "solver set-up", "network", "data consistency"} <= set(row["seconds"])
        assert all(seconds >= 0 for seconds in row["seconds"].values())
        # Stages do not overlap, so together they take no longer than all of it, and nearly as long.
        assert 0.5 < sum(row["seconds"].values()) / row["seconds_a_slice"] <= 1
        assert row["peak_memory"] > 1e8
    assert all(seconds > 0 for seconds in found["network_seconds_a_call"].values())
    assert found["training"]["parameters"] == found["reconstruction"][1]["parameters"]
    assert found["training"]["images_a_second"] == pytest.approx(1 / found["training"]["seconds_a_step"])
    assert found["precision"]["low_against_full"] < 0.01
    said = report.read_text()
    assert "prior" in said
    low = found["machine"]["precision"] == "bf16"
    assert ("The image in bf16 differs" in said) == low
    assert ("no lower one to compare with" in said) != low  # no difference of single precision from itself
    assert not set(found["machine"]) & {"node", "hostname", "user"}


def test_full_precision_is_not_low_precision() -> None:
    """The comparison would be of nothing if autocast reached inside."""
    prior = load_prior(shipped_prior())
    image = torch.view_as_complex(torch.randn((1, 32, 32, 2), generator=torch.Generator().manual_seed(0)))
    sigma, label = torch.tensor([0.3]), torch.tensor([0])
    with torch.no_grad():
        exact = prior.denoiser(image, sigma, label)
        with torch.autocast("cpu", torch.bfloat16):
            low = prior.denoiser(image, sigma, label)
            full = in_full_precision(prior).denoiser(image, sigma, label)
    torch.testing.assert_close(full, exact)
    assert float((low - exact).norm() / exact.norm()) > 1e-4
    assert denoise(in_full_precision(prior).denoiser, image, 0.3, 0).shape == image.shape


def test_a_stopwatch_waits_before_and_after_a_stage() -> None:
    waited: list[str] = []
    watch = Stopwatch(wait=lambda: waited.append("waited"))
    with watch.stage("stage"):
        assert waited == ["waited"]
    assert waited == ["waited", "waited"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--recipe", "nothing.yaml"), "nothing.yaml"),
        (("--acceleration", "99"), "16"),
        (("--size", "4"), "out of range"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    words: tuple[str, ...], message: str, run_cli: Callable[..., Outcome]
) -> None:
    outcome = run_cli("speed", *SMALL, *words)
    assert outcome.code == 2
    assert message in outcome.err
