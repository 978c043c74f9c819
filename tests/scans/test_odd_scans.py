"""Odd but valid scans: handled, warned of or refused, and ``info`` and ``reconstruct`` never disagree."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from recon.acquisition.fourier_numpy import centre_first, to_kspace
from recon.images.result import read_result
from recon.scans.fastmri import ScanDescription, write_fastmri

Kspace = NDArray[np.complex64]
Change = Callable[[Kspace], NDArray[Any]]


def head(shape: tuple[int, int, int, int], generator: np.random.Generator, noise: float = 0.02) -> Kspace:
    """Kspace ``[slice, coil, readout, phase]`` of an ellipse seen by coils around it."""
    slices, coils, readout, phase = shape
    y, x = np.meshgrid(np.linspace(-1, 1, readout), np.linspace(-1, 1, phase), indexing="ij")
    angles = 2 * np.pi * np.arange(coils) / coils
    maps = np.stack([np.exp(-((y - np.sin(a)) ** 2 + (x - np.cos(a)) ** 2) + 1j * a) for a in angles])
    image = np.where((y / 0.8) ** 2 + (x / 0.75) ** 2 < 1, 1.0, 0.0) * np.exp(0.5j * x)
    clean = np.stack([to_kspace((maps * image * (1 + 0.2 * index)).astype(np.complex64)) for index in range(slices)])
    drawn = generator.standard_normal((2, *shape))
    return (clean + noise * (drawn[0] + 1j * drawn[1])).astype(np.complex64)


def write(
    path: Path,
    change: Change = lambda kspace: kspace,
    shape: tuple[int, int, int, int] = (3, 4, 48, 40),
    noise_scan: bool = True,
    **described: Any,
) -> Path:
    generator = np.random.default_rng(0)
    kspace = change(head(shape, generator)).astype(np.complex64)
    if noise_scan:
        drawn = 0.02 * generator.standard_normal((2, shape[1], 4000))
        described["noise"] = (drawn[0] + 1j * drawn[1]).astype(np.complex64)
    with write_fastmri(path, ScanDescription(shape=kspace.shape, contrast="T2", **described)) as writer:
        for index, one in enumerate(kspace):
            writer.put(index, one)
    return path


def keep(*lines: int) -> Change:
    def change(kspace: Kspace) -> Kspace:
        mask = np.zeros(kspace.shape[-1], bool)
        mask[list(lines)] = True
        return kspace * mask

    return change


def every_other(calibration: int) -> Change:
    centre = range(20 - calibration // 2, 20 - calibration // 2 + calibration)
    return keep(*range(0, 40, 2), *centre)


def put(where: Any, value: Any) -> Change:
    def change(kspace: Kspace) -> Kspace:
        kspace[where] = value
        return kspace

    return change


def times(*factors: float) -> Change:
    """Each coil times a factor."""
    return lambda kspace: kspace * np.array(factors)[:, None, None]


def noise_alone(kspace: Kspace) -> Kspace:
    drawn = np.random.default_rng(1).standard_normal((2, *kspace.shape))
    return (drawn[0] + 1j * drawn[1]).astype(np.complex64)


ODD: dict[str, dict[str, Any]] = {
    "plain": {},
    "one coil": {"shape": (1, 1, 48, 40)},
    "one coil, no noise scan": {"shape": (1, 1, 48, 40), "noise_scan": False},
    "more coils than lines": {"shape": (1, 44, 48, 40)},
    "many coils, no noise scan": {"shape": (1, 44, 48, 40), "noise_scan": False},
    "odd sizes": {"shape": (2, 3, 47, 39)},
    "8 x 8": {"shape": (1, 4, 8, 8)},
    "10 x 10": {"shape": (1, 4, 10, 10)},
    "16 x 16": {"shape": (1, 4, 16, 16)},
    "narrow": {"shape": (1, 4, 64, 10)},
    "wide": {"shape": (1, 4, 10, 64)},
    "very long readout": {"shape": (1, 2, 256, 16)},
    "30 slices": {"shape": (30, 2, 24, 20)},
    "no noise scan": {"noise_scan": False},
    "an empty slice": {"change": put(1, 0)},
    "the first slice empty": {"change": put(0, 0)},
    "an empty slice, no noise scan": {"change": put(1, 0), "noise_scan": False},
    "a very quiet slice": {"change": lambda kspace: kspace * np.array([1, 1e-5, 1])[:, None, None, None]},
    "a dead coil": {"change": put((slice(None), 2), 0)},
    "a dead coil, no noise scan": {"change": put((slice(None), 2), 0), "noise_scan": False},
    "a coil dead in the first slice": {"change": put((0, 2), 0), "noise_scan": False},
    "a coil dead in the middle slice": {"change": put((1, 2), 0), "noise_scan": False},
    "a quiet coil": {"change": times(1, 1e-6, 1, 1), "noise_scan": False},
    "a loud coil": {"change": times(1, 1e6, 1, 1), "noise_scan": False},
    "copies of one coil": {"change": lambda kspace: np.repeat(kspace[:, :1], 4, axis=1)},
    "no calibration": {"change": keep(0, 1, 2, 3, 5, 7, 30, 35)},
    "5 calibration lines": {"change": every_other(4)},
    "8 calibration lines": {"change": every_other(8)},
    "8 calibration lines, no noise scan": {"change": every_other(8), "noise_scan": False},
    "12 calibration lines": {"change": every_other(12)},
    "only the calibration": {"change": keep(*range(12, 28))},
    "one line": {"change": keep(20)},
    "partial Fourier": {"change": keep(*range(10, 40))},
    "an asymmetric echo": {"change": lambda kspace: kspace * (np.arange(48) >= 12)[:, None]},
    "half an echo": {"change": lambda kspace: kspace * (np.arange(48) >= 26)[:, None]},
    "noise alone": {"change": noise_alone},
    "noise alone, no noise scan": {"change": noise_alone, "noise_scan": False},
    "a constant": {"change": np.ones_like, "noise_scan": False},
    "real numbers": {"change": lambda kspace: kspace.real + 0j},
    "conjugated": {"change": np.conj},
    "mirrored": {"change": lambda kspace: kspace[..., ::-1, ::-1]},
    "centre stored first": {"change": centre_first},
    "centre stored first, no noise scan": {"change": centre_first, "noise_scan": False},
    "a checkerboard of signs": {"change": lambda kspace: kspace * (-1.0) ** np.add.outer(np.arange(48), np.arange(40))},
    "padded": {
        "change": lambda kspace: kspace * ((np.arange(40) >= 4) & (np.arange(40) < 36)), "phase_limits": (4, 36),
    },
    "readout oversampling": {"image_shape": (24, 40)},
    "cropped images": {"image_shape": (40, 30)},
    "images larger than kspace": {"image_shape": (60, 60)},
    "a spike": {"change": put((0, 0, 3, 3), 1e5)},
    "a value that is not a number": {},
    "a noise scan of two samples": {},
    "a noise scan with a dead coil": {},
    "a noise scan that is far too loud": {},
    "a noise scan that is far too quiet": {},
    "a noise scan with equal coils": {},
}  # fmt: skip


def edit(name: str, path: Path) -> None:
    """Damage that the writer would refuse."""
    with h5py.File(path, "r+") as file:
        noise = file["recon/noise"][()] if "noise" in file["recon"] else None
        if name == "a value that is not a number":
            file["kspace"][0, 0, 0, 0] = np.nan
        elif name == "a noise scan of two samples":
            del file["recon/noise"]
            file["recon/noise"] = noise[:, :2]
        elif name == "a noise scan with a dead coil":
            file["recon/noise"][1] = 0
        elif name == "a noise scan that is far too loud":
            file["recon/noise"][...] = noise * 1e8
        elif name == "a noise scan that is far too quiet":
            file["recon/noise"][...] = noise * 1e-8
        elif name == "a noise scan with equal coils":
            file["recon/noise"][1] = noise[0]


@pytest.mark.parametrize("name", list(ODD))
def test_info_and_reconstruct_never_disagree(name: str, tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    path = write(tmp_path / "odd.h5", **ODD[name])
    edit(name, path)
    info = run_cli("info", path, "--json")
    made = run_cli("reconstruct", path, "--method", "sense", "--out", tmp_path / "out")
    assert "unexpected" not in info.err + made.err
    can = info.code == 0
    assert can == (made.code == 0), f"info: {info.out or info.err}; reconstruct: {made.err}"
    if can:
        image = read_result(tmp_path / "out" / "odd.h5").reconstruction
        assert np.isfinite(image).all()
        assert image.max() > 0
    else:
        refusal = [line for line in made.err.splitlines() if line.startswith("recon: ")]
        assert len(refusal) == 1
        assert str(path) in refusal[0], "the refusal names the file"
        assert not (tmp_path / "out" / "odd.h5").exists()


def test_a_centre_that_is_stored_first_is_noticed_by_both(tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    path = write(tmp_path / "corner.h5", centre_first)
    assert "outside the middle of k-space" in run_cli("info", path).out
    made = run_cli("reconstruct", path, "--method", "sense", "--out", tmp_path / "out")
    assert "warning: most energy lies outside the middle of k-space" in made.err
    right = write(tmp_path / "right.h5")
    assert "outside the middle" not in run_cli("info", right).out
