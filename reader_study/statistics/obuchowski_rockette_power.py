"""Power of an Obuchowski-Rockette analysis from pilot components (Hillis, Obuchowski and Berbaum 2011)."""

from dataclasses import dataclass

from scipy import stats

from reader_study.statistics.obuchowski_rockette import Components


@dataclass(frozen=True)
class Planning:
    """What a pilot study or an assumption says about two arms: covariances at ``cases`` cases.

    ``arm_reader_variance`` is the variance of the arm-by-reader interaction.
    """

    cases: int
    arm_reader_variance: float
    variance: float
    covariance_same_reader: float
    covariance_same_arm: float
    covariance_neither: float


@dataclass(frozen=True)
class Power:
    """Power of the two-sided test at ``alpha``; ``noncentrality`` of F and its denominator degrees of freedom."""

    readers: int
    cases: int
    effect: float
    power: float
    noncentrality: float
    df: float


def planning(found: Components) -> Planning:
    """Planning values from an analysed pilot: E[MS(TR)] = V_TR + Var - Cov1 - (Cov2 - Cov3), negatives set to 0."""
    error = found.variance - found.covariance_same_reader - (found.covariance_same_arm - found.covariance_neither)
    return Planning(
        found.cases,
        max(found.mean_square_arm_reader - error, 0.0),
        found.variance,
        found.covariance_same_reader,
        found.covariance_same_arm,
        found.covariance_neither,
    )


def power(pilot: Planning, readers: int, cases: int, effect: float, alpha: float = 0.05) -> Power:
    """Power to find a difference ``effect`` of two arms with random readers and random cases, two-sided ``alpha``.

    The covariances scale with pilot cases / cases. For a non-inferiority test at one-sided a, call with
    ``effect`` = true difference + margin and ``alpha`` = 2 a.
    """
    scale = pilot.cases / cases
    across_readers = max(pilot.covariance_same_arm - pilot.covariance_neither, 0.0)
    within = pilot.variance - pilot.covariance_same_reader
    denominator = pilot.arm_reader_variance + scale * (within + (readers - 1) * across_readers)
    mean_square = pilot.arm_reader_variance + scale * (within - across_readers)
    df = denominator**2 / (mean_square**2 / (readers - 1))
    noncentrality = readers * effect**2 / (2 * denominator)
    critical = stats.f.ppf(1 - alpha, 1, df)
    return Power(readers, cases, effect, float(stats.ncf.sf(critical, 1, df, noncentrality)), noncentrality, df)
