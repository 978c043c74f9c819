"""The planned tests of many simulated studies with case subsets at once: those of the analysis, where readings lack.

The estimate and its variance are those of ``non_inferiority.compare_by_case_means``, the pieces those of
``obuchowski_rockette.components_of_pairs``.
"""

import numpy as np

from reader_study.arrays import Floats
from reader_study.incomplete_blocks import assign
from reader_study.statistics.non_inferiority import over_readers


def leave_unplanned(scores: Floats, size: int, generator: np.random.Generator) -> Floats:
    """NaN in scores `[study, arm, reader, case]` that were not planned: one draw of the subsets for these studies."""
    readers, cases = scores.shape[2:]
    return np.where(assign([cases], readers, size, generator), scores, np.nan)


def subset_pieces(difference: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
    """(estimate, variance, effective cases, MS(TR), Var - Cov1, Cov2 - Cov3) of each study.

    ``difference`` `[study, reader, case]`, NaN where unplanned. With two arms the covariances of the differences are
    twice those of the arms.
    """
    found, readers = over_readers(difference), difference.shape[1]
    own = (found.errors**2).sum(axis=(1, 2)) / readers
    shared = (readers * found.variance - own) / (readers - 1)
    square = found.means.var(axis=1, ddof=1) / 2
    return found.estimate, found.variance, found.effective, square, own / 2, shared / 2
