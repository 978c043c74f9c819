"""``recon uncertainty``: what it counts, and that it can tell a right standard deviation from a wrong one."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from recon.benchmark.uncertainty import RegionError, UncertaintyCase, lesion_beside, regions_of
from recon.benchmark.uncertainty_options import UncertaintyOptions
from recon.benchmark.uncertainty_summary import calibration_rows, fitted_factors, reliability
from recon.errors import ReconError
from recon.prior.store import read_facts
from recon.prior.variance_factors import VarianceFactors
from recon.simulate.cohort import simulate_cohort
from recon.simulate.options import SimulationOptions
from tests.small_world import write_small_prior, write_small_scan


def case(person: str, wrong: float = 1.0, acceleration: float = 2.0, amplification: float = 1.0) -> UncertaintyCase:
    """Errors that are ``wrong`` times as large as the standard deviation says."""
    generator = np.random.default_rng(len(person) + int(acceleration))
    std = np.exp(generator.normal(-3, 0.5, 20_000)).astype(np.float32)
    error = (wrong * std * generator.standard_normal(std.size)).astype(np.float32)
    regions = tuple(RegionError(float(e), float(s), abs(e) < 1.645 * s) for e, s in zip(error, std, strict=True))[:400]
    return UncertaintyCase(
        scan=person, person=person, origin="simulated (nowhere)", contrast="T2", acceleration=acceleration,
        reference_kind="truth", error=error, std=std, edge=std > 0.06, lesion=std < 0.03,
        covered=np.abs(error) < 1.645 * std, regions=regions, lesions=regions[:1], relative_std_error=0.1,
        amplification=amplification, denoising_ratio=1.0, spread=1.0,
    )  # fmt: skip


def test_a_right_standard_deviation_is_found_right_and_a_wrong_one_wrong() -> None:
    for wrong, ratio, coverage in ((1.0, 1.0, 0.9), (1.5, 2.25, 0.727)):
        rows = calibration_rows([case("a", wrong), case("bb", wrong)])
        assert [row["group"] for row in rows] == ["all", "T2", "simulated"]
        overall = rows[0]
        assert overall["persons"] == 2
        assert overall["ratio"] == pytest.approx(ratio, rel=0.03)
        assert overall["coverage"] == pytest.approx(coverage, abs=0.01)
        assert overall["region_coverage"] == pytest.approx(coverage, abs=0.05)
        assert overall["lesion_count"] == 2
        curve = [row for row in reliability([case("a", wrong)]) if row["place"] == "all"]
        assert len(curve) == 10
        assert [row["error"] / row["predicted"] for row in curve] == pytest.approx([wrong] * 10, rel=0.08)


def test_the_person_is_the_unit() -> None:
    scans = [dataclasses.replace(case("a"), scan=str(number)) for number in range(3)]
    assert calibration_rows(scans)[0]["ratio_error"] is None, "three scans of one person say nothing of persons"
    assert calibration_rows([*scans, case("bb")])[0]["ratio_error"] is not None


def test_fitted_factors_undo_what_was_wrong() -> None:
    cases = [case("a" * n, level**0.25, 2.0, level) for n, level in enumerate((0.25, 0.5, 1.0, 4.0), 1)]
    law = fitted_factors(cases)
    assert law.amplifications == (0.25, 4.0)
    assert law.denoising_ratios == ()
    assert law.factors == pytest.approx((0.5, 2.0), rel=0.12)
    with pytest.raises(ReconError, match="four cases"):
        fitted_factors(cases[:2])


def test_regions_lie_in_the_head_and_do_not_depend_on_chance() -> None:
    head = np.zeros((2, 30, 30), bool)
    head[:, 5:20, 8:22] = True
    options = UncertaintyOptions(regions=7, region_width=5)
    first, again = (list(regions_of(head, "name", options)) for _ in range(2))
    assert len(first) == 14
    assert all(region.sum() == 25 and (head | ~region).all() for region in first)
    assert all((one == other).all() for one, other in zip(first, again, strict=True))


def test_the_command_measures_draws_and_stores(run_cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    options = SimulationOptions(size=(64, 56), coils=4, slices=1, stroke=True, seed=5)
    simulate_cohort(tmp_path / "scans", 1, ["FLAIR"], options)
    prior, out = write_small_prior(tmp_path / "prior"), tmp_path / "out"
    words = (
        "uncertainty",
        tmp_path / "scans",
        "--prior",
        prior,
        "--acceleration",
        "2,3,4,6",
        "--calibration-lines",
        12,
    )
    found = run_cli(*words, "--regions", 3, "--region-width", 3, "--store", "--out", out, "--json")
    assert found.code == 0, found.err
    assert [row["acceleration"] for row in found.json["rows"] if row["group"] == "all"] == [2, 3, 4, 6]
    assert found.json["reference_kinds"] == ["reference stored in the scan file"]
    assert found.json["rows"][0]["lesion_count"] == 1
    assert (out / "uncertainty.png").stat().st_size > 10_000
    assert json.loads((out / "uncertainty.json").read_text())["rows"] == found.json["rows"]
    stored = read_facts(prior)
    said = found.json["variance_factors"]
    assert stored.spread() == VarianceFactors(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}
    )
    assert len(stored.amplifications) == len(stored.denoising_ratios) == 2


def test_what_cannot_be_judged_is_refused(run_cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    scan = write_small_scan(tmp_path / "full.h5")
    for words, why in (
        (("--method", "sense"), "method 'sense' gives no standard deviation; choose from posterior"),
        (("--region-width", 41), f"{scan}: no region of 41 x 41 pixels fits"),
        (("--calibration-lines", 60), f"{scan}: 60 calibration lines do not fit"),
        (("--store",), "--store needs 4 cases"),
        (("--out", scan), f"{scan}: is a file, not a folder"),
    ):
        refused = run_cli("uncertainty", scan, "--acceleration", "2", "--calibration-lines", 12, *words)
        assert (refused.code, refused.out) == (2, "")
        assert why in refused.err.splitlines()[-1]
        assert "R = 2" not in refused.err, "before anything is reconstructed"
    fast = tmp_path / "fast.h5"
    assert run_cli("undersample", scan, "--acceleration", 2, "--calibration-lines", 12, "--out", fast).code == 0
    refused = run_cli("uncertainty", scan, fast)
    assert refused.code == 2
    assert f"{fast}: undersampled" in refused.err
    assert "R = 2" not in refused.err, "the other one is not reconstructed in vain"
    assert not lesion_beside(scan, (2, 48, 40)).any()
