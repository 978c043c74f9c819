"""Which slices stand for a whole."""


def evenly_spread(count: int, wanted: int) -> list[int]:
    """``wanted`` indices (``count``, where that is less) spread evenly over ``range(count)``, the ends left out.

    >>> evenly_spread(8, 2)
    [2, 6]
    """
    wanted = min(wanted, count)
    return [(2 * k + 1) * count // (2 * wanted) for k in range(wanted)]
