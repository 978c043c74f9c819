"""Tables of studies, and studies on one grid: what they give, and the one line for each thing that is wrong."""

import csv
import json
import shutil
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest

from recon.errors import ReconError
from recon.scans.opening import open_scan
from recon.study.diffusion import apparent_diffusion
from recon.study.images import Reconstructions
from recon.study.options import GridOptions
from recon.study.preparation import prepared_study
from recon.study.table import Study, find_studies, of_plane
from recon.study.volume import ADC_MEAN, ADC_STANDARD_DEVIATION, StudyVolume

GRID = GridOptions(pixel=5.0, matrix=(40, 40))


def table(path: Path, rows: list[dict[str, str]]) -> Path:
    columns = ["study", "person", "contrast", "file", "lesion", "b_value", "plane"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def row(file: Path | str, contrast: str = "FLAIR", **others: str) -> dict[str, str]:
    return {"study": "s", "person": "p", "contrast": contrast, "file": str(file), **others}


def test_a_cohort_is_studies_by_person(studies: list[Study]) -> None:
    assert len(studies) == 8
    assert len({study.person for study in studies}) == 4
    assert {study.contrasts for study in studies} == {("FLAIR", "DWI", "ADC")}
    assert [study.lesion is not None for study in studies] == [True] * 4 + [False] * 4
    assert all(study.labelled for study in studies)


def test_a_csv_and_a_json_say_the_same(cohorts: tuple[Path, Path], tmp_path: Path) -> None:
    flair = cohorts[0] / "icbm152-000_FLAIR.h5"
    dwi = cohorts[0] / "icbm152-000_DWI.h5"
    mask = cohorts[0] / "icbm152-000_lesion.h5"
    rows = [row(flair, "flair", lesion=str(mask)), row(dwi, "DWI")]
    entry = {"study": "s", "person": "p", "series": {"FLAIR": str(flair), "DWI": str(dwi)}, "lesion": str(mask)}
    (tmp_path / "studies.json").write_text(json.dumps({"studies": [entry]}), encoding="utf-8")
    assert find_studies([table(tmp_path / "t.csv", rows)]) == find_studies([tmp_path])


def test_what_is_wrong_with_a_table_is_one_line(cohorts: tuple[Path, Path], tmp_path: Path) -> None:
    flair, dwi = (cohorts[0] / f"icbm152-000_{name}.h5" for name in ("FLAIR", "DWI"))
    wrong = {
        "several persons": [row(flair), row(dwi, "DWI", person="q")],
        "FLAIR twice": [row(flair), row(dwi, "FLAIR")],
        "unknown to studies": [row(flair, "SWI")],
        "no such file": [row("absent.h5")],
        "has no person": [row(flair, person="")],
        "several lesion masks": [row(flair, lesion="a.h5"), row(dwi, "DWI", lesion="b.h5")],
        "without its DWI": [row(flair), row(dwi, "DWI-B0")],
        "b-value": [row(dwi, "DWI", b_value="much")],
        "no study given": [],
    }
    for words, rows in wrong.items():
        with pytest.raises(ReconError, match=words) as caught:
            find_studies([table(tmp_path / "t.csv", rows)])
        assert "\n" not in str(caught.value)
    (tmp_path / "other.csv").write_text("file,person\n", encoding="utf-8")
    with pytest.raises(ReconError, match="no column 'study'"):
        find_studies([tmp_path / "other.csv"])
    with pytest.raises(ReconError, match="a single scan is no study"):
        find_studies([flair])
    with pytest.raises(ReconError, match="listed twice"):
        find_studies([cohorts[0], cohorts[0]])


def test_the_adc_of_two_images_is_that_of_the_tissue() -> None:
    unweighted = np.full((2, 2, 2), 3.0)
    weighted = unweighted * np.exp(-0.7)
    assert np.allclose(apparent_diffusion(weighted, unweighted, 1000.0), 0.7, atol=1e-6)
    assert np.allclose(apparent_diffusion(weighted, unweighted, 500.0), 1.4, atol=1e-6)
    assert not apparent_diffusion(np.zeros((1, 1, 1)), np.ones((1, 1, 1)), 1000.0).any()


def test_a_simulated_adc_follows_from_its_dwi_and_falls_in_an_acute_infarct(cohorts: tuple[Path, Path]) -> None:
    """On the stored truths: gain, shading and timing cancel, and the diffusivity of the tissues is left."""
    images = {}
    for name in ("DWI", "DWI-B0"):
        with h5py.File(cohorts[0] / f"icbm152-001_{name}.h5") as file:
            images[name] = file["reconstruction_rss"][()]
    with h5py.File(cohorts[0] / "icbm152-001_lesion.h5") as file:
        lesion = file["lesion_fraction"][()] > 0.9
    adc = apparent_diffusion(images["DWI"], images["DWI-B0"], 1000.0)
    brain = (images["DWI"] > 0.7) & ~lesion
    assert 0.6 < np.median(adc[brain]) < 0.9  # 0.7 in white and 0.8 in grey matter (Pierpaoli 1996)
    assert np.median(adc[lesion]) < 0.75 * np.median(adc[brain])


def test_both_images_of_a_diffusion_examination_have_one_timing_and_one_noise(cohorts: tuple[Path, Path]) -> None:
    weighted, unweighted = (open_scan(cohorts[0] / f"icbm152-000_{name}.h5") for name in ("DWI", "DWI-B0"))
    assert weighted.header.echo_time_ms == unweighted.header.echo_time_ms
    assert weighted.header.repetition_time_ms == unweighted.header.repetition_time_ms
    assert (weighted.header.b_value_s_per_mm2, unweighted.header.b_value_s_per_mm2) == (1000.0, 0.0)
    assert weighted.noise_covariance is not None
    assert unweighted.noise_covariance is not None
    ratio = np.trace(unweighted.noise_covariance).real / np.trace(weighted.noise_covariance).real
    assert ratio == pytest.approx(1.0, abs=0.1)  # of the variance; the SNR is a mean over the brain
    assert not np.allclose(weighted.read_kspace(0)[:, :4], unweighted.read_kspace(0)[:, :4])


def test_a_study_lies_on_the_networks_grid(volumes: list[StudyVolume], studies: list[Study]) -> None:
    volume = volumes[0]
    assert volume.contrasts == ("FLAIR", "DWI", "ADC")
    assert volume.values.shape == (3, 3, 40, 40)
    assert volumes[4].lesion is not None
    assert not volumes[4].lesion.any()
    with h5py.File(studies[0].lesion) as file:  # type: ignore[arg-type]
        stored = float(file.attrs["volume_ml"])
    assert volume.lesion_ml == pytest.approx(stored, rel=0.25)  # pixels of 5 mm
    assert volume.lesion is not None
    adc = volume.values[2] * ADC_STANDARD_DEVIATION + ADC_MEAN
    assert np.median(adc[volume.lesion]) < 0.7


def nifti(path: Path, affine: np.ndarray, shape: tuple[int, int, int] = (40, 44, 6)) -> Path:
    centre = (np.array(shape) - 1) / 2
    distance = sum(((grid - c) / (0.35 * n)) ** 2 for grid, c, n in zip(np.indices(shape), centre, shape, strict=True))
    nibabel.Nifti1Image(np.where(distance < 1, 100.0, 0.0).astype(np.float32) + 1, affine).to_filename(path)
    return path


def test_other_grids_planes_and_persons_are_refused(cohorts: tuple[Path, Path], tmp_path: Path) -> None:
    kept = Reconstructions(tmp_path / "kept")
    axial = np.diag([5.0, 5.0, 6.0, 1.0])
    elsewhere = axial.copy()
    elsewhere[:3, 3] = (0, 7.0, 0)
    first, second = nifti(tmp_path / "a.nii", axial), nifti(tmp_path / "b.nii", elsewhere)
    one = Study("s", "p", {"T2": first, "FLAIR": second}, None, True)
    with pytest.raises(ReconError, match=r"FLAIR.*another grid.*--resample"):
        prepared_study(one, kept, GRID)
    with pytest.warns(UserWarning, match="interpolated"):
        moved = prepared_study(one, kept, GridOptions(pixel=5.0, matrix=(40, 40), resample=True))
    assert moved.values.shape[0] == 2
    sagittal = np.array([[0, 0, 6.0, 0], [5.0, 0, 0, 0], [0, 5.0, 0, 0], [0, 0, 0, 1]])
    with pytest.raises(ReconError, match="not axial"):
        prepared_study(Study("s", "p", {"T1": nifti(tmp_path / "c.nii", sagittal)}, None, True), kept, GRID)
    mixed = {"FLAIR": cohorts[0] / "icbm152-000_FLAIR.h5", "DWI": cohorts[0] / "icbm152-001_DWI.h5"}
    with pytest.raises(ReconError, match="scans are of several persons"):
        prepared_study(Study("s", "p", mixed, None, True), kept, GRID)


def test_a_flipped_series_is_turned_back(tmp_path: Path) -> None:
    axial = np.diag([5.0, 5.0, 6.0, 1.0])
    first = nifti(tmp_path / "a.nii", axial)
    image = nibabel.load(first)
    flipped = nibabel.Nifti1Image(image.get_fdata()[::-1], axial @ np.diag([-1.0, 1, 1, 1]))
    flipped.affine[0, 3] = 5.0 * 39
    nibabel.Nifti1Image(image.get_fdata()[::-1].astype(np.float32), flipped.affine).to_filename(tmp_path / "b.nii")
    study = Study("s", "p", {"T2": first, "FLAIR": tmp_path / "b.nii"}, None, True)
    volume = prepared_study(study, Reconstructions(tmp_path / "kept"), GRID)
    assert np.allclose(volume.values[0], volume.values[1], atol=1e-5)


def test_an_undersampled_scan_and_a_missing_b_value_are_refused(
    cohorts: tuple[Path, Path], tmp_path: Path, run_cli: object
) -> None:
    fast = tmp_path / "fast.h5"
    scan = cohorts[0] / "icbm152-000_FLAIR.h5"
    assert run_cli("undersample", scan, "--acceleration", 2, "--out", fast).code == 0  # type: ignore[operator]
    kept = Reconstructions(tmp_path / "kept")
    with pytest.raises(ReconError, match="reconstruct it first"):
        prepared_study(Study("s", "p", {"FLAIR": fast}, None, True), kept, GRID)
    axial = np.diag([5.0, 5.0, 6.0, 1.0])
    files = {"DWI": nifti(tmp_path / "d.nii", axial), "DWI-B0": nifti(tmp_path / "e.nii", axial)}
    with pytest.raises(ReconError, match="no b-value"):
        prepared_study(Study("s", "p", files, None, True), kept, GRID)
    shutil.rmtree(tmp_path / "kept", ignore_errors=True)


def test_a_cohort_of_both_planes_is_two_studies_of_each_person(both_planes: tuple[Path, Path], tmp_path: Path) -> None:
    found = find_studies(both_planes)
    assert len(found) == 12
    assert len({study.name for study in found}) == 6
    assert {study.contrasts for study in found} == {("FLAIR", "T2STAR")}
    assert {study.lesion_age for study in found} <= {
        None,
        *(f"{age} haemorrhage" for age in ("acute", "subacute", "chronic")),
    }
    sagittal = of_plane(found, "sagittal")
    assert {study.plane for study in sagittal} == {"sagittal"}
    kept, grid = Reconstructions(tmp_path), GridOptions(plane="sagittal", pixel=5.0, matrix=(48, 48))
    volume = prepared_study(sagittal[0], kept, grid)
    head = volume.values[0, 1] > volume.values[0, 1].min()
    rows = np.flatnonzero(head.any(axis=1))
    widths = head[rows].sum(axis=1)
    assert widths[:6].mean() < widths[6:14].mean()  # the vertex is on top
    with pytest.raises(ReconError, match="slices are not axial"):
        prepared_study(sagittal[0], kept, GRID)
    with pytest.raises(ReconError, match="none of 6 studies is axial"):
        of_plane(sagittal, "axial")
    rows_of_table = [row(sagittal[0].files["FLAIR"], plane="Sagittal"), row(sagittal[0].files["FLAIR"], plane="tilted")]
    assert find_studies([table(tmp_path / "t.csv", rows_of_table[:1])])[0].plane == "sagittal"
    with pytest.raises(ReconError, match="plane 'tilted' is unknown"):
        find_studies([table(tmp_path / "t.csv", rows_of_table)])


def test_the_nose_points_to_the_left_and_the_vertex_up_in_sagittal_studies(tmp_path: Path) -> None:
    affine = np.array(
        [[0, 0, 6.0, 0], [5.0, 0, 0, 0], [0, 5.0, 0, 0], [0, 0, 0, 1]]
    )  # index 0 runs forwards, 1 upwards
    path = nifti(tmp_path / "a.nii", affine)
    image = nibabel.load(path)
    values = image.get_fdata().astype(np.float32)
    values[26:32, 20:24] = 600  # in front
    values[18:22, 30:34] = 600  # on top
    nibabel.Nifti1Image(values, affine).to_filename(path)
    grid = GridOptions(plane="sagittal", pixel=5.0, matrix=(40, 40))
    found = prepared_study(Study("s", "p", {"T1": path}, None, True, plane="sagittal"), Reconstructions(tmp_path), grid)
    bright = np.argwhere(found.values[0, 3] > 0.7 * found.values[0, 3].max())
    assert bright[:, 0].min() < 14  # on top
    assert bright[:, 1].min() < 14  # in front
    assert bright.max() < 22  # nothing below or behind
