"""Areas under the ROC curve of two arms that the same readers rated on the same cases."""

from dataclasses import replace

import numpy as np

from reader_study.arrays import Booleans, Floats
from reader_study.case_truth import FEWEST
from reader_study.statistics import obuchowski_rockette
from reader_study.statistics.figure_of_merit import FigureOfMerit, area_under_curve, leave_one_case_out
from reader_study.statistics.hypothesis_test import HypothesisTest, t_test
from recon.errors import ReconError

METHOD = "areas under the ROC curve of these readers, one-sided t test"


def compared_readers(scores: Floats, truth: Booleans) -> Booleans:
    """`[reader]`: did the reader rate two cases with and two without the condition in both arms?"""
    read: Booleans = np.asarray(_known(scores).all(axis=0))
    return np.asarray(np.minimum(read[:, truth].sum(axis=1), read[:, ~truth].sum(axis=1)) >= FEWEST)


def compare_areas(
    scores: Floats,
    truth: Booleans,
    margin: float,
    alpha: float = 0.025,
    *,
    figure: FigureOfMerit = area_under_curve,
    method: str = METHOD,
) -> HypothesisTest:
    """Difference of the arms' mean areas for these readers, tested against ``-margin`` (in area).

    ``scores`` `[arm, reader, case]`, NaN where missing; ``truth`` `[case]`. Marked lesions are `[arm, reader, slot,
    case]` with their own ``figure`` (``localisation``). The cases are the sample: the variance is
    that of the jackknife, as in Obuchowski and Rockette for fixed readers, but t has the degrees of freedom that the
    cases with and without the condition allow (Satterthwaite, as Brunner and Munzel 2000), where the normal would claim
    too often. Raises ReconError where no reader rated two cases of each kind in both arms, and for a bad margin.
    """
    pairs = comparable_pairs(scores, truth)
    if pairs.shape[1] == 0:
        raise ReconError("no reader rated two cases with and two without the condition in both arms")
    reference, new = figure(pairs, truth).mean(axis=1).tolist()
    read = _known(pairs)[0].any(axis=0)
    variance, df = _over_cases(pairs[..., read], truth[read], figure)
    return t_test(
        new - reference,
        float(np.sqrt(variance)),
        df,
        cases=int(read.sum()),
        margin=margin,
        alpha=alpha,
        method=method,
    )


def components_of_areas(
    scores: Floats, truth: Booleans, figure: FigureOfMerit = area_under_curve
) -> obuchowski_rockette.Components:
    """Obuchowski-Rockette components of the areas of the readers who can be compared.

    Arguments are those of ``compare_areas``. The covariances have the degrees of freedom of its test. Raises
    ReconError for fewer than two such readers.
    """
    pairs = comparable_pairs(scores, truth)
    read = _known(pairs)[0].any(axis=0)
    pairs, kind = pairs[..., read], truth[read]
    found = obuchowski_rockette.components(pairs, kind, figure)
    return replace(found, covariance_df=_over_cases(pairs, kind, figure)[1])


def _over_cases(pairs: Floats, truth: Booleans, figure: FigureOfMerit) -> tuple[float, float]:
    """``over_cases`` of the first two arms' mean areas."""
    without = leave_one_case_out(figure, pairs, truth).mean(axis=1)
    variance, df = over_cases(without[1] - without[0], truth)
    return float(variance), float(df)


def over_cases(without: Floats, truth: Booleans) -> tuple[Floats, Floats]:
    """(variance over the cases, its degrees of freedom) `[...]` of what is ``without`` each case `[..., case]`."""
    squares = (without - without.mean(axis=-1, keepdims=True)) ** 2 * (1 - 1 / truth.size)
    parts = np.stack([squares[..., truth].sum(axis=-1), squares[..., ~truth].sum(axis=-1)], axis=-1)
    freedom, variance = np.array([truth.sum() - 1, (~truth).sum() - 1]), parts.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        df = variance**2 / (parts**2 / freedom).sum(axis=-1)
    return variance, np.where(variance > 0, df, freedom.sum())


def curve(scores: Floats, truth: Booleans) -> tuple[Floats, Floats]:
    """(false positive fraction, true positive fraction) of ratings `[reading]` at every threshold, from (0, 0)."""
    known = np.isfinite(scores)
    cuts = np.r_[np.inf, np.unique(scores[known])[::-1]]
    with_it, without = scores[known & truth], scores[known & ~truth]
    false, true = ((group[None] >= cuts[:, None]).mean(axis=1) for group in (without, with_it))
    return np.asarray(false), np.asarray(true)


def comparable_pairs(scores: Floats, truth: Booleans) -> Floats:
    """Scores of the readers who can be compared; one arm's rating without the other's is left out."""
    both = np.asarray(_known(scores).all(axis=0))
    pairs = np.where(both if scores.ndim == 3 else both[:, None], scores, np.nan)
    return np.asarray(pairs[:, compared_readers(scores, truth)])


def _known(scores: Floats) -> Booleans:
    """`[arm, reader, case]`: is there a reading? Of marked lesions the first slot is known in every one."""
    return np.asarray(np.isfinite(scores if scores.ndim == 3 else scores[..., 0, :]))
