"""A scan in other units is the same scan: every method gives the same image, times the unit."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from recon.acquisition.rss import reference_image
from recon.errors import ReconError
from recon.prior.store import Prior, load_prior
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import reconstruct
from recon.scans.inspection import inspect
from recon.scans.opening import open_scan
from recon.scans.options import UndersamplingOptions
from recon.scans.undersample import undersample
from tests.small_world import write_small_prior, write_small_scan

SCALES = (1e-40, 1e-30, 1e-20, 1e20, 1e30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scales")
    full = write_small_scan(folder / "full.h5", slices=1)
    undersample(open_scan(full), folder / "fast.h5", UndersamplingOptions(acceleration=2, calibration_lines=14))
    return folder


@pytest.fixture(scope="module")
def prior(folder: Path) -> Prior:
    return load_prior(write_small_prior(folder / "prior"))


def changed(source: Path, output: Path, change: Callable[[h5py.File], None]) -> Path:
    shutil.copy(source, output)
    with h5py.File(output, "r+") as file:
        change(file)
    return output


def times(scale: float) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        for name in ("kspace", "recon/noise"):
            file[name][...] = (file[name][()].astype(np.complex128) * scale).astype(np.complex64)

    return change


def with_covariance(file: h5py.File) -> None:
    noise = file["recon/noise"][()].astype(np.complex128)
    del file["recon/noise"]
    file["recon/noise_covariance"] = noise @ noise.conj().T / noise.shape[1]


@pytest.mark.parametrize("scale", SCALES)
def test_a_stored_covariance_is_in_other_units_too(
    scale: float, folder: Path, tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    options = ReconstructionOptions(method="sense")
    path = changed(folder / "fast.h5", tmp_path / "fast.h5", with_covariance)
    wanted = reconstruct(open_scan(path), options=options).reconstruction

    def scaled(file: h5py.File) -> None:
        file["kspace"][...] = (file["kspace"][()].astype(np.complex128) * scale).astype(np.complex64)
        file["recon/noise_covariance"][...] = file["recon/noise_covariance"][()] * scale**2

    changed(path, tmp_path / "scaled.h5", scaled)
    assert run_cli("convert", tmp_path / "scaled.h5", "--out", tmp_path / "copy.h5").code == 0  # and is written so
    for name in ("scaled.h5", "copy.h5"):
        found = reconstruct(open_scan(tmp_path / name), options=options).reconstruction
        assert np.linalg.norm(found / np.float64(scale) - wanted) < 2e-3 * np.linalg.norm(wanted)


def test_covariances_of_older_files_are_read(folder: Path, tmp_path: Path) -> None:
    path = changed(folder / "fast.h5", tmp_path / "new.h5", with_covariance)

    def single(file: h5py.File) -> None:
        covariance = file["recon/noise_covariance"][()]
        del file["recon/noise_covariance"]
        file["recon/noise_covariance"] = covariance.astype(np.complex64)

    old, new = open_scan(changed(path, tmp_path / "old.h5", single)), open_scan(path)
    assert old.noise_covariance is not None
    np.testing.assert_allclose(old.noise_covariance, new.noise_covariance, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("method", ["zero-filled", "sense", "l1-wavelet", "grappa", "posterior", "dds", "dps", "pula"])
def test_every_method_gives_the_same_image_in_other_units(
    method: str, folder: Path, prior: Prior, tmp_path: Path
) -> None:
    sampled = {"steps": 2, "samples": 2} if method in ("posterior", "dds", "dps", "pula") else {}
    options = ReconstructionOptions(method=method, **sampled)
    wanted = reconstruct(open_scan(folder / "fast.h5"), prior, options)
    for scale in SCALES:
        scan = open_scan(changed(folder / "fast.h5", tmp_path / "scaled.h5", times(scale)))
        found = reconstruct(scan, prior, options)
        for image, other in ((wanted.reconstruction, found.reconstruction), (wanted.std, found.std)):
            if image is not None and other is not None:
                error = np.linalg.norm(other / np.float64(scale) - image) / np.linalg.norm(image)
                assert error < 2e-3, (method, scale)  # a value of 1e-40 has fifteen bits


def test_powers_of_two_change_nothing(folder: Path, tmp_path: Path) -> None:
    options = ReconstructionOptions(method="sense")
    wanted = reconstruct(open_scan(folder / "fast.h5"), options=options).reconstruction
    scan = open_scan(changed(folder / "fast.h5", tmp_path / "scaled.h5", times(2.0**-80)))
    np.testing.assert_array_equal(reconstruct(scan, options=options).reconstruction, wanted * np.float32(2.0**-80))


@pytest.mark.parametrize("scale", [1e-30, 1e20, 1e30])
def test_evaluation_does_not_overflow(scale: float, folder: Path, tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    full = changed(folder / "full.h5", tmp_path / "full.h5", times(scale))
    assert reference_image(open_scan(full), 0).max() / scale == pytest.approx(
        reference_image(open_scan(folder / "full.h5"), 0).max(), rel=1e-5
    )
    fast = changed(folder / "fast.h5", tmp_path / "fast.h5", times(scale))
    assert run_cli("reconstruct", fast, "--out", tmp_path / "out", "--method", "sense").code == 0
    found = run_cli("evaluate", tmp_path / "out" / "fast.h5", "--reference", full, "--json").json
    assert found["nrmse"] < 0.2
    assert all(np.isfinite(found[key]) for key in ("psnr", "ssim", "hfen"))


def copied_coil(file: h5py.File) -> None:
    del file["recon/noise"]
    kspace = file["kspace"][()]
    kspace[:, 1] = kspace[:, 0]
    file["kspace"][...] = kspace


def louder(factor: float) -> Callable[[h5py.File], None]:
    return lambda file: file["recon/noise"].__setitem__(..., file["recon/noise"][()] * np.float32(factor))


def outlier(file: h5py.File) -> None:
    file["kspace"][0, 0, 20, 20] = 1e30


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (copied_coil, "a coil is a copy or a combination of others"),
        (louder(1e12), "is not that of k-space with values up to"),
        (louder(1e-25), "is not that of k-space with values up to"),
        (outlier, "which no receiver can measure"),
    ],
    ids=["copied coil", "huge noise", "tiny noise", "outlier"],
)
def test_noise_and_values_that_cannot_be(
    change: Callable[[h5py.File], None], words: str, folder: Path, tmp_path: Path
) -> None:
    path = changed(folder / "fast.h5", tmp_path / "odd.h5", change)
    with pytest.raises(ReconError, match=words) as refusal:
        reconstruct(open_scan(path), options=ReconstructionOptions(method="zero-filled"))
    assert str(refusal.value).startswith(f"{path}: ")
    if change is not copied_coil:  # info looks at no covariance
        assert any(words in problem for problem in inspect(open_scan(path)).problems)
