"""Obuchowski-Rockette analysis of a fully crossed multi-reader multi-case study, with Hillis' degrees of freedom.

Obuchowski and Rockette 1995; Hillis, Obuchowski and Berbaum 2011; Hillis 2014. The error covariances come from the
jackknife over cases, so any figure of merit fits: the area under the ROC curve or the mean of a Likert score.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from reader_study.arrays import Booleans, Floats
from reader_study.statistics.figure_of_merit import FigureOfMerit, leave_one_case_out, mean_score
from reader_study.statistics.hypothesis_test import HypothesisTest, quotient, t_test
from reader_study.statistics.non_inferiority import over_readers
from recon.errors import ReconError

METHOD = "Obuchowski-Rockette with Hillis' degrees of freedom and those of the covariances, one-sided"


@dataclass(frozen=True)
class Components:
    """Mean squares and error covariances of the figures of merit `[arm, reader]` over ``cases`` cases.

    ``covariance_df``: degrees of freedom of the covariances of a difference of two arms; infinite, as published: taken
    as known.
    """

    figures: Floats
    cases: int
    mean_square_arm: float
    mean_square_arm_reader: float
    variance: float
    covariance_same_reader: float
    covariance_same_arm: float
    covariance_neither: float
    covariance_df: float = float("inf")


@dataclass(frozen=True, kw_only=True)
class EqualityTest:
    """Equality of all arms: ``statistic`` is F (``df_denominator`` finite) or chi-squared (infinite)."""

    generalises_to: str = "readers and cases"
    statistic: float
    df_numerator: float
    df_denominator: float
    p_value: float


def components(scores: Floats, truth: Booleans | None = None, figure: FigureOfMerit = mean_score) -> Components:
    """Figures of merit, mean squares and jackknife covariances.

    ``scores`` `[arm, reader, case]`, or `[arm, reader, slot, case]` of a figure that takes slots; ``truth`` `[case]`
    where the figure needs it. A missing score (NaN) costs itself where the figure can do without it, as an area under
    a curve can. Raises ReconError where it cannot, and for fewer than two arms, readers or cases.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim < 3 or min(*scores.shape[:2], scores.shape[-1]) < 2:
        raise ReconError(f"Obuchowski-Rockette analysis needs two or more arms, readers and cases, got {scores.shape}")
    truth = np.zeros(scores.shape[-1], dtype=bool) if truth is None else np.asarray(truth, dtype=bool)
    figures = figure(scores, truth)
    left_out = leave_one_case_out(figure, scores, truth)
    if not (np.isfinite(figures).all() and np.isfinite(left_out).all()):
        raise ReconError("Obuchowski-Rockette analysis needs every reader to score every case in every arm")
    cases = left_out.shape[-1]
    errors = (left_out - left_out.mean(axis=-1, keepdims=True)) * np.sqrt((cases - 1) / cases)
    return _components(figures, errors, cases)


def components_of_pairs(scores: Floats) -> Components:
    """Components of mean scores of two arms where readings are missing: each reader's pairs count, all of them.

    ``scores`` `[arm, reader, case]` with NaN where missing; every reader needs two pairs. The covariances are those of
    ``components`` where nothing is missing.
    """
    scores = np.asarray(scores, dtype=np.float64)
    read = np.isfinite(scores).all(axis=0)
    if scores.shape[:2] < (2, 2) or read.sum(axis=1).min() < 2:
        raise ReconError("Obuchowski-Rockette analysis needs two readers with two cases scored in both arms each")
    found = over_readers(np.where(read, scores, np.nan))
    cases = int(found.cases[0])
    return _components(found.means, found.errors, cases, cases - 1)


def _components(figures: Floats, errors: Floats, cases: int, covariance_df: float = np.inf) -> Components:
    """From figures of merit `[arm, reader]` and the part of each case in their errors `[arm, reader, case]`."""
    arms, readers = figures.shape
    grand, arm, reader = figures.mean(), figures.mean(axis=1, keepdims=True), figures.mean(axis=0, keepdims=True)
    covariance = np.tensordot(errors, errors, axes=(2, 2))
    same_arm = np.eye(arms, dtype=bool)[:, None, :, None]
    same_reader = np.eye(readers, dtype=bool)[None, :, None, :]

    def average(where: Booleans) -> float:
        return float(covariance.mean(where=where))

    return Components(
        figures,
        cases,
        mean_square_arm=float(readers * ((arm - grand) ** 2).sum() / (arms - 1)),
        mean_square_arm_reader=float(((figures - arm - reader + grand) ** 2).sum() / ((arms - 1) * (readers - 1))),
        variance=average(same_arm & same_reader),
        covariance_same_reader=average(~same_arm & same_reader),
        covariance_same_arm=average(same_arm & ~same_reader),
        covariance_neither=average(~same_arm & ~same_reader),
        covariance_df=float(covariance_df),
    )


def _denominator(found: Components, covariance_df: float) -> tuple[float, float]:
    """(denominator of F on the scale of the mean squares, its degrees of freedom)."""
    arms, readers = found.figures.shape
    shared = readers * max(found.covariance_same_arm - found.covariance_neither, 0.0)
    denominator = found.mean_square_arm_reader + shared
    spread = found.mean_square_arm_reader**2 / ((arms - 1) * (readers - 1)) + shared**2 / covariance_df
    return denominator, denominator**2 / spread if spread > 0 else float("inf")


def equality(found: Components) -> EqualityTest:
    """Test that all arms have the same mean figure of merit: F with Hillis' degrees of freedom."""
    denominator, df = _denominator(found, np.inf)
    statistic, numerator_df = quotient(found.mean_square_arm, denominator), len(found.figures) - 1
    if np.isfinite(df):
        p_value = stats.f.sf(statistic, numerator_df, df)
    else:
        statistic *= numerator_df
        p_value = stats.chi2.sf(statistic, numerator_df)
    return EqualityTest(statistic=statistic, df_numerator=numerator_df, df_denominator=df, p_value=float(p_value))


def difference(found: Components, margin: float = 0.0, alpha: float = 0.025) -> HypothesisTest:
    """Difference of the mean figures of merit of the second arm and the first, tested against ``-margin``.

    SE = sqrt(2 denominator / readers), t with Hillis' degrees of freedom. Hillis takes the covariances as known; where
    ``covariance_df`` says how well they are, it counts as one more term of Satterthwaite's sum: with forty cases the
    claim would come too often without it. ``margin`` is in units of the figure of merit. Raises ReconError for a
    negative one.
    """
    denominator, df = _denominator(found, found.covariance_df)
    reference, new = found.figures[:2].mean(axis=1).tolist()
    error = float(np.sqrt(2 * denominator / found.figures.shape[1]))
    return t_test(new - reference, error, df, cases=found.cases, margin=margin, alpha=alpha, method=METHOD)
