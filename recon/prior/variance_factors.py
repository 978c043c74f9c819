"""By what the variance of posterior samples is to be multiplied, as it was measured where the truth is known."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SCATTER = 0.1  # of the logarithm of one scan's ratio about the law
STEEPEST = 0.3  # standard deviation of exponents before anything is measured: 0 is no dependence


@dataclass(frozen=True)
class VarianceFactors:
    """A law for the factor: at a net acceleration of one it is that of a table, interpolated in log-log; it grows with
    a power of the net acceleration. Constant outside what was measured; one where nothing was.

    ``amplifications``: variance of the samples over that of the noise, ascending. ``factors``: what it is then to be
    multiplied by. ``accelerations``: the least and the largest net acceleration measured; none where only one was.
    """

    amplifications: tuple[float, ...] = ()
    factors: tuple[float, ...] = ()
    accelerations: tuple[float, ...] = ()
    acceleration_exponent: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that are no law."""
        positive = (*self.amplifications, *self.factors, *self.accelerations)
        ascending = itertools.chain(itertools.pairwise(self.amplifications), itertools.pairwise(self.accelerations))
        if (
            len(self.amplifications) != len(self.factors)
            or len(self.accelerations) not in (0, 2)
            or not all(0 < value < 1e6 for value in positive)
            or not abs(self.acceleration_exponent) < 10
            or any(low >= high for low, high in ascending)
        ):
            raise ValueError("the table of variance factors is damaged")

    def __str__(self) -> str:
        """For people: the factors at the ends of what was measured."""
        ends = ", ".join(
            f"{self.at(amplification, 1.0 if rate is None else rate):.2f} where samples vary {amplification:.2f} times "
            f"as much as the noise{'' if rate is None else f' at {rate:.2f}x'}"
            for amplification in dict.fromkeys(self.amplifications[:: max(len(self.amplifications) - 1, 1)])
            for rate in self.accelerations or (None,)
        )
        return f"variance factors {ends}"

    def at(self, amplification: float, acceleration: float) -> float:
        """The factor for samples whose variance is ``amplification`` times that of the noise, of a scan of that net
        ``acceleration``."""
        if not self.amplifications:
            return 1.0
        logarithm = np.interp(math.log(max(amplification, 1e-12)), np.log(self.amplifications), np.log(self.factors))
        if self.accelerations:
            low, high = self.accelerations
            logarithm += self.acceleration_exponent * math.log(min(max(acceleration, low), high))
        return float(math.exp(logarithm))


def fit_variance_factors(
    amplifications: Sequence[float], accelerations: Sequence[float], ratios: Sequence[float]
) -> VarianceFactors:
    """The law by which the ``ratios`` of squared error to its expectation, without any factor, would be one: a plane of
    least squares in logarithms. Where amplification and acceleration go together, as in scans of one noise level, the
    two exponents are told apart by a weak preference for small ones (ridge regression, as a Gaussian of ``STEEPEST``).
    """
    x = np.log(np.column_stack([amplifications, accelerations]))
    y = np.log(ratios)
    centre = x.mean(axis=0)
    ridge = (SCATTER / STEEPEST) ** 2 * np.eye(2)
    slopes = np.linalg.solve((x - centre).T @ (x - centre) + ridge, (x - centre).T @ (y - y.mean()))
    ends = tuple(round(float(np.exp(end)), 4) for end in (x[:, 0].min(), x[:, 0].max()))
    start = y.mean() - slopes @ centre
    reach = tuple(round(float(np.exp(end)), 4) for end in (x[:, 1].min(), x[:, 1].max()))
    varied = reach[1] > reach[0]
    at_one = start + (0.0 if varied else slopes[1] * centre[1])
    return VarianceFactors(
        ends,
        tuple(round(math.exp(at_one + slopes[0] * math.log(end)), 4) for end in ends),
        reach if varied else (),
        round(float(slopes[1]), 4) if varied else 0.0,
    )
