"""Power of an Obuchowski-Rockette analysis from pilot components (Hillis, Obuchowski and Berbaum 2011)."""


def noncentrality(
    mean_square: float, within: float, across_readers: float, *, scale: float, readers: int, effect: float
) -> tuple[float, float]:
    """(noncentrality of F, its denominator's degrees of freedom) for two arms that differ by ``effect``.

    A pilot's MS(TR), Var - Cov1 and Cov2 - Cov3; its cases divided by those planned are ``scale``, and ``readers`` are
    planned, a sample as the cases are. E[MS(TR)] = V_TR + Var - Cov1 - (Cov2 - Cov3), negatives set to 0. For a
    non-inferiority test ``effect`` is true difference + margin.
    """
    arm_reader = max(mean_square - within + across_readers, 0.0)
    shared = max(across_readers, 0.0)
    denominator = arm_reader + scale * (within + (readers - 1) * shared)
    planned_square = arm_reader + scale * (within - shared)
    return readers * effect**2 / (2 * denominator), (readers - 1) * (denominator / planned_square) ** 2
