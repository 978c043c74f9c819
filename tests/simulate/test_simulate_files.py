"""Anatomies, lesion shapes and atlases from files, the written cohort, and ``recon simulate`` itself."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest

from recon.errors import ReconError
from recon.scans.opening import open_scan
from recon.simulate.anatomy_files import find_anatomies
from recon.simulate.anatomy_names import contrast_of_name, person_of_name
from recon.simulate.cohort import plan_cohort, simulate_cohort
from recon.simulate.lesion_files import find_lesion_files
from recon.simulate.options import SimulationOptions

SMALL = SimulationOptions(size=(64, 64), coils=4, slices=3, snr=40.0, seed=1)


def _phantom_labels(shape: tuple[int, int, int] = (8, 120, 100)) -> np.ndarray:
    """Concentric ellipses: CSF rim, cortex, white matter, a deep nucleus."""
    _, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    radius = np.hypot((y - shape[1] / 2) / (0.40 * shape[1]), (x - shape[2] / 2) / (0.40 * shape[2]))
    labels = np.zeros(shape, np.uint8)
    for limit, code in ((1.0, 1), (0.95, 2), (0.8, 3), (0.25, 4)):
        labels[np.broadcast_to(radius < limit, shape)] = code
    return labels


def _write_npz(path: Path, subjects: int = 2, **extra: Any) -> np.ndarray:
    labels = np.stack([_phantom_labels() for _ in range(subjects)])
    t1 = np.array([12, 50, 120, 180, 150], np.uint8)[labels]
    np.savez_compressed(path, t1=t1, labels=labels, **extra)
    return labels


def _write_nifti(path: Path, volume: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """``volume`` [slice, row, column] in the radiological view, centred on the MNI brain."""
    if affine is None:
        affine = np.eye(4)
        affine[:3, 3] = (-volume.shape[2] / 2, -17 - volume.shape[1] / 2, 4 - volume.shape[0] / 2)
    nibabel.save(nibabel.Nifti1Image(volume.transpose(2, 1, 0)[::-1, ::-1], affine), path)
    return path


def test_names_tell_contrast_and_person():
    assert contrast_of_name("MNI_p07_FLAIR.nii.gz") == "FLAIR"
    assert contrast_of_name("p01_study1_T1W.nii.gz") == "T1"
    assert contrast_of_name("spm12_avg152T2.nii.gz") == "T2"
    assert contrast_of_name("JHU_ArterialAtlas_MNI_uint8.nii.gz") is None
    assert person_of_name("MNI_p07") == person_of_name("p07_study2") == "p07"


def test_npz_fractions_follow_labels(tmp_path: Path):
    labels = _write_npz(tmp_path / "heads.npz", groups=np.array(["anna", "anna"]))
    sources = find_anatomies(tmp_path)
    assert [source.group for source in sources] == ["anna", "anna"]
    anatomy = sources[0].load()
    assert anatomy.fractions is not None
    assert anatomy.kind == "semi-synthetic"
    assert anatomy.fractions.sum(0).max() <= 1.01
    for code, tissue in ((2, 1), (3, 2), (4, 3)):
        inside = np.stack([_erode(plane == code) for plane in labels[0]])
        assert anatomy.fractions[tissue][inside].mean() > 0.8


def _erode(mask: np.ndarray) -> np.ndarray:
    from scipy.ndimage import binary_erosion

    return binary_erosion(mask, iterations=2)


def test_labelled_and_measured_nifti(tmp_path: Path):
    labels = _phantom_labels((60, 140, 120))
    _write_nifti(tmp_path / "sub-01_tissues.nii.gz", labels)
    image = np.array([0, 40, 300, 250, 260], np.int16)[labels]
    _write_nifti(tmp_path / "p09_FLAIR.nii.gz", image)
    _write_nifti(tmp_path / "p09_T2.nii.gz", image)
    _write_nifti(tmp_path / "p09_lesion.nii.gz", (labels == 4).astype(np.uint8))
    sources = {source.subject: source for source in find_anatomies(tmp_path)}
    assert set(sources) == {"sub-01_tissues", "p09"}
    assert sources["p09"].contrasts == ("FLAIR", "T2")
    assert sources["sub-01_tissues"].contrasts is None
    plan = plan_cohort(list(sources.values()), 2, ["FLAIR", "T1"])
    assert {name.rpartition("-")[0]: contrasts for name, _, contrasts in plan} == {
        "sub-01_tissues": ("FLAIR", "T1"),
        "p09": ("FLAIR",),
    }
    result = simulate_cohort(tmp_path / "out", 2, ["FLAIR"], SMALL, sources=list(sources.values()))
    assert {entry["kind"] for entry in result["scans"]} == {"semi-synthetic"}
    with pytest.raises(ReconError, match="none of the anatomies"):
        plan_cohort([sources["p09"]], 1, ["DWI"])


def test_bad_anatomies_are_one_clear_error(tmp_path: Path):
    with pytest.raises(ReconError, match="no such folder"):
        find_anatomies(tmp_path / "absent")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ReconError, match="no anatomy found"):
        find_anatomies(empty)
    truncated = tmp_path / "a.npz"
    _write_npz(truncated)
    truncated.write_bytes(truncated.read_bytes()[:2000])
    with pytest.raises(ReconError, match=r"a\.npz: truncated"):
        find_anatomies(truncated)
    np.savez(tmp_path / "b.npz", t1=np.zeros(3))
    with pytest.raises(ReconError, match="needs the arrays"):
        find_anatomies(tmp_path / "b.npz")
    pickled = tmp_path / "c.npz"
    np.savez(pickled, t1=np.array([{"a": 1}], dtype=object), labels=np.zeros(1))
    with pytest.raises(ReconError, match=r"c\.npz"):
        find_anatomies(pickled)
    broken = tmp_path / "x_FLAIR.nii.gz"
    broken.write_bytes(b"not a nifti")
    with pytest.raises(ReconError, match=r"x_FLAIR\.nii\.gz: truncated or not readable as NIfTI"):
        find_anatomies(broken)
    holes = np.ones((20, 40, 40), np.float32)
    holes[3, 4, 5] = np.nan
    _write_nifti(tmp_path / "y_FLAIR.nii.gz", holes)
    with pytest.raises(ReconError, match="NaN"):
        find_anatomies(tmp_path / "y_FLAIR.nii.gz")[0].load()


def test_cohort_on_disk(tmp_path: Path):
    settings = SimulationOptions(size=(72, 64), coils=4, slices=4, snr=40.0, seed=1, stroke=True, oversampling=2)
    result = simulate_cohort(tmp_path, 1, ["FLAIR", "DWI"], settings)
    assert (result["written"], result["kept"]) == (2, 0)
    entry = next(entry for entry in result["scans"] if entry["contrast"] == "FLAIR")
    assert entry["kind"] == "simulated"
    assert entry["licence"]
    assert entry["lesion_ml"] > 0
    scan = open_scan(tmp_path / entry["file"])
    assert scan.shape == (4, 4, 144, 64)
    assert scan.image_shape == (72, 64)
    assert scan.contrast == "FLAIR"
    assert scan.mask.all()
    assert scan.acceleration == 1
    assert scan.noise_covariance is not None
    assert scan.noise is not None
    assert scan.affine is not None
    assert scan.read_reference is not None
    assert scan.read_reference(0).shape == (72, 64)
    with h5py.File(tmp_path / entry["lesion_file"]) as file:
        lesion = file["lesion"][()]
        assert lesion.dtype == bool
        assert lesion.shape == (4, 72, 64)
        assert lesion.sum() * np.prod(scan.voxel_size) / 1000 == pytest.approx(entry["lesion_ml"], rel=1e-3)
    # The lesion is where the mask says: brighter than the brain on the diffusion-weighted reference, unless chronic.
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert [scan["file"] for scan in manifest["scans"]] == sorted(scan["file"] for scan in manifest["scans"])

    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.h5")}
    again = simulate_cohort(tmp_path, 1, ["FLAIR", "DWI"], settings)
    assert (again["written"], again["kept"]) == (0, 2)
    assert before == {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.h5")}
    with pytest.raises(ReconError, match="other settings"):
        simulate_cohort(tmp_path, 1, ["FLAIR"], SMALL)


def test_a_lost_scan_comes_back_the_same(tmp_path: Path):
    """Every draw depends on names only: one scan made alone equals the one made among others."""
    simulate_cohort(tmp_path, 2, ["T1", "T2"], SMALL)
    path = tmp_path / "icbm152-001_T2.h5"
    first = open_scan(path).read_kspace(1)
    path.unlink()
    assert simulate_cohort(tmp_path, 2, ["T1", "T2"], SMALL)["written"] == 1
    np.testing.assert_array_equal(open_scan(path).read_kspace(1), first)


def test_real_shapes_and_atlases(tmp_path: Path):
    x, y, z = np.meshgrid(np.arange(-90, 91), np.arange(-125, 92), np.arange(-71, 110), indexing="ij")
    ball = ((x + 40) ** 2 + (y + 10) ** 2 + (z - 25) ** 2 < 18**2).astype(np.uint8)
    affine = np.eye(4)
    affine[:3, 3] = (-90, -125, -71)
    (tmp_path / "shapes").mkdir()
    nibabel.save(nibabel.Nifti1Image(ball, affine), tmp_path / "shapes" / "one.nii.gz")
    atlas = np.where(z > 0, 1 + (x > 0), 0).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(atlas, affine), tmp_path / "atlas.nii.gz")
    stroke = SimulationOptions(
        size=(64, 64), coils=4, slices=6, stroke=True, seed=2, lesion_shapes=str(tmp_path / "shapes")
    )
    entry = simulate_cohort(tmp_path / "a", 1, ["T1"], stroke)["scans"][0]
    assert entry["kind"] == "semi-synthetic"
    assert entry["lesion_territory"] == "MCA"
    assert entry["lesion_stage"] == "chronic"
    assert 5 < entry["lesion_ml"] < 40
    own = SimulationOptions(
        size=(64, 64), coils=4, slices=6, stroke=True, seed=2, territories=str(tmp_path / "atlas.nii.gz")
    )
    entry = simulate_cohort(tmp_path / "b", 1, ["T1"], own)["scans"][0]
    assert entry["lesion_territory"] in ("territory-1", "territory-2")
    with pytest.raises(ReconError, match="no NIfTI masks"):
        find_lesion_files(tmp_path / "b", None)
    with pytest.raises(ReconError, match="no such file"):
        find_lesion_files(None, tmp_path / "none.nii.gz")


def test_command(tmp_path: Path, run_cli: Callable[..., Any]):
    words = ("simulate", "--out", tmp_path, "--subjects", 1, "--size", 64, "--coils", 4, "--slices", 2, "--snr", 50)
    outcome = run_cli(*words, "--contrast", "FLAIR", "--stroke", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["output"] == str(tmp_path)
    assert outcome.json["written"] == 1
    assert (tmp_path / outcome.json["scans"][0]["file"]).is_file()
    again = run_cli(*words, "--contrast", "FLAIR", "--stroke")
    assert again.code == 0
    assert "0 scans written, 1 kept" in again.out


def test_what_is_kept_is_whole_and_of_the_same_inputs(tmp_path: Path, run_cli: Callable[..., Any]):
    shapes, out = tmp_path / "shapes", tmp_path / "out"
    shapes.mkdir()
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[5:15, 5:15, 5:15] = 1
    affine = np.array([[2.0, 0, 0, -50], [0, 2, 0, -10], [0, 0, 2, 0], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(mask, affine), shapes / "one.nii.gz")
    words = ("simulate", "--out", out, "--size", 48, "--coils", 2, "--slices", 2, "--stroke", "--lesion-shapes", shapes)
    first = run_cli(*words, "--json")
    assert first.code == 0, first.err
    scan = out / first.json["scans"][0]["file"]
    whole = scan.read_bytes()
    scan.write_bytes(whole[:-1000])
    again = run_cli(*words, "--json")
    assert (again.json["written"], again.json["kept"]) == (1, 0)
    assert scan.read_bytes() == whole
    mask[5:10] = 0
    nibabel.save(nibabel.Nifti1Image(mask, affine), shapes / "one.nii.gz")
    changed = run_cli(*words)
    assert changed.code == 2
    assert "simulated from other files than lesion_shapes" in changed.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--contrast", "T9"), "T9"),
        (("--size", "many"), "--size many"),
        (("--size", "4"), "16 to 1024"),
        (("--snr", "-1"), "SNR"),
        (("--coils", "0"), "coils"),
        (("--territory", "MCA"), "add --stroke"),
        (("--stroke", "--territory", "LCA"), "LCA"),
        (("--stroke", "--stage", "old"), "old"),
        (("--anatomy", "/nowhere"), "/nowhere"),
        (("--oversampling", "3"), "oversampling"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    tmp_path: Path, run_cli: Callable[..., Any], words: tuple[str, ...], message: str
):
    outcome = run_cli("simulate", "--out", tmp_path / "out", *words)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_damaged_manifest_is_refused(tmp_path: Path, run_cli: Callable[..., Any]):
    (tmp_path / "manifest.json").write_text("{")
    outcome = run_cli("simulate", "--out", tmp_path, "--size", 64)
    assert outcome.code == 2
    assert "manifest" in outcome.err


def test_real_heads(shared_data: Path, tmp_path: Path):
    """The public heads beside the repository: repeats of one child are one person; every kind of file can be used."""
    children = shared_data / "labels_ptbp60"
    if not children.is_dir():
        pytest.skip("labels_ptbp60 is not among the real data")
    sources = find_anatomies(children)
    assert len(sources) == 60
    assert len({source.group for source in sources}) == 45
    assert sources[3].group == sources[4].group != sources[5].group == sources[7].group
    result = simulate_cohort(tmp_path / "labels", 1, ["FLAIR"], SMALL, sources=sources)
    assert result["scans"][0]["kind"] == "semi-synthetic"
    images = shared_data / "ms_open_ms_data" / "MNI_p07_FLAIR.nii.gz"
    if images.is_file():
        source = find_anatomies(images)
        entry = simulate_cohort(tmp_path / "images", 1, ["FLAIR"], SMALL, sources=source)["scans"][0]
        assert entry["sequence"] == "measured"
        assert entry["group"] == "p07"
