"""Every reliability coefficient of one item and arm, readers crossed with cases."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from reader_study.statistics.agreement import (
    Gwet,
    Kappa,
    cohen,
    cross_table,
    fleiss,
    gwet,
    krippendorff,
)
from reader_study.statistics.intraclass import Intraclass, intraclass

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reliability:
    """Agreement between the readers; ``pairs`` maps "reader / reader" to the quadratically weighted kappa."""

    pairs: dict[str, Kappa]
    fleiss_kappa: float
    ac1: Gwet
    ac2: Gwet
    krippendorff_alpha: float
    intraclass: dict[str, Intraclass]


def reliability(
    ratings: Floats,
    readers: tuple[str, ...],
    scale: tuple[int, ...],
    planned: npt.NDArray[np.bool_] | None = None,
) -> Reliability | None:
    """Reliability of ``ratings`` `[reader, case]` on ``scale``; None for one reader or fewer than two shared cases.

    With ``planned`` `[reader, case]`, of subsets of the cases, Fleiss' kappa and the intraclass correlations are over
    the cases that all their own readers scored, as many as most cases have; as those differ from case to case the
    one-way ICC(1,1) and ICC(1,k) alone are defined (Shrout and Fleiss 1979, case 1).
    """
    whole = ratings
    if planned is not None and not planned.all():
        whole = _by_case(ratings, planned)
    shared = np.isfinite(whole).all(axis=0)
    if len(readers) < 2 or len(whole) < 2 or shared.sum() < 2:
        return None
    coefficients = intraclass(whole)
    if whole is not ratings:
        coefficients = {name: value for name, value in coefficients.items() if name.startswith("ICC(1,")}
    return Reliability(
        {
            f"{readers[first]} / {readers[second]}": cohen(
                cross_table(ratings[first], ratings[second], scale), "quadratic"
            )
            for first, second in combinations(range(len(readers)), 2)
            if (np.isfinite(ratings[first]) & np.isfinite(ratings[second])).any()
        },
        fleiss(whole, scale),
        gwet(ratings, scale),
        gwet(ratings, scale, "quadratic"),
        krippendorff(ratings, scale, "ordinal"),
        coefficients,
    )


def _by_case(ratings: Floats, planned: npt.NDArray[np.bool_]) -> Floats:
    """`[place, case]`: the ratings of each case's own readers, of the cases with as many of these as most have."""
    counts = planned.sum(axis=0)
    size = int(np.bincount(counts).argmax())
    cases = np.flatnonzero(counts == size)
    return np.stack([ratings[planned[:, case], case] for case in cases], axis=1) if size else np.empty((0, 0))
