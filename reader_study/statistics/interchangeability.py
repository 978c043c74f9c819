"""Individual interchangeability: does replacing one reader's reference image by the new one add disagreement?

Obuchowski, Subhas and Schoenhagen 2014: P(reader i on new and reader j on reference disagree) minus
P(readers i and j on reference disagree), i != j, with a bootstrap over cases, its percentiles
expanded for their number.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from recon.errors import ReconError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interchangeability:
    """Probabilities of disagreement and their difference with a percentile interval; ``tolerance`` in score points."""

    cases: int
    disagree_new_reference: float
    disagree_reference_reference: float
    difference: float
    low: float
    high: float
    confidence: float
    tolerance: float
    replicates: int


def interchangeability(
    scores: Floats,
    generator: np.random.Generator,
    tolerance: float = 0.0,
    replicates: int = 2000,
    confidence: float = 0.95,
    planned: npt.NDArray[np.bool_] | None = None,
) -> Interchangeability:
    """Interchangeability of arm 1 with arm 0; ``scores`` `[arm, reader, case]`, cases with a missing score left out.

    Two scores disagree where they differ by more than ``tolerance``. With ``planned`` `[reader, case]`, of subsets of
    the cases, a case is complete where its own readers scored it, two at least, and its share is over their pairs.
    Raises ReconError for fewer than two readers or no complete case.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if planned is not None and not planned.all():
        return _summary(*_of_subsets(scores, planned, tolerance), generator, tolerance, replicates, confidence)
    complete = np.isfinite(scores).all(axis=(0, 1))
    reference, new = scores[0][:, complete], scores[1][:, complete]
    readers, cases = reference.shape
    if readers < 2 or cases < 1:
        raise ReconError(f"interchangeability needs two readers and a complete case, got {readers} and {cases}")
    pairs = ~np.eye(readers, dtype=bool)
    across = (np.abs(new[:, None] - reference[None]) > tolerance)[pairs].mean(axis=0)
    within = (np.abs(reference[:, None] - reference[None]) > tolerance)[pairs].mean(axis=0)
    return _summary(across, within, generator, tolerance, replicates, confidence)


def _of_subsets(scores: Floats, planned: npt.NDArray[np.bool_], tolerance: float) -> tuple[Floats, Floats]:
    """Shares of disagreeing pairs of readers, new against reference and within the reference, of each complete case."""
    complete = (np.isfinite(scores).all(axis=0) | ~planned).all(axis=0) & (planned.sum(axis=0) >= 2)
    if not complete.any():
        raise ReconError("interchangeability needs a case that two readers were to read, and all who were did")
    (reference, new), here = scores[:, :, complete], planned[:, complete]
    pairs = here[:, None] & here[None] & ~np.eye(len(here), dtype=bool)[..., None]
    shares = []
    for first in (new, reference):
        disagree = (np.abs(first[:, None] - reference[None]) > tolerance) & pairs
        shares.append(disagree.sum(axis=(0, 1)) / pairs.sum(axis=(0, 1)))
    return np.asarray(shares[0]), np.asarray(shares[1])


def _summary(
    across: Floats, within: Floats, generator: np.random.Generator, tolerance: float, replicates: int, confidence: float
) -> Interchangeability:
    cases = across.size
    drawn = generator.integers(cases, size=(replicates, cases))
    resampled = (across - within)[drawn].mean(axis=1)
    # A bootstrap spreads too little, by (n - 1) / n and as the normal does against Student's t (Hesterberg 2015).
    wider = np.sqrt(cases / max(cases - 1, 1)) * stats.t.ppf(0.5 + confidence / 2, max(cases - 1, 1))
    low, high = np.quantile(resampled, stats.norm.cdf([-wider, wider]))
    return Interchangeability(
        cases,
        float(across.mean()),
        float(within.mean()),
        float((across - within).mean()),
        float(low),
        float(high),
        confidence,
        tolerance,
        replicates,
    )
