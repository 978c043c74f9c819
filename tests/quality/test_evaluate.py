"""recon evaluate: the library's figures, matched files, a table, one clear line for what cannot be compared."""

import csv
import json

import h5py
import nibabel
import numpy as np
import pytest

from recon.errors import ReconError
from recon.images.references import read_reference
from recon.images.result import ResultHeader, write_result
from recon.quality import metrics
from recon.quality.comparison import compare_files
from recon.quality.lesions import evaluate_lesions
from recon.quality.pairing import pair
from recon.scans.fastmri import ScanDescription, write_fastmri

SHAPE = (3, 40, 32)
AFFINE = np.array([[0, -0.8, 0, 20.0], [0.7, 0, 0, -15], [0, 0, 5, 3], [0, 0, 0, 1]])


def head(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Magnitude ``[slice, readout, phase]`` with a bright lesion, and the lesion's mask."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : SHAPE[1] * 1j, -1 : 1 : SHAPE[2] * 1j]
    image = np.where((y / 0.9) ** 2 + (x / 0.8) ** 2 < 1, 100.0, 0.0)[None].repeat(SHAPE[0], 0)
    image *= 1 + 0.02 * generator.normal(size=SHAPE)
    lesion = np.zeros(SHAPE, bool)
    lesion[1] = np.hypot(y - 0.2, x + 0.3) < 0.2
    image[lesion] *= 1.5
    return image.astype(np.float32), lesion


def result(path, image, affine=AFFINE, **attributes):
    path.parent.mkdir(parents=True, exist_ok=True)
    attributes = {"method": "posterior", "scan_name": path.stem, "acceleration": 2.0, **attributes}
    with write_result(
        path,
        ResultHeader(
            slices=len(image),
            shape=image.shape[1:],
            contrast="FLAIR",
            voxel_size=(0.7, 0.8, 5.0),
            affine=affine,
            configuration={},
            attributes=attributes,
        ),
    ) as writer:
        for index, one in enumerate(image):
            writer.put(index, reconstruction=one)
    return path


def scan(path, image, affine=AFFINE, stored=False):
    """A fully sampled two-coil scan whose root sum of squares is ``image``."""
    coil_images = np.stack([0.6 * image, 0.8j * image], axis=1)
    kspace = np.fft.ifftshift(coil_images, axes=(-2, -1))
    kspace = np.fft.fftshift(np.fft.fft2(kspace, norm="ortho"), axes=(-2, -1)).astype(np.complex64)
    described = ScanDescription(kspace.shape, contrast="FLAIR", voxel_size=(0.7, 0.8, 5.0), affine=affine)
    with write_fastmri(path, described) as writer:
        for index in range(len(kspace)):
            writer.put(index, kspace[index], reference=image[index] if stored else None)
    return path


def nifti(path, image, affine=AFFINE):
    nibabel.Nifti1Image(np.moveaxis(image, 0, -1), affine).to_filename(path)
    return path


def noisy(image, seed=1):
    return np.abs(image + 5 * np.random.default_rng(seed).normal(size=image.shape)).astype(np.float32)


def test_against_the_fully_sampled_scan_with_lesions_and_table(run_cli, tmp_path):
    image, lesion = head()
    faded = noisy(image)
    faded[lesion] *= 0.9
    with h5py.File(tmp_path / "a_lesion.h5", "w") as file:
        file["lesion"] = lesion
    outcome = run_cli(
        "evaluate",
        result(tmp_path / "a.h5", faded),
        *("--reference", scan(tmp_path / "full.h5", image)),
        *("--lesions", tmp_path / "a_lesion.h5", "--table", tmp_path / "out.csv", "--slices", "--json"),
    )
    assert outcome.code == 0
    found = outcome.json
    expected = metrics.evaluate(faded, image)
    lesions = evaluate_lesions(faded, image, lesion)
    for key in ("nrmse", "psnr", "ssim", "hfen"):
        assert found[key] == pytest.approx(getattr(expected.volume, key), rel=1e-4)
        assert found["scans"][2][key] == pytest.approx(getattr(expected.slices[1], key), rel=1e-4)
    assert found["lesion_contrast_error"] == pytest.approx(lesions.contrast_error, rel=1e-3)
    assert found["lesion_nrmse"] == pytest.approx(lesions.nrmse, rel=1e-4)
    assert found["output"] == str(tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["slice"] for row in rows] == ["", "0", "1", "2"]
    assert float(rows[0]["nrmse"]) == found["nrmse"]
    assert rows[0]["reference_kind"].startswith("root sum of squares")
    assert rows[0]["method"] == "posterior"


def test_table_for_people(run_cli, tmp_path):
    image, _ = head()
    reference = scan(tmp_path / "full.h5", image)
    outcome = run_cli(
        "evaluate",
        result(tmp_path / "ours" / "a.h5", noisy(image)),
        result(tmp_path / "sense" / "a.h5", noisy(image, 2), method="sense"),
        "--reference",
        reference,
    )
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["scan", "method", "nrmse", "psnr", "ssim", "hfen", "scale"]
    assert [line.split()[:2] for line in lines[1:3]] == [["a", "posterior"], ["a", "sense"]]
    assert len(lines) == 4, "the mean of one result is that result"


def test_means_are_those_of_one_method(run_cli, tmp_path):
    images = {name: head(seed)[0] for seed, name in enumerate("ab")}
    results = [result(tmp_path / "good" / f"{name}.h5", noisy(image)) for name, image in images.items()]
    results += [result(tmp_path / "bad" / f"{name}.h5", image * 2, method="sense") for name, image in images.items()]
    references = [scan(tmp_path / f"{name}.h5", image) for name, image in images.items()]
    words = ("evaluate", *results, "--reference", *references, "--table", tmp_path / "table.csv")
    found = run_cli(*words, "--json").json
    rows = found["scans"]
    assert found["nrmse"] is None, "of different methods"
    for method, row in zip(("posterior", "sense"), found["methods"], strict=True):
        assert row["method"] == method
        assert row["nrmse"] == pytest.approx(np.mean([one["nrmse"] for one in rows if one["method"] == method]))
    told = [line.split() for line in run_cli(*words).out.splitlines()]
    assert [line[:2] for line in told[5:7]] == [["mean", "posterior"], ["mean", "sense"]]
    with (tmp_path / "table.csv").open() as file:
        assert [row["method"] for row in csv.DictReader(file) if row["scan"] == "mean"] == ["posterior", "sense"]
    one = run_cli("evaluate", *results[:2], "--reference", *references, "--json").json
    assert one["nrmse"] == found["methods"][0]["nrmse"]
    assert "posterior, sense" in run_cli(*words, "--by", "vendor").err


def test_several_results_and_references_by_name_or_order(run_cli, tmp_path):
    images = {name: head(seed)[0] * (1 + seed) for seed, name in enumerate("abc")}
    results = [result(tmp_path / "out" / f"{name}.h5", image) for name, image in images.items()]
    references = [scan(tmp_path / f"{name}.h5", image) for name, image in reversed(images.items())]
    outcome = run_cli("evaluate", *results, "--reference", *references, "--json")
    assert outcome.json["nrmse"] < 1e-6
    assert [row["scan"] for row in outcome.json["scans"]] == ["a", "b", "c"]
    # the option repeated, and the results last, mean the same
    words = [word for reference in references for word in ("--reference", reference)]
    assert run_cli("evaluate", *words, *results, "--json").json == outcome.json


def test_pairing_refuses_contradictions(tmp_path):
    files = [tmp_path / "a.h5", tmp_path / "b.h5"]
    assert pair(["b", "a", "b"], files, "reference") == [files[1], files[0], files[1]]
    assert pair(["x", "y"], files, "reference") == files
    assert pair(["x", "y", "z"], files[:1], "reference") == [files[0]] * 3
    assert pair(["b", "a"], [tmp_path / "a_lesion.nii.gz", tmp_path / "b_lesion.nii.gz"], "lesions")[0].name[0] == "b"
    with pytest.raises(ReconError, match=r"by order 'b' would be compared with a\.h5"):
        pair(["b", "z"], files, "reference")
    with pytest.raises(ReconError, match="3 results and 2 files"):
        pair(["x", "y", "z"], files, "reference")


def test_stored_reference_result_and_nifti_are_references_too(tmp_path):
    image, _ = head()
    one = [result(tmp_path / "x.h5", noisy(image))]
    full = compare_files(one, [scan(tmp_path / "full.h5", image)], [])[0]["nrmse"]
    for reference in (
        scan(tmp_path / "stored.h5", image, stored=True),
        result(tmp_path / "y.h5", image),
        nifti(tmp_path / "z.nii.gz", image),
    ):
        assert compare_files(one, [reference], [])[0]["nrmse"] == pytest.approx(full, rel=1e-4)


def test_nifti_turned_around_by_another_program_is_turned_back(tmp_path):
    image, lesion = head()
    turned = np.moveaxis(image, 0, -1)[::-1].transpose(1, 0, 2)  # readout flipped, then axes swapped
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = SHAPE[1] - 1
    swap = np.eye(4)[[1, 0, 2, 3]]
    nibabel.Nifti1Image(turned, AFFINE @ flip @ swap).to_filename(tmp_path / "turned.nii")
    mask = np.moveaxis(lesion, 0, -1)[::-1].transpose(1, 0, 2).astype(np.uint8)
    nibabel.Nifti1Image(mask, AFFINE @ flip @ swap).to_filename(tmp_path / "mask.nii")
    row = compare_files([result(tmp_path / "x.h5", image)], [tmp_path / "turned.nii"], [tmp_path / "mask.nii"])[0]
    assert row["nrmse"] < 1e-6
    assert row["lesion_pixels"] == lesion.sum()


def test_different_grids_are_refused_in_one_line(run_cli, tmp_path):
    image, lesion = head()
    one = result(tmp_path / "x.h5", image)
    shifted = AFFINE.copy()
    shifted[0, 3] += 0.5
    cases = {
        "3 slices of 40 x 30": result(tmp_path / "narrow.h5", image[..., 1:-1], affine=None),
        "elsewhere in space": nifti(tmp_path / "shifted.nii", image, shifted),
    }
    for words, reference in cases.items():
        outcome = run_cli("evaluate", one, "--reference", reference)
        assert outcome.code == 2
        assert words in outcome.err
        assert len(outcome.err.strip().splitlines()) == 1
    with h5py.File(tmp_path / "mask.h5", "w") as file:
        file["lesion"] = lesion[:2]
    outcome = run_cli("evaluate", one, "--reference", scan(tmp_path / "s.h5", image), "--lesions", tmp_path / "mask.h5")
    assert outcome.code == 2
    assert "lesion mask has 2 slices" in outcome.err


def test_bad_files_are_refused_in_one_line(run_cli, tmp_path):
    image, _ = head()
    one, full = result(tmp_path / "x.h5", image), scan(tmp_path / "full.h5", image)
    (tmp_path / "cut.h5").write_bytes(full.read_bytes()[:5000])
    (tmp_path / "text.nii").write_text("not an image")
    (tmp_path / "empty.csv").write_text("old")
    cases = [
        ((one, "--reference", tmp_path / "cut.h5"), "truncated"),
        ((one, "--reference", tmp_path / "none.h5"), "no such file"),
        ((one, "--reference", tmp_path / "text.nii"), "not readable as NIfTI"),
        ((tmp_path / "cut.h5", "--reference", full), "truncated"),
        ((one, "--reference", full, "--lesions", full), "no dataset 'lesion'"),
        ((one, "--reference", full, "--lesions", tmp_path / "empty.csv"), "not readable as HDF5 or NIfTI"),
        ((one, "--reference", full, "--table", tmp_path / "x.h5" / "t.csv"), "cannot write"),
        ((one,), "--reference"),
    ]
    for words, expected in cases:
        outcome = run_cli("evaluate", *words)
        assert outcome.code == 2, words
        assert expected in outcome.err
        assert outcome.out == ""
        assert len(outcome.err.strip().splitlines()) == 1


def test_an_undersampled_scan_is_no_reference(tmp_path):
    image, _ = head()
    full = scan(tmp_path / "full.h5", image)
    with h5py.File(full, "a") as file:
        mask = np.arange(SHAPE[2]) % 2 == 0
        file["kspace"][...] = file["kspace"][()] * mask
        file["mask"] = mask
    with pytest.raises(ReconError, match=r"undersampled .* fully sampled scan"):
        read_reference(full)


def test_an_undefined_figure_is_null_in_json(run_cli, tmp_path):
    image, _ = head()
    image[2] = 0
    outcome = run_cli(
        *("evaluate", result(tmp_path / "x.h5", image + 1), "--slices", "--json"),
        *("--reference", nifti(tmp_path / "r.nii", image)),
    )
    assert json.loads(outcome.out)["scans"][3]["nrmse"] is None


def test_one_mask_serves_every_contrast_of_a_head(tmp_path):
    """Masks of `recon simulate` are named after the head, its scans after head and contrast."""
    masks = [tmp_path / "head-1_lesion.h5", tmp_path / "head-2_lesion.h5"]
    names = ["head-2_DWI", "head-1_FLAIR", "head-2_FLAIR"]
    assert pair(names, masks, "lesions") == [masks[1], masks[0], masks[1]]
    # By order, both of one head would get one mask each.
    assert pair(["head-2_DWI", "head-2_FLAIR"], masks, "lesions") == [masks[1], masks[1]]
    with pytest.raises(ReconError, match="3 results and 2 files"):
        pair(["head-10_DWI", "head-1_FLAIR", "head-2_FLAIR"], masks, "lesions")


def test_two_results_of_one_scan_and_method_are_told_apart(run_cli, tmp_path):
    """One prior against another: the same scan, the same method, two folders."""
    image, _ = head()
    truth = scan(tmp_path / "a.h5", image)
    first, second = (result(tmp_path / name / "a.h5", factor * image) for name, factor in (("old", 1.1), ("new", 1.0)))
    other = result(tmp_path / "classical" / "a.h5", image, method="sense")
    said = run_cli("evaluate", first, second, other, "--reference", truth).out
    assert [line.split("  ")[0] for line in said.splitlines()[1:4]] == [f"a ({first})", f"a ({second})", "a"]
    assert run_cli("evaluate", first, "--reference", truth).out.splitlines()[1].startswith("a     posterior")
