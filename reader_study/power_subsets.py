"""The planned tests of many simulated studies with case subsets at once: those of the analysis, where readings lack.

The estimate and its variance are those of ``non_inferiority.compare_by_case_means``, the pieces those of
``obuchowski_rockette.components_of_pairs``.
"""

import numpy as np
import numpy.typing as npt

from reader_study.incomplete_blocks import assign

Floats = npt.NDArray[np.float64]


def leave_unplanned(scores: Floats, size: int, generator: np.random.Generator) -> Floats:
    """NaN in scores `[study, arm, reader, case]` that were not planned: one draw of the subsets for these studies."""
    readers, cases = scores.shape[2:]
    return np.where(assign([cases], readers, size, generator), scores, np.nan)


def subset_pieces(difference: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
    """(estimate, variance, effective cases, MS(TR), Var - Cov1, Cov2 - Cov3) of each study.

    ``difference`` `[study, reader, case]`, NaN where unplanned. With two arms the covariances of the differences are
    twice those of the arms.
    """
    read = np.isfinite(difference)
    pairs = read.sum(axis=2, keepdims=True)
    readers = difference.shape[1]
    kept = np.where(read, difference, 0.0)
    means = kept.sum(axis=2, keepdims=True) / pairs
    errors = np.where(read, kept - means, 0.0) * np.sqrt(pairs / (pairs - 1)) / pairs
    by_case = (errors.sum(axis=1) ** 2).sum(axis=1)
    own = (errors**2).sum(axis=(1, 2)) / readers
    shared = (by_case - readers * own) / (readers * (readers - 1))
    weights = (read / pairs).sum(axis=1)
    effective = weights.sum(axis=1) ** 2 / (weights**2).sum(axis=1)
    square = means[..., 0].var(axis=1, ddof=1) / 2
    return means.mean(axis=(1, 2)), by_case / readers**2, effective, square, own / 2, shared / 2
