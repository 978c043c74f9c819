"""Means by site, with intervals over persons and not over scans."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recon.errors import ReconError
from recon.quality.strata import stratum_rows
from tests.quality.test_evaluate import head, noisy, result


def rows_of(folder: Path, values: list[float], persons: list[str], sites: list[str | None]) -> list[dict[str, Any]]:
    image, _ = head()
    rows = []
    for number, (value, person, site) in enumerate(zip(values, persons, sites, strict=True)):
        facts = {"person": person} if site is None else {"person": person, "site": site}
        rows.append({"result": str(result(folder / f"{number}.h5", image, **facts)), "nrmse": value, "psnr": None})
    return rows


def test_means_persons_and_intervals(tmp_path: Path) -> None:
    values = [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.9]
    rows = rows_of(tmp_path, values, list("aabbccd"), [*("north",) * 6, None])
    north, unstated = stratum_rows(rows, "site", ["nrmse", "psnr"])
    assert (north["site"], north["scans"], north["persons"]) == ("north", 6, 3)
    assert north["nrmse"] == pytest.approx(0.2)
    # Of three persons the mean can be that of one of them alone.
    assert north["nrmse_interval"] == pytest.approx([0.1, 0.3])
    assert (north["psnr"], north["psnr_interval"]) == (None, None)
    assert (unstated["site"], unstated["nrmse_interval"]) == ("unstated", None)
    with pytest.raises(ReconError, match="no result states it"):
        stratum_rows(rows, "vendor", ["nrmse"])


def test_evaluate_by_site(tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    image, _ = head()
    reference = result(tmp_path / "reference.h5", image)
    for number in range(6):
        site, field = ("north", 3.0) if number % 2 else ("south", 1.5)
        facts = {"site": site, "field_strength_t": field, "person": str(number)}
        result(tmp_path / "new" / f"{number}.h5", noisy(image, number) + np.float32(5 * (number % 2)), **facts)
    words = ("evaluate", tmp_path / "new", "--reference", reference)
    found = run_cli(*words, "--by", "field_strength", "--json").json["strata"]
    assert [row["field_strength"] for row in found] == ["1.5", "3"]
    assert found[1]["nrmse"] > found[0]["nrmse"]
    assert "site north: 3 scans of 3 persons" in run_cli(*words, "--by", "site").out
    assert run_cli(*words, "--by", "colour").code == 2
