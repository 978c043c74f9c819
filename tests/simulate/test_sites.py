"""Sites: one protocol for everybody there, differences between them, and none without one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recon.errors import ReconError
from recon.scans.opening import open_scan
from recon.simulate.builtin_head import builtin_sources
from recon.simulate.cohort import acquire, position_subject, simulate_cohort
from recon.simulate.options import SITE_NAMES, SimulationOptions
from recon.simulate.sites import SITES, filtered, with_detail

OPTIONS = SimulationOptions(size=(32, 32), coils=3, slices=1, seed=4)


def test_everybody_at_a_site_has_its_protocol() -> None:
    at_b = replace(OPTIONS, site="site-b")
    scans = [acquire(position_subject(builtin_sources()[0], name, at_b), "FLAIR", at_b) for name in ("one", "two")]
    sequences = [scan.contrast.sequence for scan in scans]
    assert sequences[0] == sequences[1]
    assert sequences[0].echo_time == pytest.approx(112)
    assert scans[0].acquired.snr == pytest.approx(OPTIONS.snr / 1.15)


def test_a_site_is_a_fact_of_the_scan(tmp_path: Path) -> None:
    simulate_cohort(tmp_path, 1, ["FLAIR"], replace(OPTIONS, site="site-c"))
    header = open_scan(next(tmp_path.glob("*_FLAIR.h5"))).header
    assert (header.site, header.field_strength_t, header.vendor) == ("site-c", 1.5, "simulation")
    with pytest.raises(ReconError, match=r"other settings \(site differ\)"):
        simulate_cohort(tmp_path, 1, ["FLAIR"], OPTIONS)


def test_without_a_site_manifests_are_as_before() -> None:
    assert "site" not in OPTIONS.identity()


def test_the_names_are_those_of_the_table() -> None:
    assert tuple(SITES) == SITE_NAMES
    with pytest.raises(ReconError, match="choose from site-a"):
        replace(OPTIONS, site="site-x")


def test_detail_multiplies_the_edge_of_kspace() -> None:
    kspace = np.ones((8, 8), np.complex64)
    found = filtered(kspace, 1.5)
    assert found[4, 4] == 1
    assert found[0, 4] == pytest.approx(1.5)
    image = np.random.default_rng(0).standard_normal((8, 8)).astype(np.complex64)
    assert with_detail(image, 1.0) is image
    assert np.allclose(with_detail(with_detail(image, 2.0), 1.0), with_detail(image, 2.0))
