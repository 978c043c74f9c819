"""Indices spread evenly over a range."""


def evenly_spread(count: int, wanted: int) -> list[int]:
    """``wanted`` indices spread evenly over ``count``, ends left out; all of them when fewer are there."""
    wanted = min(wanted, count)
    return [(2 * k + 1) * count // (2 * wanted) for k in range(wanted)]
