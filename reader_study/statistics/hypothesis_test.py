"""The one result of testing a difference of two arms: estimate, limits, and the test that decides.

Non-inferiority and superiority are one test with different margins; the test against zero is kept apart from it.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from recon.errors import ReconError

CONFIDENCE = 0.95  # of the intervals that no protocol sets the level of


@dataclass(frozen=True, kw_only=True)
class HypothesisTest:
    """Difference new - reference over ``cases`` cases, tested against ``-margin`` and, apart, against zero.

    ``p_value`` is one-sided for a difference above ``-margin`` (``greater``), ``p_difference`` two-sided against zero.
    ``low`` and ``high`` hold ``1 - 2 alpha``; ``low`` is the one-sided ``1 - alpha`` limit. ``standard_error`` and
    ``df`` are NaN where the method has none; ``df`` is infinite for a normal statistic.
    """

    method: str
    cases: int
    estimate: float
    standard_error: float = float("nan")
    df: float = float("nan")
    margin: float
    alpha: float  # one-sided
    alternative: str = "greater"
    statistic: float
    p_value: float
    p_difference: float
    low: float
    high: float

    @property
    def level(self) -> float:
        """Coverage of ``low`` to ``high``."""
        return 1 - 2 * self.alpha

    @property
    def claimed(self) -> bool:
        """Does the lower bound lie above ``-margin``: non-inferior, or with margin 0 superior?"""
        return self.low > -self.margin


def check_margin(margin: float, alpha: float) -> None:
    """Raises ReconError for a margin that is negative or no number, or an impossible error rate."""
    if not margin >= 0:
        raise ReconError(
            f"a non-inferiority margin is a number of score points, positive (0: superiority), got {margin}"
        )
    if not 0 < alpha < 0.5:
        raise ReconError(f"alpha is the one-sided error rate, between 0 and 0.5, got {alpha}")


def t_test(
    estimate: float, standard_error: float, df: float, *, cases: int, margin: float, alpha: float, method: str
) -> HypothesisTest:
    """Test an estimated difference by Student's t with ``df`` degrees of freedom (infinite: normal).

    t = (estimate + margin) / SE, one-sided. Where nothing varies (SE 0) the sign decides, and 0 / 0 shows nothing.
    Raises ReconError as ``check_margin`` does.
    """
    check_margin(margin, alpha)
    # The functions behind scipy.stats.t, to the bit, without its checks: a simulated study has thousands of tests.
    half = float(stdtrit(df, 1 - alpha)) * standard_error
    t = quotient(estimate + margin, standard_error)
    return HypothesisTest(
        method=method,
        cases=cases,
        estimate=estimate,
        standard_error=standard_error,
        df=df,
        margin=margin,
        alpha=alpha,
        statistic=t,
        p_value=float(stdtr(df, -t)),
        p_difference=float(2 * stdtr(df, -abs(quotient(estimate, standard_error)))),
        low=estimate - half,
        high=estimate + half,
    )


def quotient(numerator: float, error: float) -> float:
    """Of a difference and its error: infinite where there is no error, and 0 / 0 is 0."""
    if error > 0:
        return numerator / error
    return 0.0 if numerator == 0 else float(np.copysign(np.inf, numerator))
