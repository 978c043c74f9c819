"""By what the variance of posterior samples is to be multiplied, as it was measured where the truth is known."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SCATTER = 0.1  # of the logarithm of one scan's ratio about the law
SMALLEST_RATIO = 0.2  # below it the scan's own denoising error was lost in its noise
STEEPEST = (0.3, 1.0, 1.0)  # standard deviations of the exponents before anything is measured: 0 is no dependence


@dataclass(frozen=True)
class VarianceFactors:
    """A law for the factor: where the denoiser errs on the scan as it did on its validation data it is that of a table,
    interpolated in log-log; it grows with powers of the denoising ratio, the scan's own denoising error over the
    tabulated one. The power above one is another than that below, for above the samplers have raised the table to the
    scan's own error already, and below they have not lowered it. Constant outside what was measured; one where nothing
    was.

    ``amplifications``: variance of the samples over that of the noise, ascending. ``factors``: what it is then to be
    multiplied by. ``denoising_ratios``: the least and the largest measured; none where only one was.
    ``denoising_exponents``: the powers below and above a ratio of one.
    """

    amplifications: tuple[float, ...] = ()
    factors: tuple[float, ...] = ()
    denoising_ratios: tuple[float, ...] = ()
    denoising_exponents: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that are no law."""
        positive = (*self.amplifications, *self.factors, *self.denoising_ratios)
        ascending = itertools.chain(itertools.pairwise(self.amplifications), itertools.pairwise(self.denoising_ratios))
        if (
            len(self.amplifications) != len(self.factors)
            or len(self.denoising_ratios) not in (0, 2)
            or len(self.denoising_exponents) != len(self.denoising_ratios)
            or not all(0 < value < 1e6 for value in positive)
            or not all(abs(exponent) < 10 for exponent in self.denoising_exponents)
            or any(low >= high for low, high in ascending)
        ):
            raise ValueError("the table of variance factors is damaged")

    def __str__(self) -> str:
        """For people: the factors at the ends of what was measured."""
        ends = ", ".join(
            f"{self.at(amplification, 1.0 if ratio is None else ratio):.2f} where samples vary {amplification:.2f} "
            f"times as much as the noise{'' if ratio is None else f', the denoiser errs {ratio:.2f} times its table'}"
            for amplification in dict.fromkeys(self.amplifications[:: max(len(self.amplifications) - 1, 1)])
            for ratio in self.denoising_ratios or (None,)
        )
        return f"variance factors {ends}"

    def at(self, amplification: float, denoising_ratio: float) -> float:
        """The factor for samples whose variance is ``amplification`` times that of the noise, where the scan's own
        denoising error is ``denoising_ratio`` times the tabulated one."""
        if not self.amplifications:
            return 1.0
        logarithm = np.interp(math.log(max(amplification, 1e-12)), np.log(self.amplifications), np.log(self.factors))
        if self.denoising_ratios:
            low, high = self.denoising_ratios
            ratio = math.log(min(max(denoising_ratio, low), high))
            below, above = self.denoising_exponents
            logarithm += below * min(ratio, 0.0) + above * max(ratio, 0.0)
        return float(math.exp(logarithm))


def fit_variance_factors(
    amplifications: Sequence[float], denoising_ratios: Sequence[float], ratios: Sequence[float]
) -> VarianceFactors:
    """The law by which the ``ratios`` of squared error to its expectation, without any factor, would be one: least
    squares in logarithms, of amplification and of denoising ratio below and above one. Where these go together, as in
    scans of one noise level, their exponents are told apart by a weak preference for small ones (ridge regression, as
    Gaussians of ``STEEPEST``).
    """
    amplified, erring = np.log(amplifications), np.log(np.maximum(denoising_ratios, SMALLEST_RATIO))
    x = np.column_stack([amplified, np.minimum(erring, 0.0), np.maximum(erring, 0.0)])
    y = np.log(ratios)
    centre = x.mean(axis=0)
    ridge = np.diag(np.square(SCATTER / np.array(STEEPEST)))
    slopes = np.linalg.solve((x - centre).T @ (x - centre) + ridge, (x - centre).T @ (y - y.mean()))
    ends = tuple(round(float(np.exp(end)), 4) for end in (amplified.min(), amplified.max()))
    reach = tuple(round(float(np.exp(end)), 4) for end in (erring.min(), erring.max()))
    varied = reach[1] > reach[0]
    at_one = y.mean() - slopes @ centre
    return VarianceFactors(
        ends,
        tuple(round(math.exp(at_one + slopes[0] * math.log(end)), 4) for end in ends),
        reach if varied else (),
        tuple(round(float(slope), 4) for slope in slopes[1:]) if varied else (),
    )
