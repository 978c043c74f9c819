"""Trees obey Murray's law, stay in the slab, and fill voxels as a straight vessel by hand does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.vessels.angiogram import blood
from recon.vessels.tree import Segment, daughters, grow


@settings(max_examples=50, deadline=None)
@given(st.floats(0.3, 5), st.floats(0.2, 1))
def test_daughters_obey_murrays_law(radius: float, asymmetry: float) -> None:
    (larger, wide), (smaller, narrow) = daughters(radius, asymmetry)
    assert larger**3 + smaller**3 == pytest.approx(radius**3)
    assert smaller == pytest.approx(asymmetry * larger)
    assert 0 <= wide <= narrow + 1e-9 <= np.pi / 2  # the thinner branch turns off more


def test_equal_daughters_by_hand() -> None:
    """Murray 1926: equal daughters have 2^(-1/3) of the radius and turn by arccos(2^(-1/3)) = 37.5 degrees each."""
    (larger, angle), (smaller, other) = daughters(1.0, 1.0)
    assert larger == smaller == pytest.approx(0.7937, abs=1e-4)
    assert np.degrees(angle) == pytest.approx(37.5, abs=0.05)
    assert other == pytest.approx(angle)


def test_the_same_generator_grows_the_same_tree_within_the_slab() -> None:
    first, second = (grow((24.0, 96.0, 96.0), 1.6, 0.4, np.random.default_rng(3)) for _ in range(2))
    assert [s.radius for s in first] == [s.radius for s in second]
    assert len(first) > 20
    assert all(0.4 <= segment.radius < 3 for segment in first)
    starts = np.array([segment.start for segment in first])
    assert (starts >= 0).all()
    assert (starts <= (24, 96, 96)).all()


def test_blood_of_a_straight_vessel_by_hand() -> None:
    vessel = Segment(np.array([0.0, 10.0, 10.0]), np.array([9.0, 10.0, 10.0]), 2.0)
    fraction, signal = blood([vessel], (10, 20, 20))
    assert fraction[5, 10, 10] == fraction[5, 10, 11] == 1
    assert fraction[5, 10, 12] == pytest.approx(0.5)
    assert fraction[5, 10, 13] == 0
    assert signal[5, 10, 10] == 1
    thin, dark = blood([Segment(vessel.start, vessel.end, 0.4)], (10, 20, 20))
    assert thin[5, 10, 10] == pytest.approx(0.9 * np.pi * 0.16)  # 0.4 + 1/2 of the depth, at most its cross-section
    assert dark[5, 10, 10] < 1
