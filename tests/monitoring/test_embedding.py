"""Embeddings in the windows: a change that no figure shows, and encoders that do not fit together."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recon.errors import ReconError
from recon.monitoring.baseline import fit_baseline, read_baseline, write_baseline
from recon.monitoring.check import check_scans, windows_of
from recon.monitoring.features import WatchedScan
from recon.monitoring.options import CheckOptions, FitOptions

OPTIONS = CheckOptions(level=0.05)


def scans(first: int, count: int, moved: float = 0.0, **facts: str) -> list[WatchedScan]:
    found = []
    for number in range(first, first + count):
        generator = np.random.default_rng(number)
        figures = {name: float(generator.standard_normal()) for name in ("chi2", "noise_std")}
        embedding = tuple(float(value) for value in generator.standard_normal(6) + moved)
        found.append(
            WatchedScan(f"scan-{number}", str(number), None, {"contrast": "FLAIR", **facts}, figures, embedding)
        )
    return found


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("baseline") / "b.json"
    write_baseline(path, fit_baseline(scans(0, 30), FitOptions(run_length=50), ("small", "ab")))
    return read_baseline(path)


def test_what_only_the_encoder_sees_is_found_by_the_window(baseline: Any) -> None:
    found = check_scans(scans(100, 10, moved=1.5), baseline, OPTIONS)
    assert found.strata[0].alarms == ()
    assert found.strata[0].windows[0].changed
    assert "window of scans 1 to 10 differs" in found.verdict
    assert not check_scans(scans(100, 10), baseline, replace(OPTIONS, level=0.001)).changed


def test_without_embeddings_the_scans_do_not_fit(baseline: Any) -> None:
    bare = [replace(scan, embedding=None) for scan in scans(100, 10)]
    with pytest.raises(ReconError, match="same encoder"):
        check_scans(bare, baseline, OPTIONS)


def test_several_strata_are_named_by_what_tells_them_apart() -> None:
    both = [*scans(0, 24, site="a", vendor="v"), *scans(50, 24, site="b", vendor="v")]
    known = fit_baseline(both, FitOptions(run_length=50, by=("vendor", "site", "contrast")))
    shifted = [
        replace(scan, figures={**scan.figures, "chi2": scan.figures["chi2"] + 6})
        for scan in scans(200, 8, site="b", vendor="v")
    ]
    found = check_scans([*scans(100, 8, site="a", vendor="v"), *shifted], known, replace(OPTIONS, level=0.001))
    assert found.changed
    assert "site b: residual of the samples over the noise up (scan " in found.verdict
    assert "vendor" not in found.verdict
    assert [entry.changed for entry in found.strata] == [False, True]


def test_the_last_window_takes_the_rest() -> None:
    assert windows_of(4, 10) == []
    assert windows_of(7, 10) == [range(7)]
    assert windows_of(25, 10) == [range(10), range(10, 25)]
    assert windows_of(20, 10) == [range(10), range(10, 20)]


@pytest.mark.slow
def test_the_shipped_encoder_goes_through_the_command(tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    from recon.images.result import ResultHeader, write_result

    affine = np.array([[0, 5.0, 0, -50], [5.0, 0, 0, -50], [0, 0, 6.0, 0], [0, 0, 0, 1]])
    for number in range(26):
        folder, generator = tmp_path / ("old" if number < 20 else "new"), np.random.default_rng(number)
        image = np.zeros((6, 28, 24), np.float32)
        image[:, 4:24, 4:20] = 1 + 0.3 * generator.random((6, 20, 16))
        folder.mkdir(exist_ok=True)
        header = ResultHeader(6, (28, 24), "FLAIR", (5.0, 5.0, 6.0), affine, attributes={"method": "sense"})
        with write_result(folder / f"{number}.h5", header) as writer:
            for index, one in enumerate(image):
                writer.put(index, reconstruction=one)
            writer.close_with({"noise_std": 0.1 + 0.01 * float(generator.random()), "warnings": []})
    base = tmp_path / "b.json"
    found = run_cli("monitor", "fit", tmp_path / "old", "--out", base, "--embed", "--run-length", "20", "--json")
    assert found.code == 0, found.err
    assert found.json["encoder"][0] == read_baseline(base).encoder[0]  # type: ignore[index]
    assert read_baseline(base).strata[0].embeddings is not None
    checked = run_cli("monitor", "check", tmp_path / "new", "--baseline", base, "--level", "0.001", "--json")
    assert checked.code == 0, checked.out + checked.err
