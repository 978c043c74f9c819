"""``recon monitor fit`` and ``check`` on small result files, good and hostile."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recon.images.result import ResultHeader, write_result

Run = Callable[..., Any]
FACTS = {
    "vendor": "simulation",
    "site": "site-a",
    "field_strength_t": 3.0,
    "method": "posterior",
    "prior_hash": "ab" * 32,
}


def write_scan_result(path: Path, number: int, *, noise: float = 1.0, chi2: Any = None, **facts: Any) -> Path:
    """A result of one person with the audit of a posterior."""
    generator = np.random.default_rng(number)
    image = np.zeros((1, 20, 16), np.float32)
    image[:, 3:17, 3:13] = 1 + 0.2 * generator.random((1, 14, 10))
    level = 0.05 * noise * float(np.exp(0.05 * generator.standard_normal()))
    figures = {
        "noise_sigma_relative": level,
        "chi2": float(np.exp(0.03 * generator.standard_normal())) if chi2 is None else chi2,
        "denoising_inflation": float(np.exp(0.1 * generator.standard_normal())),
        "noise_inflation": 1.0,
    }
    facts = {**FACTS, "person": f"{number:016x}", "scan_name": path.stem, "acceleration": 2.0, **facts}
    with write_result(path, ResultHeader(1, (20, 16), "FLAIR", attributes=facts)) as writer:
        writer.put(0, reconstruction=image[0])
        writer.close_with({"figures": figures, "noise_std": level, "warnings": []})
    return path


def cohort(folder: Path, first: int, count: int, **changed: Any) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(first, first + count):
        write_scan_result(folder / f"scan_{number:03d}.h5", number, **changed)
    return folder


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cohort(tmp_path_factory.mktemp("results") / "good", 0, 24)


@pytest.fixture
def baseline(good: Path, tmp_path: Path, run_cli: Run) -> Path:
    path = tmp_path / "baseline.json"
    assert run_cli("monitor", "fit", good, "--out", path, "--run-length", "50").code == 0
    return path


def test_no_change_is_no_change(baseline: Path, tmp_path: Path, run_cli: Run) -> None:
    found = run_cli("monitor", "check", cohort(tmp_path / "new", 100, 12), "--baseline", baseline, "--json")
    assert found.code == 0
    assert found.json["changed"] is False
    assert found.json["strata"][0]["order"] == "given"
    assert found.json["verdict"].startswith("no change seen in 12 scans")
    assert 0 < found.json["chart_false_alarm_probability"] < 0.25


def test_more_noise_is_seen_and_the_page_says_where(baseline: Path, tmp_path: Path, run_cli: Run) -> None:
    new = cohort(tmp_path / "new", 100, 8)
    cohort(new, 200, 12, noise=1.25)
    page = tmp_path / "page.html"
    found = run_cli("monitor", "check", new, "--baseline", baseline, "--out", page, "--json")
    assert found.code == 1
    alarm = found.json["strata"][0]["alarms"][0]
    assert alarm["figure"] in ("noise_sigma_relative", "noise_std", "noise_ratio")
    assert alarm["direction"] == "up"
    assert 9 <= alarm["number"] <= 14
    assert found.json["strata"][0]["windows"][-1]["changed"] is True
    text = page.read_text(encoding="utf-8")
    assert alarm["scan"] in text
    assert "data:image/png;base64," in text
    assert "<script" not in text
    assert "http" not in text
    assert f"{0xC8:016x}" not in text  # not even the person's hash


def test_the_order_is_that_of_acquisition_where_it_is_stated(baseline: Path, tmp_path: Path, run_cli: Run) -> None:
    new = tmp_path / "new"
    new.mkdir()
    for number in range(100, 112):  # the changed ones come first by name, last by time
        noise, day = (1.3, number - 80) if number < 106 else (1.0, number - 100)
        write_scan_result(new / f"{number}.h5", number, noise=noise, acquired_at=f"2026-03-{day:02d}T10:00:00")
    found = run_cli("monitor", "check", new, "--baseline", baseline, "--json").json["strata"][0]
    assert found["order"] == "acquired_at"
    assert found["alarms"][0]["number"] > 6
    assert found["alarms"][0]["acquired_at"].startswith("2026-03-2")


def test_another_stratum_is_not_judged(baseline: Path, tmp_path: Path, run_cli: Run) -> None:
    new = cohort(tmp_path / "new", 100, 6)
    cohort(new, 300, 2, site="site-b")
    found = run_cli("monitor", "check", new, "--baseline", baseline)
    assert found.code == 2
    assert "2 scans without a baseline were NOT judged" in found.out
    alone = run_cli("monitor", "check", cohort(tmp_path / "other", 300, 2, site="site-b"), "--baseline", baseline)
    assert alone.code == 2
    assert "none of the 2 scans has a baseline" in alone.err


def test_by_joins_strata(good: Path, tmp_path: Path, run_cli: Run) -> None:
    out = tmp_path / "baseline.json"
    assert run_cli("monitor", "fit", good, "--out", out, "--by", "contrast,method", "--run-length", "20").code == 0
    new = cohort(tmp_path / "new", 300, 6, site="site-b")
    assert run_cli("monitor", "check", new, "--baseline", out).code == 0
    refused = run_cli("monitor", "fit", good, "--out", out, "--by", "scaner")
    assert (refused.code, "--by scaner: no result states it" in refused.err) == (2, True)


def test_a_baseline_says_what_it_needs(tmp_path: Path, run_cli: Run) -> None:
    found = run_cli("monitor", "fit", cohort(tmp_path / "few", 0, 6), "--out", tmp_path / "baseline.json")
    assert found.code == 2
    assert "20 scans of 10 persons are needed" in found.err
    assert "has 6 of 6" in found.err
    assert not (tmp_path / "baseline.json").exists()


@pytest.mark.parametrize("value", [float("nan"), -1.0, "high", True])
def test_an_audit_that_is_not_a_number_is_refused(value: Any, baseline: Path, tmp_path: Path, run_cli: Run) -> None:
    path = write_scan_result(tmp_path / "odd.h5", 1, chi2=value)
    found = run_cli("monitor", "check", path, "--baseline", baseline)
    assert found.code == 2
    assert "its audit says chi2 =" in found.err
    assert len(found.err.strip().splitlines()) == 1


def test_bad_files_are_said_and_the_others_done(baseline: Path, tmp_path: Path, run_cli: Run) -> None:
    new = cohort(tmp_path / "new", 100, 6)
    (new / "text.h5").write_text("no HDF5")
    whole = (new / "scan_100.h5").read_bytes()
    (new / "cut.h5").write_bytes(whole[: len(whole) // 2])
    found = run_cli("monitor", "check", new, "--baseline", baseline, "--json")
    assert found.code == 2
    assert found.json["changed"] is False
    assert len(found.json["refused"]) == 2


def test_a_result_counts_once(good: Path, tmp_path: Path, run_cli: Run) -> None:
    found = run_cli("monitor", "fit", good, good / "scan_003.h5", "--out", tmp_path / "baseline.json")
    assert (found.code, "named twice" in found.err) == (2, True)


def test_a_figure_that_is_missing_is_said(baseline: Path, tmp_path: Path, run_cli: Run) -> None:
    path = tmp_path / "plain.h5"
    facts = {**FACTS, "acceleration": 2.0}
    with write_result(path, ResultHeader(1, (20, 16), "FLAIR", attributes=facts)) as writer:
        writer.put(0, reconstruction=np.ones((1, 20, 16), np.float32)[0])
        writer.close_with({"noise_std": 0.05, "warnings": []})
    found = run_cli("monitor", "check", path, "--baseline", baseline)
    assert (found.code, "lacks" in found.err) == (2, True)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda b: {**b, "format": "other"}, "not a baseline"),
        (lambda b: {**b, "strata": [{**b["strata"][0], "scale": [0.0]}]}, "damaged baseline"),
        (lambda b: {**b, "strata": "none"}, "damaged baseline"),
        (lambda b: {key: value for key, value in b.items() if key != "by"}, "damaged baseline"),
    ],
)
def test_a_damaged_baseline_is_refused(
    damage: Callable[[Any], Any], said: str, baseline: Path, good: Path, run_cli: Run
) -> None:
    baseline.write_text(json.dumps(damage(json.loads(baseline.read_text()))))
    found = run_cli("monitor", "check", good, "--baseline", baseline)
    assert (found.code, said in found.err) == (2, True)


def test_the_baseline_names_no_person_but_by_hash(baseline: Path) -> None:
    stratum = json.loads(baseline.read_text())["strata"][0]
    assert set(stratum["persons"]) == {f"{number:016x}" for number in range(24)}
    assert stratum["left_out"] == ["noise_inflation"]
