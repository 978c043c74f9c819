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


def reliability(ratings: Floats, readers: tuple[str, ...], scale: tuple[int, ...]) -> Reliability | None:
    """Reliability of ``ratings`` `[reader, case]` on ``scale``; None for one reader or fewer than two shared cases."""
    shared = np.isfinite(ratings).all(axis=0)
    if len(readers) < 2 or shared.sum() < 2:
        return None
    return Reliability(
        {
            f"{readers[first]} / {readers[second]}": cohen(
                cross_table(ratings[first], ratings[second], scale), "quadratic"
            )
            for first, second in combinations(range(len(readers)), 2)
            if (np.isfinite(ratings[first]) & np.isfinite(ratings[second])).any()
        },
        fleiss(ratings, scale),
        gwet(ratings, scale),
        gwet(ratings, scale, "quadratic"),
        krippendorff(ratings, scale, "ordinal"),
        intraclass(ratings),
    )
