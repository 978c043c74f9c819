"""The whole path from a scan file to a result: invariances, bad input, interruption."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from recon.acquisition.fourier import centre_slice
from recon.images.references import read_reference
from recon.images.result import read_result
from recon.prior.denoiser import build_denoiser
from recon.prior.options import NetworkOptions
from recon.prior.store import Prior, PriorFacts, load_prior, save_prior, shipped_prior
from recon.quality.metrics import nrmse
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import Outcome, reconstruct_to_file
from recon.scans.fastmri import ScanDescription, write_fastmri
from recon.scans.opening import open_scan
from recon.scans.options import UndersamplingOptions
from recon.scans.undersample import undersample
from recon.simulate.cohort import simulate_cohort
from recon.simulate.options import SimulationOptions
from tests.acquisition.test_acquisition import head_kspace
from tests.faults.processes import start, wait
from tests.numerical_threads import numerical_threads

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def tiny_prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior with random weights: statistics of its samples mean nothing, the path they take is the real one."""
    folder = tmp_path_factory.mktemp("prior")
    options = NetworkOptions(channels=(8,))
    denoiser = build_denoiser(options, 0.5, 0)
    with torch.no_grad():  # a fresh network has a zero last layer
        denoiser.network.conv_out.weight.normal_(std=0.02, generator=torch.Generator().manual_seed(0))  # type: ignore[union-attr,operator]
    sigmas = (0.01, 0.1, 1.0, 10.0)
    facts = PriorFacts(options, 0.5, {"unknown": 0, "T2": 1}, sigmas, (1e-4, 5e-3, 0.05, 0.2))
    save_prior(folder, denoiser, facts, "random weights")
    return folder


def write_scan(path: Path, *, scale: float = 1.0, slices: int = 3, dimensions: int = 1, contrast: str = "AXT2") -> Path:
    """A small undersampled scan in the fastMRI form."""
    # A power of two scales floating-point numbers without rounding.
    kspace = (
        torch.cat([head_kspace(0.05 * (1 + i), rows=48, columns=40, coils=4, seed=i) for i in range(slices)]) * scale
    )
    mask = torch.arange(40) % 3 == 0
    mask[centre_slice(40, 16)] = True
    if dimensions == 2:
        mask = torch.rand((48, 40), generator=torch.Generator().manual_seed(0)) < 0.3
        mask[centre_slice(48, 16), centre_slice(40, 16)] = True
    kspace = kspace * mask
    with write_fastmri(
        path, ScanDescription(shape=tuple(kspace.shape), mask=mask.numpy(), contrast=contrast, image_shape=(48, 40))
    ) as writer:
        for index, entry in enumerate(kspace):
            writer.put(index, entry.numpy())
    return path


def images(path: Path) -> np.ndarray:
    return read_result(path).reconstruction


def run(scan: Path, prior: Path | Prior, out: Path, **options: object) -> Outcome:
    loaded = prior if isinstance(prior, Prior) else load_prior(prior)
    chosen = ReconstructionOptions(**{"samples": 2, "steps": 3, "keep_samples": True, **options})  # type: ignore[arg-type]
    return reconstruct_to_file(open_scan(scan), chosen, out, loaded)


@pytest.mark.slow
def test_the_default_is_as_good_as_many_more_langevin_steps(tmp_path: Path) -> None:
    """With a trained prior, whose errors are not those of an exact denoiser: the default's posterior mean is no worse
    than that of the asymptotically exact sampler, to which it is an approximation, with three times the work."""
    options = SimulationOptions(size=(112, 96), coils=8, slices=1, snr=30.0, stroke=True, seed=77)
    simulate_cohort(tmp_path / "full", 1, ["FLAIR"], options)
    full = next((tmp_path / "full").glob("*_FLAIR.h5"))
    undersample(open_scan(full), tmp_path / "fast.h5", UndersamplingOptions(acceleration=4, calibration_lines=16))
    scan, prior = open_scan(tmp_path / "fast.h5"), load_prior(shipped_prior())
    truth = read_reference(full).values
    errors = {}
    for name, options in {
        "default": ReconstructionOptions(),
        "pula": ReconstructionOptions(method="pula", steps=48),
    }.items():
        reconstruct_to_file(scan, options, tmp_path / f"{name}.h5", prior)
        errors[name] = nrmse(images(tmp_path / f"{name}.h5"), truth)
    assert errors["default"] < 1.03 * errors["pula"]


@pytest.mark.parametrize(("scale", "tolerance"), [(1024.0, 1e-5), (3e-5, 2e-3)])
@pytest.mark.parametrize("dimensions", [1, 2])
def test_a_scaled_scan_gives_the_scaled_image(
    dimensions: int, scale: float, tolerance: float, tiny_prior: Path, tmp_path: Path
) -> None:
    """y -> a y gives x -> a x. The random streams are named by the header, so both scans get the same.

    A power of two scales without rounding; any other factor changes last bits, and bf16 makes 1e-3 of those."""
    first = open_scan(write_scan(tmp_path / "a.h5", dimensions=dimensions, slices=1))
    second = open_scan(write_scan(tmp_path / "b.h5", dimensions=dimensions, scale=scale, slices=1))
    assert second.digest != first.digest
    prior, options = load_prior(tiny_prior), ReconstructionOptions(samples=2, steps=3)
    for scan, name in ((first, "ra.h5"), (second, "rb.h5")):
        reconstruct_to_file(scan, options, tmp_path / name, prior)
    one, other = read_result(tmp_path / "ra.h5"), read_result(tmp_path / "rb.h5")
    assert one.std is not None
    assert other.std is not None
    for left, right in ((one.reconstruction, other.reconstruction), (one.std, other.std)):
        assert np.abs(right - scale * left).max() <= tolerance * np.abs(right).max()


@pytest.mark.parametrize("dimensions", [1, 2])
def test_a_result_depends_on_the_seed_and_on_nothing_else(dimensions: int, tiny_prior: Path, tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "scan.h5", slices=2, dimensions=dimensions)
    prior = load_prior(tiny_prior)
    run(scan, prior, tmp_path / "one.h5", batch=1)
    run(scan, prior, tmp_path / "both.h5", batch=2)
    run(scan, prior, tmp_path / "other.h5", seed=1)
    one, both, other = (read_result(tmp_path / f"{name}.h5") for name in ("one", "both", "other"))
    assert one.samples is not None
    assert both.samples is not None
    # Equal to the bit where sums and products round alike in batches, as they do here; a library that rounds otherwise
    # may cost single precision, of which bf16 makes a flipped last bit (4e-3 of one number); another draw is off by 1.
    assert np.abs(one.samples - both.samples).max() <= 1e-5 * np.abs(one.samples).max()
    assert np.abs(one.reconstruction - both.reconstruction).max() <= 1e-5 * one.reconstruction.max()
    assert one.audit["plan"] == both.audit["plan"]
    assert other.samples is not None
    assert np.abs(other.samples - one.samples).max() > 1e-2 * np.abs(one.samples).max()


def test_the_command_reports_and_keeps_what_is_done(
    run_cli: Callable[..., Any], tiny_prior: Path, tmp_path: Path
) -> None:
    """Order of scans does not matter; a second run of a cohort continues."""
    for name in ("a", "b"):
        write_scan(tmp_path / f"{name}.h5", slices=1, scale=1.0 if name == "a" else 2.0)
    words = ("reconstruct", "--prior", tiny_prior, "--samples", 2, "--steps", 2, "--json")
    first = run_cli(*words, tmp_path / "a.h5", tmp_path / "b.h5", "--out", tmp_path / "one")
    assert first.code == 0, first.err
    entries = first.json["scans"]
    assert [entry["kept"] for entry in entries] == [False, False]
    assert {"chi2", "network_calls", "seconds", "stages", "warnings"} <= set(entries[0])
    stages = entries[0]["stages"]
    assert {"calibration", "solver set-up", "network", "data consistency", "writing", "audit"} <= set(stages)
    assert sum(stages.values()) - stages["total"] == pytest.approx(stages["total"], rel=0.1)  # nothing is left out
    stored = read_result(tmp_path / "one" / "a.h5").audit["seconds"]
    assert stored["network"] == pytest.approx(stages["network"], abs=1e-3)
    second = run_cli(*words, tmp_path / "b.h5", tmp_path / "a.h5", "--out", tmp_path / "two")
    assert second.code == 0
    for name in ("a", "b"):
        assert np.array_equal(images(tmp_path / "one" / f"{name}.h5"), images(tmp_path / "two" / f"{name}.h5"))
    (tmp_path / "two" / "a.h5").unlink()
    plain = run_cli(*words[:-1], tmp_path / "a.h5", "--out", tmp_path / "three")
    assert re.search(r"network \d+ %, data consistency \d+ %, everything else \d+ %", plain.out)
    again = run_cli(*words, tmp_path / "b.h5", tmp_path / "a.h5", "--out", tmp_path / "two")
    assert [entry["kept"] for entry in again.json["scans"]] == [True, False]
    assert np.array_equal(images(tmp_path / "one" / "a.h5"), images(tmp_path / "two" / "a.h5"))


def edit(path: Path, change: Callable[[h5py.File], None]) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


def with_nan(file: h5py.File) -> None:
    file["kspace"][1, 0, 5, 21] = np.nan


def with_zeros(file: h5py.File) -> None:
    file["kspace"][...] = 0


def without_mask(file: h5py.File) -> None:
    file["mask"][...] = 0
    file["kspace"][...] = 0


def with_dead_coil(file: h5py.File) -> None:
    file["kspace"][:, 2] = 0


def without_calibration(file: h5py.File) -> None:
    file["kspace"][..., 13:28] = 0
    if "mask" in file:
        file["mask"][13:28] = 0


def with_other_mask(file: h5py.File) -> None:
    del file["mask"]
    file["mask"] = np.ones(17, np.float32)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_nan, "NaN"),
        (with_zeros, "zero|nothing was acquired|empty|not sampled|calibration"),
        (without_mask, "mask|zero|sampled"),
        (with_dead_coil, r"coil\(s\) \[2\]"),
        (without_calibration, "calibration"),
        (with_other_mask, "mask"),
    ],
)
def test_a_scan_that_cannot_be_reconstructed_is_one_clear_line(
    change: Callable[[h5py.File], None], said: str, run_cli: Callable[..., Any], tiny_prior: Path, tmp_path: Path
) -> None:
    scan = write_scan(tmp_path / "scan.h5")
    edit(scan, change)
    found = run_cli("reconstruct", scan, "--prior", tiny_prior, "--out", tmp_path / "out")
    assert found.code == 2
    line = found.err.strip().splitlines()[-1]
    assert re.search(said, line), line
    assert "scan.h5" in line or "coil" in line
    assert "Traceback" not in found.err
    assert not list((tmp_path / "out").glob("*"))
    assert not list((tmp_path / "out").glob(".*"))


def test_an_unknown_contrast_is_named_or_warned_about(
    run_cli: Callable[..., Any], tiny_prior: Path, tmp_path: Path
) -> None:
    scan = write_scan(tmp_path / "scan.h5", slices=1, contrast="AXFLAIR")
    words = ("reconstruct", scan, "--prior", tiny_prior, "--samples", 1, "--steps", 1, "--json")
    refused = run_cli(*words, "--out", tmp_path / "one", "--contrast", "PD")
    assert refused.code == 2
    assert "'PD' is unknown to the prior" in refused.err
    warned = run_cli(*words, "--out", tmp_path / "two")
    assert warned.code == 0, warned.err
    assert any("unknown to the prior" in text for text in warned.json["scans"][0]["warnings"])


@pytest.mark.parametrize("damage", ["missing", "config.json", "weights", "truncated", "key", "network"])
def test_a_prior_that_is_missing_or_altered_is_named(
    damage: str, run_cli: Callable[..., Any], tiny_prior: Path, tmp_path: Path
) -> None:
    scan, folder = write_scan(tmp_path / "scan.h5", slices=1), tmp_path / "prior"
    weights = folder / "diffusion_pytorch_model.safetensors"
    if damage != "missing":
        shutil.copytree(tiny_prior, folder)
    if damage == "config.json":
        (folder / "config.json").unlink()
    elif damage == "weights":
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(bytes(content))
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "key":
        facts = json.loads((folder / "prior.json").read_text())
        facts["sigma_dat"] = facts.pop("sigma_data")
        (folder / "prior.json").write_text(json.dumps(facts))
    elif damage == "network":
        config = json.loads((folder / "config.json").read_text())
        config["block_out_channels"] = [16, 32]
        (folder / "config.json").write_text(json.dumps(config))
    found = run_cli("reconstruct", scan, "--prior", folder, "--out", tmp_path / "out")
    assert found.code == 2
    said = {
        "missing": "is missing",
        "config.json": "config.json is missing",
        "weights": "altered or truncated",
        "truncated": "altered or truncated",
        "key": "did you mean 'sigma_data'",
        "network": "'block_out_channels' is not what prior.json says",
    }[damage]
    assert said in found.err.strip().splitlines()[-1]


def test_a_full_disk_is_one_clear_line(
    run_cli: Callable[..., Any], tiny_prior: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recon import hdf5

    scan = write_scan(tmp_path / "scan.h5", slices=1)

    real = hdf5._DiskFile

    class Full(real):  # type: ignore[valid-type,misc]
        def write(self, data: object) -> int:
            view = memoryview(data).cast("B")  # type: ignore[arg-type]
            self.failure = self.failure or OSError(28, "No space left on device")
            self.seek(len(view), os.SEEK_CUR)
            return len(view)

    monkeypatch.setattr(hdf5, "_DiskFile", Full)
    out = tmp_path / "out"
    found = run_cli("reconstruct", scan, "--prior", tiny_prior, "--samples", 1, "--steps", 1, "--out", out)
    assert found.code == 2
    assert "No space left" in found.err
    assert not list(out.iterdir())


def own_streams() -> None:
    """In a forked process: what is said goes where its descriptors point, not to what pytest has put in their place."""
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))


def test_an_interruption_leaves_nothing_and_the_next_run_continues(tiny_prior: Path, tmp_path: Path, run_cli) -> None:
    """Ctrl-C in the middle of a scan, in a process forked off this one: 130, no temporary file, and the same command
    then goes through."""
    for name in ("a", "b"):
        write_scan(tmp_path / f"{name}.h5", slices=1)
    out = tmp_path / "out"
    words = ["reconstruct", *(str(tmp_path / f"{name}.h5") for name in ("a", "b"))]
    words += ["--prior", str(tiny_prior), "--out", str(out)]
    began = time.monotonic()
    with numerical_threads(1):  # no pool of threads, which a forked process would wait for
        slow, pipes = start([*words, "--samples", "1", "--steps", "40000"], fault=own_streams)
    while not list(out.glob(".*.h5")) and time.monotonic() - began < 120:
        time.sleep(0.05)
    os.kill(slow, signal.SIGINT)
    ended = wait(slow, pipes, began, limit=180)
    assert ended.code == 130, ended.err
    assert "interrupted" in ended.err
    assert "Traceback" not in ended.err
    assert not list(out.iterdir())
    done = run_cli(*words, "--samples", "1", "--steps", "1")
    assert done.code == 0, done.err
    assert sorted(path.name for path in out.iterdir()) == ["a.h5", "b.h5"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_slices(tiny_prior: Path, tmp_path: Path) -> None:
    """Peak memory of a whole run of 16 slices against 2: a slice is 17 MB of kspace and 100 MB of eigenvectors here."""
    shape = (16, 256, 256)
    mask = torch.arange(shape[-1]) % 4 == 0
    mask[centre_slice(shape[-1], 20)] = True
    one = head_kspace(0.05, rows=shape[1], columns=shape[2], coils=shape[0]) * mask
    peaks = []
    for slices in (2, 16):
        scan = tmp_path / f"{slices}.h5"
        with write_fastmri(
            scan, ScanDescription(shape=(slices, *shape), mask=mask.numpy(), contrast="AXT2", image_shape=shape[1:])
        ) as writer:
            for index in range(slices):
                writer.put(index, one[0].numpy())
        words = ["reconstruct", str(scan), "--prior", str(tiny_prior), "--out", str(tmp_path / "out")]
        program = (
            "import resource\nfrom cli.main import main\n"
            f"try:\n    main({[*words, '--samples', '1', '--steps', '1']!r})\nexcept SystemExit as stop:\n"
            "    assert not stop.code\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.splitlines()[-1]))
    assert peaks[1] <= 1.15 * peaks[0], peaks
