"""The Python face: what a notebook does in ten lines."""

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import recon
from recon import ReconError, load_prior, open_scan, reconstruct
from recon.images.result import read_result
from recon.reconstruction.pipeline import reconstruct_to_file
from tests.small_world import write_small_prior, write_small_scan


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_prior(tmp_path_factory.mktemp("prior"))


def test_in_memory_is_what_the_command_writes_to_the_bit(prior: Path, tmp_path: Path) -> None:
    scan, loaded = open_scan(write_small_scan(tmp_path / "scan.h5")), load_prior(prior, device="cpu")
    result = reconstruct(scan, loaded, samples=2, steps=2, seed=5, keep_samples=True, device="cpu")
    options = recon.ReconstructionOptions(samples=2, steps=2, seed=5, keep_samples=True)
    reconstruct_to_file(scan, options, tmp_path / "r.h5", loaded)
    stored = read_result(tmp_path / "r.h5")
    for name in ("reconstruction", "std", "zero_filled", "samples"):
        assert np.array_equal(getattr(result, name), getattr(stored, name)), name
    assert result.configuration == stored.configuration
    assert result.audit["figures"] == stored.audit["figures"]
    assert isinstance(result.audit["warnings"], list)


def test_a_path_and_a_classical_method_need_no_prior(tmp_path: Path) -> None:
    result = reconstruct(write_small_scan(tmp_path / "scan.h5"), method="sense", weight=0.01)
    assert result.reconstruction.shape == (2, 48, 40)
    assert result.std is None


def test_mistakes_say_what_to_do(tmp_path: Path) -> None:
    scan = open_scan(write_small_scan(tmp_path / "scan.h5"))
    for settings, said in (
        ({"method": "magic"}, "choose from posterior"),
        ({"sampels": 3}, "no option 'sampels'; known: method, samples"),
        ({"samples": -1}, "samples must be at least 0"),
        ({"method": "sense", "samples": 3}, "--samples has no meaning"),
    ):
        with pytest.raises(ReconError, match=said):
            reconstruct(scan, **settings)  # type: ignore[arg-type]


def test_importing_recon_is_light_and_its_names_are_documented() -> None:
    code = "import sys, recon; print(sorted({'torch', 'numpy', 'h5py'} & set(sys.modules)), recon.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "[]"
    for name in recon.__all__:
        assert getattr(recon, name) is not None
    for function in (open_scan, load_prior, reconstruct):
        text = inspect.getdoc(function) or ""
        assert "Raises" in text
    for argument in inspect.signature(reconstruct).parameters:
        if argument not in ("settings",):
            assert f"{argument}:" in (inspect.getdoc(reconstruct) or "")
