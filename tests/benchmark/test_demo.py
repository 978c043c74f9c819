"""``recon demo``: the whole chain, small, with a prior of random weights."""

import json

import h5py
import pytest

from tests.small_world import write_small_prior

METHODS = ["zero-filled", "grappa", "sense", "l1-wavelet", "posterior"]


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    return write_small_prior(tmp_path_factory.mktemp("prior"))


def test_demo_runs_every_method_at_both_accelerations(run_cli, prior, tmp_path):
    out = tmp_path / "demo"
    outcome = run_cli("demo", "--quick", "--prior", prior, "--out", out, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["simulated"]
    rows = outcome.json["rows"]
    assert [(row["acceleration"], row["method"]) for row in rows] == [(r, m) for r in (2, 4) for m in METHODS]
    by = {(row["acceleration"], row["method"]): row for row in rows}
    for rate in (2, 4):
        assert by[rate, "sense"]["nrmse"] < by[rate, "zero-filled"]["nrmse"]
        assert by[rate, "l1-wavelet"]["nrmse"] < by[rate, "zero-filled"]["nrmse"]
    for row in rows:
        assert 0 < row["ssim"] <= 1
        assert row["lesion_contrast_error"] >= 0
        assert row["seconds"] > 0
    assert by[2, "sense"]["nrmse"] < by[4, "sense"]["nrmse"]
    assert by[2, "posterior"]["network_calls"] > 0

    from matplotlib.image import imread

    picture = imread(out / "demo.png")
    assert picture.shape[1] > picture.shape[0] > 400  # six columns, two accelerations with their errors
    stored = json.loads((out / "demo.json").read_text())
    assert stored["simulated"] is True
    assert stored["rows"][0]["nrmse"] == rows[0]["nrmse"]
    # The undersampled scan holds no reference that a reconstruction could see.
    with h5py.File(next((out / "R4").glob("*_FLAIR.h5"))) as file:
        assert "reconstruction_rss" not in file


def test_demo_without_a_prior_says_what_is_missing(run_cli, tmp_path):
    outcome = run_cli("demo", "--quick", "--prior", tmp_path / "nowhere", "--out", tmp_path / "demo")
    assert outcome.code == 2
    assert "not a prior" in outcome.err.splitlines()[-1]
