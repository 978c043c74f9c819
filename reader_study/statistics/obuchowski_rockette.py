"""Obuchowski-Rockette analysis of a fully crossed multi-reader multi-case study, with Hillis' degrees of freedom.

Obuchowski and Rockette 1995; Hillis, Obuchowski and Berbaum 2011; Hillis 2014. The error covariances come from the
jackknife over cases, so any figure of merit fits: the area under the ROC curve or the mean of a Likert score.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from reader_study.statistics.figure_of_merit import FigureOfMerit, leave_one_case_out, mean_score
from reader_study.statistics.hypothesis_test import HypothesisTest, t_test
from recon.errors import ReconError

Floats = npt.NDArray[np.float64]
Generalisation = Literal["readers and cases", "cases", "readers"]
METHODS: dict[Generalisation, str] = {
    "readers and cases": "Obuchowski-Rockette with Hillis' degrees of freedom and those of the covariances, one-sided",
    "cases": "Obuchowski-Rockette for these readers, one-sided normal test",
    "readers": "Obuchowski-Rockette for these cases, one-sided t test",
}


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

    @property
    def arms(self) -> int:
        return int(self.figures.shape[0])

    @property
    def readers(self) -> int:
        return int(self.figures.shape[1])

    @property
    def arm_means(self) -> Floats:
        return np.asarray(self.figures.mean(axis=1))


@dataclass(frozen=True)
class EqualityTest:
    """Equality of all arms: ``statistic`` is F (``df_denominator`` finite) or chi-squared (infinite)."""

    generalises_to: Generalisation
    statistic: float
    df_numerator: float
    df_denominator: float
    p_value: float


def components(
    scores: Floats, truth: npt.NDArray[np.bool_] | None = None, figure: FigureOfMerit = mean_score
) -> Components:
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
    arms, readers, cases = left_out.shape
    centred = (left_out - left_out.mean(axis=-1, keepdims=True)).reshape(arms * readers, cases)
    covariance = ((cases - 1) / cases * centred @ centred.T).reshape(arms, readers, arms, readers)
    same_arm = np.eye(arms, dtype=bool)[:, None, :, None]
    same_reader = np.eye(readers, dtype=bool)[None, :, None, :]

    def average(where: npt.NDArray[np.bool_]) -> float:
        return float(covariance[np.broadcast_to(where, covariance.shape)].mean())

    return from_figures(
        figures,
        cases,
        variance=average(same_arm & same_reader),
        covariance_same_reader=average(~same_arm & same_reader),
        covariance_same_arm=average(same_arm & ~same_reader),
        covariance_neither=average(~same_arm & ~same_reader),
    )


def components_of_pairs(scores: Floats) -> Components:
    """Components of mean scores of two arms where readings are missing: each reader's pairs count, all of them.

    ``scores`` `[arm, reader, case]` with NaN where missing; every reader needs two pairs. The covariances are those of
    ``components`` where nothing is missing.
    """
    scores = np.asarray(scores, dtype=np.float64)
    read = np.isfinite(scores).all(axis=0)
    pairs = read.sum(axis=1)[None, :, None]
    if scores.shape[:2] < (2, 2) or pairs.min() < 2:
        raise ReconError("Obuchowski-Rockette analysis needs two readers with two cases scored in both arms each")
    kept = np.where(read, scores, 0.0)
    figures = kept.sum(axis=2) / pairs[..., 0]
    errors = np.where(read, scores - figures[..., None], 0.0) * np.sqrt(pairs / (pairs - 1)) / pairs
    covariance = np.einsum("irc,jsc->irjs", errors, errors)
    own, other = np.eye(scores.shape[1], dtype=bool), ~np.eye(scores.shape[1], dtype=bool)
    same = (covariance[0, :, 0] + covariance[1, :, 1]) / 2
    across = (covariance[0, :, 1] + covariance[1, :, 0]) / 2
    cases = int(read.any(axis=0).sum())
    return from_figures(
        figures,
        cases,
        covariance_df=float(cases - 1),
        variance=float(same[own].mean()),
        covariance_same_reader=float(across[own].mean()),
        covariance_same_arm=float(same[other].mean()),
        covariance_neither=float(across[other].mean()),
    )


def from_figures(
    figures: Floats,
    cases: int,
    *,
    variance: float,
    covariance_same_reader: float,
    covariance_same_arm: float,
    covariance_neither: float,
    covariance_df: float = float("inf"),
) -> Components:
    """Components from figures of merit `[arm, reader]` and covariances obtained in any way (DeLong, bootstrap ...)."""
    figures = np.asarray(figures, dtype=np.float64)
    arms, readers = figures.shape
    grand = figures.mean()
    arm, reader = figures.mean(axis=1, keepdims=True), figures.mean(axis=0, keepdims=True)
    return Components(
        figures,
        cases,
        mean_square_arm=float(readers * ((arm - grand) ** 2).sum() / (arms - 1)),
        mean_square_arm_reader=float(((figures - arm - reader + grand) ** 2).sum() / ((arms - 1) * (readers - 1))),
        variance=variance,
        covariance_same_reader=covariance_same_reader,
        covariance_same_arm=covariance_same_arm,
        covariance_neither=covariance_neither,
        covariance_df=covariance_df,
    )


def _denominator(
    found: Components, generalises_to: Generalisation, covariance_df: float = float("inf")
) -> tuple[float, float]:
    """(denominator of F on the scale of the mean squares, its degrees of freedom)."""
    arms, readers = found.arms, found.readers
    crossed = (arms - 1) * (readers - 1)
    if generalises_to == "readers":
        return found.mean_square_arm_reader, float(crossed)
    across_readers = found.covariance_same_arm - found.covariance_neither
    if generalises_to == "cases":
        error = found.variance - found.covariance_same_reader + (readers - 1) * across_readers
        return max(error, 0.0), float("inf")
    shared = readers * max(across_readers, 0.0)
    denominator = found.mean_square_arm_reader + shared
    spread = found.mean_square_arm_reader**2 / crossed + shared**2 / covariance_df
    return denominator, denominator**2 / spread if spread > 0 else float("inf")


def equality(found: Components, generalises_to: Generalisation = "readers and cases") -> EqualityTest:
    """Test that all arms have the same mean figure of merit.

    ``readers and cases``: F with Hillis' degrees of freedom; ``cases`` (these readers only): chi-squared;
    ``readers`` (these cases only): F on the arm-by-reader mean square.
    """
    denominator, df = _denominator(found, generalises_to)
    numerator_df = found.arms - 1
    if denominator > 0:
        ratio = found.mean_square_arm / denominator
    else:  # nothing varies but, perhaps, the arms
        ratio = float("inf") if found.mean_square_arm > 0 else 0.0
    if not np.isfinite(df):
        statistic = numerator_df * ratio
        return EqualityTest(generalises_to, statistic, numerator_df, df, float(stats.chi2.sf(statistic, numerator_df)))
    return EqualityTest(generalises_to, ratio, numerator_df, df, float(stats.f.sf(ratio, numerator_df, df)))


def difference(
    found: Components,
    margin: float = 0.0,
    alpha: float = 0.025,
    new: int = 1,
    reference: int = 0,
    generalises_to: Generalisation = "readers and cases",
) -> HypothesisTest:
    """Difference ``new - reference`` of the arms' mean figures of merit, tested against ``-margin``.

    SE = sqrt(2 denominator / readers), t with Hillis' degrees of freedom (normal where the readers are fixed). Hillis
    takes the covariances as known; where ``covariance_df`` says how well they are, it counts as one more term of
    Satterthwaite's sum: with forty cases the claim would come too often without it.
    ``margin`` is in units of the figure of merit. Raises ReconError for a negative one.
    """
    denominator, df = _denominator(found, generalises_to, found.covariance_df)
    means = found.arm_means
    return t_test(
        float(means[new] - means[reference]),
        float(np.sqrt(2 * denominator / found.readers)),
        df,
        cases=found.cases,
        margin=margin,
        alpha=alpha,
        method=METHODS[generalises_to],
    )
