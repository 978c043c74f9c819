"""What a seed stands for: draws hang on names alone, whatever version, threads or options of the process."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from recon.errors import ReconError
from recon.simulate.cohort import simulate_cohort
from recon.simulate.options import SimulationOptions, read_matrix
from tests.numerical_threads import numerical_threads


def test_a_seed_gives_the_scan_it_always_gave(tmp_path: Path):
    """Figures of the scan that the first version drew for this seed: later versions may only round differently."""
    options = SimulationOptions(size=(96, 96), coils=8, slices=4, stroke=True, seed=3)
    record = simulate_cohort(tmp_path, 1, ["FLAIR"], options)["scans"][0]
    drawn = {"field_strength_t": 1.5, "mirrored": 1, "lesion_territory": "lacunar", "lesion_stage": "chronic"}
    assert {key: record[key] for key in drawn} == drawn
    numbers = [record[key] for key in ("lesion_ml", "slice_thickness_mm", "tr_ms", "te_ms", "ti_ms")]
    assert numbers == pytest.approx([0.779, 4.061, 8223.9, 95.3, 2423.4])
    with h5py.File(tmp_path / record["file"]) as file:
        kspace = file["kspace"][()]
    assert np.linalg.norm(kspace) == pytest.approx(83.87734, rel=1e-5)
    assert kspace[1, 2, 48, 48] == pytest.approx(-9.000775 - 0.77165914j, rel=1e-4)
    assert kspace[3, 7, 1, 5] == pytest.approx(-0.0054755644 + 0.0036537508j, rel=1e-3)  # noise alone


def test_cohorts_of_two_words_can_be_put_together(tmp_path: Path, run_cli):
    """A seed alone gives other scans under the same names; the word gives other persons under names of their own."""
    words = ("simulate", "--size", 64, "--coils", 2, "--slices", 1, "--subjects", 2, "--json")
    plain, first, second = (
        run_cli(*words, "--out", tmp_path / name, *more).json["scans"]
        for name, more in (("plain", ()), ("a", ("--cohort", "a")), ("b-2", ("--cohort", "b-2")))
    )
    assert [scan["group"] for scan in plain] == ["icbm152-000", "icbm152-001"]
    assert [scan["group"] for scan in first] == ["a-icbm152-000", "a-icbm152-001"]
    assert [scan["file"] for scan in second] == ["b-2-icbm152-000_FLAIR.h5", "b-2-icbm152-001_FLAIR.h5"]
    assert len({scan["tr_ms"] for scan in (*plain, *first, *second)}) == 6, "six persons, although of one seed"
    together = [tmp_path / "a", tmp_path / "b-2"]
    assert run_cli("prepare", *together, "--out", tmp_path / "both", "--processes", 1).code == 0
    assert run_cli(*words, "--out", tmp_path / "a", "--cohort", "a").json["kept"] == 2
    assert "(cohort differ)" in run_cli(*words, "--out", tmp_path / "a", "--cohort", "c").err
    wrong = run_cli(*words, "--out", tmp_path / "c", "--cohort", "../c")
    assert (wrong.code, len(wrong.err.splitlines())) == (2, 1)
    assert "--cohort '../c'" in wrong.err


def _arrays(folder: Path) -> dict[str, np.ndarray]:
    arrays = {}
    for path in sorted(folder.glob("*.h5")):
        with h5py.File(path) as file:
            for name in ("kspace", "reconstruction_rss", "recon/noise", "lesion", "lesion_fraction"):
                if name in file:
                    arrays[f"{path.name}:{name}"] = file[name][()]
    return arrays


def test_one_and_two_threads_simulate_the_same(tmp_path: Path, run_cli):
    """Anatomy, lesion and noise bit for bit; what passes through a matrix product or a transform up to rounding."""
    words = ("simulate", "--stroke", "--size", 96, "--coils", 12, "--slices", 2, "--seed", 5, "--out")
    found = []
    for threads in (1, 2):
        folder = tmp_path / str(threads)
        with numerical_threads(threads):
            assert run_cli(*words, folder).code == 0
        found.append(_arrays(folder))
    assert set(found[0]) == set(found[1])
    assert len(found[0]) == 5
    for name, values in found[0].items():
        if "lesion" in name:
            np.testing.assert_array_equal(values, found[1][name], err_msg=name)
        else:
            np.testing.assert_allclose(values, found[1][name], rtol=0, atol=1e-6 * np.abs(values).max(), err_msg=name)


def test_a_cohort_knows_its_folders_by_name(tmp_path: Path):
    """A folder may be moved while a cohort grows; manifests of earlier versions hold the same."""
    options = SimulationOptions(anatomy=str(tmp_path / "heads"), stroke=True, lesion_shapes="/elsewhere/shapes")
    assert options.identity()["anatomy"] == "heads"
    assert options.identity()["lesion_shapes"] == "shapes"
    assert SimulationOptions().identity() == {
        "size": [192, 192], "coils": 8, "slices": 8, "snr": 30.0, "stroke": False, "seed": 0, "oversampling": 1,
        "field_of_view": None, "thickness": None, "territory": None, "stage": None, "anatomy": "icbm152",
        "lesion_shapes": None, "territories": None,
    }  # fmt: skip


def test_options_of_a_stroke_need_one():
    with pytest.raises(ReconError, match="add --stroke"):
        SimulationOptions(stage="acute")
    with pytest.raises(ReconError, match="brings its own places"):
        SimulationOptions(stroke=True, lesion_shapes="shapes", territory="MCA")


def test_a_matrix_is_one_number_or_two():
    assert read_matrix("192") == (192, 192)
    assert read_matrix("256,192") == (256, 192)
    for text in ("many", "1,2,3", ""):
        with pytest.raises(ReconError, match="give one number"):
            read_matrix(text)


def test_progress_ends_where_it_should(tmp_path: Path):
    seen: list[float] = []
    options = SimulationOptions(size=(64, 64), coils=2, slices=1)
    simulate_cohort(tmp_path, 2, ["T2"], options, report=lambda stage, fraction: seen.append(fraction))
    assert seen == [0.0, 0.5, 1.0]
