"""Figures of merit of one arm and reader over the cases, and their leave-one-case-out values."""

from collections.abc import Callable

import numpy as np

from reader_study.arrays import Booleans, Floats

# (scores `[..., case]`, truth `[case]`) -> `[...]`
FigureOfMerit = Callable[[Floats, Booleans], Floats]


def mean_score(scores: Floats, truth: Booleans) -> Floats:
    """Mean over the cases: the figure of merit of a Likert scale, so that a difference of two is a mean difference.

    ``scores`` `[..., case]`; ``truth`` `[case]` is not used (a quality score has no truth). Returns `[...]`.
    """
    return np.asarray(scores.mean(axis=-1), dtype=np.float64)


def area_under_curve(scores: Floats, truth: Booleans) -> Floats:
    """Empirical area under the ROC curve, ties counted half (Hanley and McNeil 1982).

    ``scores`` `[..., case]`, higher where the condition is surer, NaN where missing; ``truth`` `[case]`, True with the
    condition. Returns `[...]`, NaN where no case with or none without it was scored.
    """
    above = scores[..., truth][..., :, None] - scores[..., ~truth][..., None, :]
    known = np.isfinite(above).sum(axis=(-2, -1))
    won = (above > 0).sum(axis=(-2, -1)) + 0.5 * (above == 0).sum(axis=(-2, -1))
    return np.asarray(np.divide(won, known, out=np.full(won.shape, np.nan), where=known > 0), dtype=np.float64)


def leave_one_case_out(figure: FigureOfMerit, scores: Floats, truth: Booleans) -> Floats:
    """The figure of merit with each case left out in turn: ``scores`` `[..., case]` gives `[..., case]`."""
    left_out = [figure(np.delete(scores, case, axis=-1), np.delete(truth, case)) for case in range(truth.size)]
    return np.stack(left_out, axis=-1)
