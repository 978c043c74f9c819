"""Memory that samples would need is compared with what there is, before anything is drawn."""

from pathlib import Path

import pytest

from recon.configuration import load_config
from recon.errors import ReconError
from recon.prior.store import load_prior
from recon.reconstruction import machine
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import reconstruct
from recon.scans.opening import open_scan
from tests.small_world import write_small_prior, write_small_scan


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("samples: 18446744073709551615", "samples must be at most 1000, not 18446744073709551615"),
        ("samples: 1001", "samples must be at most 1000, not 1001"),
        ("steps: 2020001", "steps must be at most 100000, not 2020001"),
        # Squares of the first two are no numbers, the image of the third is zero everywhere.
        ("sigma_max: 1.0e+300", "sigma_max must be from 1e-06 to 10000 in units of the image scale"),
        ("sigma_min: 1.0e-300", "sigma_min must be from 1e-06 to 10000 in units of the image scale"),
        ("weight: 1.0e+300", "weight must be from 1e-12 to 10000 in units of the image scale"),
    ],
)
def test_numbers_that_no_memory_patience_or_arithmetic_holds(line: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "reconstruct.yaml"
    path.write_text(line)
    with pytest.raises(ReconError, match=words) as refusal:
        load_config(ReconstructionOptions, path)
    assert str(refusal.value).startswith(f"{path}: ")


def test_samples_that_do_not_fit_are_refused_before_they_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_small_scan(tmp_path / "scan.h5", slices=1)
    prior = load_prior(write_small_prior(tmp_path / "prior"))
    monkeypatch.setattr(machine, "memory_of", lambda _: 1e8)
    with pytest.raises(ReconError, match=r"400 samples need at least 0\.2 GB of memory, 0\.1 GB can be had") as refusal:
        reconstruct(open_scan(path), prior, ReconstructionOptions(steps=2, samples=400))
    assert str(refusal.value).startswith(f"{path}: ")
    assert reconstruct(open_scan(path), prior, ReconstructionOptions(steps=2, samples=2)).std is not None


def test_the_memory_of_this_machine() -> None:
    assert 2e8 < machine.memory_of("cpu") < 1e14
