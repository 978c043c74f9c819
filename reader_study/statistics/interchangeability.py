"""Individual interchangeability: does replacing one reader's reference image by the new one add disagreement?

Obuchowski, Subhas and Schoenhagen 2014: P(reader i on new and reader j on reference disagree) minus
P(readers i and j on reference disagree), i != j, with a bootstrap over cases, its percentiles
expanded for their number.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from reader_study.arrays import Booleans, Floats
from reader_study.statistics.hypothesis_test import CONFIDENCE
from recon.errors import ReconError


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
    scores: Floats, planned: Booleans, generator: np.random.Generator, tolerance: float = 0.0, replicates: int = 2000
) -> Interchangeability:
    """Interchangeability of arm 1 with arm 0; ``scores`` `[arm, reader, case]`, cases with a missing score left out.

    Two scores disagree where they differ by more than ``tolerance``. A case is complete where the readers who were to
    read it (``planned`` `[reader, case]`), two at least, scored it; its share is over their pairs. Raises ReconError
    for fewer than two readers or no complete case.
    """
    scores = np.asarray(scores, dtype=np.float64)
    complete = (np.isfinite(scores).all(axis=0) | ~planned).all(axis=0)
    readers, cases = len(planned), int(complete.sum())
    if planned.all() and (readers < 2 or cases < 1):
        raise ReconError(f"interchangeability needs two readers and a complete case, got {readers} and {cases}")
    complete &= planned.sum(axis=0) >= 2
    if not complete.any():
        raise ReconError("interchangeability needs a case that two readers were to read, and all who were did")
    (reference, new), here = scores[:, :, complete], planned[:, complete]
    pairs = here[:, None] & here & ~np.eye(readers, dtype=bool)[..., None]
    across, within = (
        ((np.abs(first[:, None] - reference) > tolerance) & pairs).sum(axis=(0, 1)) / pairs.sum(axis=(0, 1))
        for first in (new, reference)
    )
    cases = across.size
    drawn = generator.integers(cases, size=(replicates, cases))
    resampled = (across - within)[drawn].mean(axis=1)
    # A bootstrap spreads too little, by (n - 1) / n and as the normal does against Student's t (Hesterberg 2015).
    wider = np.sqrt(cases / max(cases - 1, 1)) * stats.t.ppf(0.5 + CONFIDENCE / 2, max(cases - 1, 1))
    low, high = np.quantile(resampled, stats.norm.cdf([-wider, wider]))
    of_new, of_reference, added = (float(share.mean()) for share in (across, within, across - within))
    limits = (float(low), float(high), CONFIDENCE)
    return Interchangeability(cases, of_new, of_reference, added, *limits, tolerance, replicates)
