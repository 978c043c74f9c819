"""Every reliability coefficient of one item and arm, readers crossed with cases."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from reader_study.arrays import Booleans, Floats
from reader_study.statistics import agreement
from reader_study.statistics.intraclass import Intraclass, intraclass


@dataclass(frozen=True)
class Reliability:
    """Agreement between the readers; ``pairs`` maps "reader / reader" to the quadratically weighted kappa."""

    pairs: dict[str, agreement.Kappa]
    fleiss_kappa: float
    ac1: agreement.Gwet
    ac2: agreement.Gwet
    krippendorff_alpha: float
    intraclass: dict[str, Intraclass]


def reliability(
    ratings: Floats, readers: tuple[str, ...], scale: tuple[int, ...], planned: Booleans
) -> Reliability | None:
    """Reliability of ``ratings`` `[reader, case]` on ``scale``; None for one reader or fewer than two shared cases.

    Where ``planned`` `[reader, case]` has subsets of the cases, Fleiss' kappa and the intraclass correlations are over
    the cases that all their own readers scored, as many as most cases have; as those differ from case to case the
    one-way ICC(1,1) and ICC(1,k) alone are defined (Shrout and Fleiss 1979, case 1).
    """
    whole = _by_case(ratings, planned)
    shared = np.isfinite(whole).all(axis=0)
    if len(readers) < 2 or len(whole) < 2 or shared.sum() < 2:
        return None
    coefficients = intraclass(whole)
    if not planned.all():
        coefficients = {name: value for name, value in coefficients.items() if name.startswith("ICC(1,")}
    tables = {
        f"{name} / {other}": agreement.cross_table(first, second, scale)
        for (name, first), (other, second) in combinations(zip(readers, ratings, strict=True), 2)
    }
    return Reliability(
        {pair: agreement.cohen(table, "quadratic") for pair, table in tables.items() if table.any()},
        agreement.fleiss(whole, scale),
        agreement.gwet(ratings, scale),
        agreement.gwet(ratings, scale, "quadratic"),
        agreement.krippendorff(ratings, scale),
        coefficients,
    )


def _by_case(ratings: Floats, planned: Booleans) -> Floats:
    """`[place, case]`: the ratings of each case's own readers, of the cases with as many of these as most have."""
    counts = planned.sum(axis=0)
    size = int(np.bincount(counts).argmax())
    cases = np.flatnonzero(counts == size)
    return np.stack([ratings[planned[:, case], case] for case in cases], axis=1) if size else np.empty((0, 0))
