"""Preference, its interval, and blinding indices against published figures."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reader_study.statistics.blinding_index import blinding_index
from reader_study.statistics.preference import preference, tango_interval
from recon.errors import ReconError
from tests.reader_study.published import printed


def test_tango_interval():
    low, high = tango_interval(40, 20, 160)
    assert printed(low, ".03086")
    assert printed(high, ".21806")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 30))
def test_tango_interval_is_symmetric_and_holds_the_estimate(b, c, ties):
    low, high = tango_interval(b, c, b + c + ties)
    assert -1 <= low <= (b - c) / (b + c + ties) + 1e-9
    assert (b - c) / (b + c + ties) - 1e-9 <= high <= 1
    assert tango_interval(c, b, b + c + ties) == pytest.approx((-high, -low), abs=1e-8)


def test_preference_keeps_ties_in_the_denominator():
    found = preference(12, 4, 24)
    assert found.net == pytest.approx(0.2)
    assert found.p_sign_test == pytest.approx(0.0768, abs=1e-4)
    with pytest.raises(ReconError):
        preference(0, 0, 0)


def test_bang_index_crisp():
    drug, placebo = blinding_index(82, 25, 170), blinding_index(29, 27, 83)
    assert printed(drug.index, ".2058")
    assert printed(drug.standard_error, ".0352")
    assert printed(placebo.index, ".0144")
    assert printed(placebo.standard_error, ".0538")
