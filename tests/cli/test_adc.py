"""recon adc, from NIfTI images of known decay to maps with geometry and unit."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from recon.images.nifti import write_nifti

AFFINE = np.array([[-2.0, 0, 0, 20], [0, -3.0, 0, 30], [0, 0, 5.0, 1], [0, 0, 0, 1]])


def images(folder: Path) -> tuple[list[Path], np.ndarray]:
    generator = np.random.default_rng(0)
    adc = np.zeros((3, 24, 20))
    adc[:, 6:18, 5:15] = 0.8e-3
    s0 = np.where(adc > 0, 60.0, 0.0)
    paths = []
    for b in (0, 1000):
        real, imaginary = generator.standard_normal((2, *adc.shape))
        magnitude = np.abs(s0 * np.exp(-b * adc) + real + 1j * imaginary)
        paths.append(write_nifti(folder / f"b{b}.nii.gz", magnitude, affine=AFFINE))
        (folder / f"b{b}.bval").write_text(f"{b}\n")
    return paths, adc


def test_maps_with_geometry_and_unit(tmp_path: Path, run_cli: Any) -> None:
    paths, adc = images(tmp_path)
    told = run_cli("adc", *paths, "--b-values", "0,1000", "--out", tmp_path / "adc.nii.gz", "--json").json
    assert abs(told["noise"] - 1) < 0.15
    for name in ("adc", "adc_std"):
        stored = nibabel.load(tmp_path / f"{name}.nii.gz")
        np.testing.assert_allclose(stored.affine, AFFINE)
        assert b"1e-6 mm^2/s" in bytes(stored.header["descrip"])
    found = np.moveaxis(nibabel.load(tmp_path / "adc.nii.gz").get_fdata(), -1, 0)
    inside = adc > 0
    assert abs(np.median(found[inside]) - 800) < 20
    assert (found[~inside] == 0).mean() > 0.95
    same = run_cli("adc", *paths, "--out", tmp_path / "again.nii.gz", "--json").json  # b-values of the .bval files
    assert same["median_adc_mm2_per_s"] == told["median_adc_mm2_per_s"]


def test_mistakes_are_one_line(tmp_path: Path, run_cli: Any) -> None:
    paths, _ = images(tmp_path)
    out = ["--out", tmp_path / "adc.nii.gz"]
    (tmp_path / "b0.bval").unlink()
    for words in (
        [*paths, *out],
        [*paths, "--b-values", "0,x", *out],
        [*paths, "--b-values", "0", *out],
        [*paths, "--b-values", "0,0", *out],
        [*paths, "--b-values", "0,1000", "--noise", "-1", *out],
        [paths[0], tmp_path / "none.nii", "--b-values", "0,1000", *out],
    ):
        refused = run_cli("adc", *words)
        assert refused.code == 2
        assert refused.err.count("\n") == 1
    assert not (tmp_path / "adc.nii.gz").exists()
