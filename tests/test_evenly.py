"""Which slices stand for a whole."""

from recon.evenly import evenly_spread


def test_indices_are_inside_and_symmetric():
    assert evenly_spread(8, 2) == [2, 6]
    assert evenly_spread(9, 1) == [4]
    assert evenly_spread(3, 10) == [0, 1, 2]
