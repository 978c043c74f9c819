"""``recon benchmark``: derived scans, oracles that are oracles, held-out samples that are held out."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.acquisition.fourier_numpy import to_image
from recon.acquisition.problem import preprocess_coils
from recon.acquisition.rss import reference_image
from recon.benchmark.held_out import hold_out, withheld
from recon.errors import ReconError
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import solver_for
from recon.scans.derived import with_axes_swapped, with_mask, with_noise, with_slices
from recon.scans.opening import open_scan
from recon.scans.options import UndersamplingOptions
from recon.scans.undersample import undersample
from tests.small_world import SIZE, write_small_prior, write_small_scan


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    return open_scan(write_small_scan(tmp_path_factory.mktemp("scan") / "full.h5"))


@pytest.fixture(scope="module")
def poisson(scan, tmp_path_factory):
    path = tmp_path_factory.mktemp("poisson") / "poisson.h5"
    undersample(scan, path, UndersamplingOptions(acceleration=2, mask="poisson", calibration_lines=12))
    return open_scan(path)


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    return write_small_prior(tmp_path_factory.mktemp("prior"))


def test_swapping_axes_turns_the_image_and_twice_is_the_original(scan):
    turned = with_axes_swapped(scan)
    np.testing.assert_allclose(reference_image(turned, 1), reference_image(scan, 1).T, rtol=1e-5)
    assert turned.shape == (2, 4, SIZE[1], SIZE[0])
    back = with_axes_swapped(turned)
    np.testing.assert_allclose(back.read_kspace(0), scan.read_kspace(0), atol=1e-6)
    np.testing.assert_allclose(back.affine, scan.affine)
    assert len({scan.digest, turned.digest, back.digest}) == 3
    # The same place in the body, whichever way it is counted.
    np.testing.assert_allclose(turned.affine @ [3, 7, 1, 1], scan.affine @ [7, 3, 1, 1])


def test_swapping_axes_removes_readout_oversampling(scan):
    wide = dataclasses.replace(scan, image_shape=(SIZE[0] // 2, SIZE[1]), read_reference=None)
    turned = with_axes_swapped(wide)
    assert turned.shape[2:] == (SIZE[1], SIZE[0] // 2)
    expected = reference_image(wide, 0)
    image = np.sqrt((np.abs(to_image(turned.read_kspace(0))) ** 2).sum(0))
    np.testing.assert_allclose(image, expected.T, rtol=1e-4, atol=1e-5)


def test_swapping_axes_needs_every_sample(scan):
    mask = np.ones(SIZE[1], bool)
    mask[::5] = False
    with pytest.raises(ReconError, match="every k-space position"):
        with_axes_swapped(with_mask(scan, mask))


def test_added_noise_reaches_the_stated_image_snr(scan):
    whitening = preprocess_coils(scan).noise.whitening().numpy()
    noisy = with_noise(scan, 12.0, 0, whitening)
    added = np.stack([np.tensordot(whitening, noisy.read_kspace(i) - scan.read_kspace(i), 1) for i in range(2)])
    image = np.stack([np.tensordot(whitening, scan.read_kspace(i), 1) for i in range(2)])
    rss = np.sqrt((np.abs(to_image(image)) ** 2).sum(1))
    total = np.sqrt(1 + added.real.std() ** 2)  # the scan's own whitened noise is one
    assert np.percentile(rss, 99) / total == pytest.approx(12.0, rel=0.02)
    assert added.real.std() == pytest.approx(added.imag.std(), rel=0.05)
    np.testing.assert_array_equal(noisy.read_kspace(1), noisy.read_kspace(1))
    assert np.cov(noisy.noise).real[0, 0] == pytest.approx(np.cov(scan.noise).real[0, 0] * total**2, rel=1e-2)
    with pytest.raises(ReconError, match="image SNR is only"):
        with_noise(scan, 1e6, 0, whitening)


def test_some_slices_keep_their_place(scan):
    second = with_slices(scan, range(1, 2))
    np.testing.assert_array_equal(second.read_kspace(0), scan.read_kspace(1))
    np.testing.assert_allclose(second.affine @ [2, 3, 0, 1], scan.affine @ [2, 3, 1, 1])
    with pytest.raises(ReconError, match="slices 0 to 1"):
        with_slices(scan, range(1, 3))


@settings(max_examples=20, deadline=None)
@given(fraction=st.floats(0.05, 0.8), seed=st.integers(0, 1000))
def test_held_out_samples_were_measured_and_are_not_seen(poisson, fraction, seed):
    part = hold_out(poisson, fraction, seed)
    assert not (part.held & part.scan.mask).any()
    np.testing.assert_array_equal(part.held | part.scan.mask, poisson.mask)
    assert part.scan.calibration == poisson.calibration
    assert not part.scan.read_kspace(0)[:, part.held].any()
    outside = poisson.mask.sum() - np.prod(poisson.calibration)
    assert part.held.sum() == round(fraction * outside)


def test_held_out_error_of_the_true_image_is_the_noise_floor(scan, poisson):
    part = hold_out(poisson, 0.15, 0)
    solver = solver_for(part.scan, ReconstructionOptions(method="zero-filled", coils=poisson.shape[1]))
    preprocessing = solver.measurement.preprocessing
    data = withheld(poisson, part, solver.measurement, solver.prepare(range(2)))
    nothing = torch.zeros((2, 1, *SIZE), dtype=torch.complex64)
    assert data.error(nothing) == pytest.approx(1.0)
    # The least-squares image of the fully sampled scan through the same maps stands for the truth: it carries
    # noise of its own, and the maps are estimates, so it may miss the floor by a little.
    from recon.acquisition.coils import apply_coil_matrix
    from recon.acquisition.sense import adjoint

    kspace = torch.stack([torch.from_numpy(scan.read_kspace(i)) for i in range(2)])
    kspace = apply_coil_matrix(preprocessing.whiten_compress, kspace) / data.problem.scale[:, None, None, None]
    truth = adjoint(kspace, data.problem.maps, torch.ones(SIZE[1], dtype=torch.bool))
    assert data.error(truth) < 2.5 * data.noise_floor()
    assert data.error(truth) < 0.5


def test_benchmark_of_every_method(run_cli, scan, prior, tmp_path):
    outcome = run_cli(
        "benchmark", scan.path, "--prior", prior, "--acceleration", "2", "--axis", "readout", "--calibration-lines", 12,
        "--noise-snr", 20, "--samples", 2, "--weights", "dps=0.5,2",
        "--steps", 2, "--oracle", "--slices", 0, "--out", tmp_path, "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    rows = outcome.json["rows"]
    methods = [
        "posterior",
        "stochastic-dds",
        "pula",
        "dds",
        "pigdm",
        "daps",
        "dps",
        "zero-filled",
        "grappa",
        "sense",
        "sense",
        "l1-wavelet",
        "l1-wavelet",
    ]
    for axis in ("readout",):
        found = [row for row in rows if row["axis"] == axis]
        assert [row["method"] for row in found] == methods
        for name in ("sense", "l1-wavelet"):
            plain, oracle = [row for row in found if row["method"] == name]
            assert (plain["oracle"], oracle["oracle"]) == (False, True)
            assert oracle["nrmse"] <= plain["nrmse"] * 1.01
        assert all(np.isfinite([row["nrmse"], row["psnr"], row["ssim"], row["hfen"]]).all() for row in found)
        pula, dps = found[2], found[6]
        assert dps["oracle"], "it has no default weight, and the table says so"
        assert dps["weight"] in (pytest.approx(0.5), pytest.approx(2.0))
        assert dps["network_calls"] == pula["network_calls"] == 4, "as many samples as each other"
        assert (tmp_path / f"benchmark-{axis}.png").stat().st_size > 10_000
    assert (tmp_path / "benchmark.json").is_file()


def test_benchmark_on_held_out_samples(run_cli, poisson, prior):
    outcome = run_cli(
        "benchmark", poisson.path, "--prior", prior, "--hold-out", 0.15, "--oracle", "--samples", 1, "--steps", 2,
        "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    rows = {(row["method"], row["oracle"]): row["held_out_nrmse"] for row in outcome.json["rows"]}
    assert rows["zero-filled", False] == pytest.approx(1.0, abs=0.3)  # it predicts next to nothing where nothing was
    assert rows["sense", True] <= rows["sense", False] * 1.01
    assert rows["l1-wavelet", True] <= rows["l1-wavelet", False] * 1.01
    assert rows["sense", True] < 0.9
    assert ("posterior", False) in rows


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--axis", "slice"), "choose phase, readout or both"),
        (("--acceleration", "two"), "is no float"),
        (("--weights", "grappa=1"), "a method that has a weight is needed"),
        (("--slices", "9"), "no such slice"),
        (("--methods", "magic"), "unknown method 'magic'; choose from"),
        (("--hold-out", "1.5"), "between 0 and 0.9"),
    ],
)
def test_mistakes_are_one_line(run_cli, scan, prior, words, complaint):
    outcome = run_cli("benchmark", scan.path, "--prior", prior, *words)
    assert outcome.code == 2
    assert complaint in outcome.err.splitlines()[-1]


def test_options_that_a_later_method_cannot_take_are_refused_before_the_first(run_cli, scan, prior, tmp_path):
    words = ("--methods", "posterior,stochastic-dds", "--samples", 0, "--out", tmp_path)
    outcome = run_cli("benchmark", scan.path, "--prior", prior, *words)
    assert outcome.code == 2
    assert "is the mean of its samples" in outcome.err.splitlines()[-1]
    assert not list(tmp_path.rglob("*.h5"))


def test_an_undersampled_scan_is_sent_to_held_out_scoring(run_cli, poisson, prior):
    outcome = run_cli("benchmark", poisson.path, "--prior", prior, "--methods", "zero-filled")
    assert outcome.code == 2
    assert "--hold-out" in outcome.err
