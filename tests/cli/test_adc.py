"""recon adc, from NIfTI images of known decay to maps with geometry and unit."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from small_world import ADC, write_small_scan

from recon.images.dicom import DicomSeries, write_dicom_series
from recon.images.nifti import write_nifti
from recon.images.result import read_result_facts

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


@pytest.mark.parametrize(("image", "out"), [("b0.nii.gz", "b0.nii.gz"), ("adc_std.nii.gz", "adc.nii.gz")])
def test_a_map_never_replaces_an_image(tmp_path: Path, run_cli: Any, image: str, out: str) -> None:
    paths, _ = images(tmp_path)
    first = paths[0].rename(tmp_path / image)
    before = first.read_bytes()
    refused = run_cli("adc", first, paths[1], "--b-values", "0,1000", "--out", tmp_path / out)
    assert refused.code == 2
    assert "is the input itself" in refused.err
    assert first.read_bytes() == before


SHAPE = (3, 24, 20)
TRUE = 0.8e-3


def weighted(b: float, seed: int) -> np.ndarray:
    """Magnitudes ``[slice, row, column]`` of an object of one ADC in Rician noise of one."""
    inside = np.zeros(SHAPE)
    inside[:, 6:18, 5:15] = 60 * np.exp(-b * TRUE)
    real, imaginary = np.random.default_rng(seed).standard_normal((2, *SHAPE))
    return np.abs(inside + real + 1j * imaginary)


def write_private(group: int, creator: str, element: int, representation: str) -> Any:
    """How a vendor's classic series states a b-value: a function of data set and value."""

    def put(dataset: pydicom.Dataset, value: Any) -> None:
        dataset.private_block(group, creator, create=True).add_new(element, representation, value)

    return put


def standard(dataset: pydicom.Dataset, value: Any) -> None:
    dataset.DiffusionBValue = value


VENDORS = {
    "standard": (standard, [0.0, 500.0, 1000.0]),
    "Siemens": (write_private(0x0019, "SIEMENS MR HEADER", 0x0C, "IS"), [0, 500, 1000]),
    "GE": (write_private(0x0043, "GEMS_PARM_01", 0x39, "IS"), [[b, 8, 0, 0] for b in (0, 500, 1000)]),
    "GE, newer": (
        write_private(0x0043, "GEMS_PARM_01", 0x39, "IS"),
        [[10**9 + b, 8, 0, 0] for b in (0, 500, 1000)],
    ),
    "Philips": (write_private(0x2001, "Philips Imaging DD 001", 0x03, "FL"), [0.0, 500.0, 1000.0]),
}


def dicom_series(folder: Path, vendor: str) -> Path:
    """One series with three b-values at every place, as trace-weighted series of scanners are."""
    put, values = VENDORS[vendor]
    uid = None
    for number, (value, b) in enumerate(zip(values, (0, 500, 1000), strict=True)):
        made = folder / "apart" / str(number)
        made.parent.mkdir(parents=True, exist_ok=True)
        series = DicomSeries("d", "d", affine=AFFINE, scale=10.0)
        for path in write_dicom_series(made, weighted(b, number).astype(np.float32), series):
            dataset = pydicom.dcmread(path)
            uid = uid or dataset.SeriesInstanceUID
            dataset.SeriesInstanceUID = uid
            put(dataset, value)
            target = folder / "series" / f"{number}_{path.name}"
            target.parent.mkdir(exist_ok=True)
            dataset.save_as(target)
    return folder / "series"


@pytest.mark.parametrize("vendor", VENDORS)
def test_b_values_of_dicom_headers(tmp_path: Path, run_cli: Any, vendor: str) -> None:
    told = run_cli("adc", dicom_series(tmp_path, vendor), "--out", tmp_path / "adc.nii", "--json").json
    assert told["b_values_s_per_mm2"] == [0, 500, 1000]
    assert set(told["b_value_sources"]) == {"DICOM header"}
    assert told["median_adc_mm2_per_s"] == pytest.approx(TRUE, rel=0.03)
    assert told["noise"] == pytest.approx(1, rel=0.1)  # the images' own units, not those of the files


def test_a_series_of_several_b_values_is_no_single_image(tmp_path: Path, run_cli: Any) -> None:
    series = dicom_series(tmp_path, "Siemens")
    refused = run_cli("adc", series, series, "--b-values", "0,1000", "--out", tmp_path / "adc.nii")
    assert refused.code == 2
    assert "several b-values (0, 500, 1000 s/mm^2)" in refused.err
    assert refused.err.count("\n") == 1


@pytest.mark.parametrize(("silent", "said"), [(1, "the headers of 1 of its 9 images"), (9, "its headers")])
def test_a_series_that_does_not_state_all_of_its_b_values(tmp_path: Path, run_cli: Any, silent: int, said: str) -> None:
    series = dicom_series(tmp_path, "standard")
    for path in sorted(series.iterdir())[:silent]:
        dataset = pydicom.dcmread(path)
        del dataset.DiffusionBValue
        dataset.save_as(path)
    refused = run_cli("adc", series, "--out", tmp_path / "adc.nii")
    assert refused.code == 2
    assert f"no b-value known ({said} state none)" in refused.err
    assert refused.err.count("\n") == 1


def test_directions_in_one_series_are_refused_with_what_to_do(tmp_path: Path, run_cli: Any) -> None:
    series = dicom_series(tmp_path, "standard")
    for path in list(series.glob("2_*.dcm")):  # b = 1000 along a second direction
        dataset = pydicom.dcmread(path)
        dataset.SOPInstanceUID = pydicom.uid.generate_uid()
        dataset.save_as(path.with_name(f"second_{path.name}"))
    refused = run_cli("adc", series, "--out", tmp_path / "adc.nii")
    assert refused.code == 2
    assert "several images of b = 1000 s/mm^2 at one place" in refused.err
    assert refused.err.count("\n") == 1


def test_dicom_without_or_with_wrong_b_values(tmp_path: Path, run_cli: Any) -> None:
    folder = tmp_path / "none"
    series = DicomSeries("d", "d", affine=AFFINE)
    paths = write_dicom_series(folder, weighted(0, 0).astype(np.float32), series)
    refused = run_cli("adc", folder, "--out", tmp_path / "adc.nii")
    assert refused.code == 2
    assert "its headers state none); give --b-values" in refused.err
    for words, value in (("DiffusionBValue is -5", -5.0), ("two different ones", 1000.0)):
        for path in paths:
            dataset = pydicom.dcmread(path)
            dataset.DiffusionBValue = value
            dataset.save_as(path)
        refused = run_cli("adc", folder, "--out", tmp_path / "adc.nii")
        assert refused.code == 2
        assert words in refused.err
        assert refused.err.count("\n") == 1


def test_four_dimensions_with_a_list_of_b_values(tmp_path: Path, run_cli: Any) -> None:
    """What converters make of a diffusion series; repeated b-values count as often as they are there."""
    values = [0, 0, 300, 600, 1000]
    stack = np.stack([np.moveaxis(weighted(b, seed), 0, -1) for seed, b in enumerate(values)], axis=-1)
    nibabel.save(nibabel.Nifti1Image(stack.astype(np.float32), AFFINE), tmp_path / "dwi.nii.gz")
    (tmp_path / "dwi.bval").write_text(" ".join(map(str, values)) + "\n")
    told = run_cli("adc", tmp_path / "dwi.nii.gz", "--out", tmp_path / "adc.nii", "--json").json
    assert told["b_values_s_per_mm2"] == values
    assert told["median_adc_mm2_per_s"] == pytest.approx(TRUE, rel=0.03)
    two = run_cli("adc", *images(tmp_path)[0], "--out", tmp_path / "two.nii", "--json").json
    assert told["median_std_mm2_per_s"] < two["median_std_mm2_per_s"]  # five images say more than two
    said = run_cli("adc", tmp_path / "dwi.nii.gz", "--out", tmp_path / "adc.nii").out
    assert "b-values 0, 0, 300, 600, 1000 s/mm^2, of dwi.bval" in said
    (tmp_path / "dwi.bval").unlink()  # as the message about it advises
    named = run_cli(
        "adc", tmp_path / "dwi.nii.gz", "--b-values", "0,0,300,600,1000", "--out", tmp_path / "adc.nii", "--json"
    )
    assert named.json["median_adc_mm2_per_s"] == told["median_adc_mm2_per_s"]
    for text in ("0 0 300", "0 0 300 600 high", ""):
        (tmp_path / "dwi.bval").write_text(text)
        refused = run_cli("adc", tmp_path / "dwi.nii.gz", "--out", tmp_path / "adc.nii")
        assert refused.code == 2
        assert refused.err.count("\n") == 1


def test_from_scans_to_the_map_without_naming_a_b_value(tmp_path: Path, run_cli: Any) -> None:
    """Scans' headers state b; results and their DICOM series carry it on."""
    scans = [write_small_scan(tmp_path / f"b{b}.h5", slices=1, seed=b, b_value=float(b)) for b in (0, 400, 1000)]
    made = tmp_path / "results"
    done = run_cli("reconstruct", *scans, "--method", "sense", "--format", "h5,dicom", "--out", made)
    assert done.code == 0, done.err
    results = [made / scan.name for scan in scans]
    told = run_cli("adc", *results, "--out", tmp_path / "adc.nii", "--noise", 0.02, "--json").json
    assert told["b_values_s_per_mm2"] == [0, 400, 1000]
    assert set(told["b_value_sources"]) == {"result"}
    assert told["median_adc_mm2_per_s"] == pytest.approx(ADC, rel=0.02)
    unnamed = run_cli("adc", *results, "--out", tmp_path / "unnamed.nii", "--json").json  # the background is masked
    assert unnamed["noise"] == max(read_result_facts(result).audit["noise_std"] for result in results)
    assert unnamed["noise_source"] == "scans' noise, in the results"
    assert unnamed["median_adc_mm2_per_s"] == pytest.approx(ADC, rel=0.02)
    named = run_cli("adc", *results, "--b-values", "0,400,1000", "--out", tmp_path / "named.nii", "--json").json
    assert named["noise"] == unnamed["noise"]
    series = [made / f"{scan.stem}_dicom" / "sense" for scan in scans]
    again = run_cli("adc", *series, "--out", tmp_path / "dicom.nii", "--noise", 0.02, "--json").json
    assert again["b_values_s_per_mm2"] == told["b_values_s_per_mm2"]
    assert again["median_adc_mm2_per_s"] == pytest.approx(told["median_adc_mm2_per_s"], rel=0.01)  # one unit for all
    unstated = write_small_scan(tmp_path / "unstated.h5", slices=1)
    assert run_cli("reconstruct", unstated, "--method", "sense", "--out", made).code == 0
    for path, words in ((made / unstated.name, "stated no b-value"), (tmp_path / "none.h5", "no such file")):
        refused = run_cli("adc", results[0], path, "--out", tmp_path / "adc.nii")
        assert refused.code == 2
        assert words in refused.err
        assert refused.err.count("\n") == 1
