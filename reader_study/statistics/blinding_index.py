"""Did they guess the arm? Bang's index of each arm (Bang, Ni and Davis 2004) and James' of both (James et al. 1996).

A handful of guesses is usual, so no interval here is a normal approximation around the estimate, and no p value either.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from reader_study.arrays import Floats
from reader_study.statistics.hypothesis_test import CONFIDENCE
from reader_study.statistics.preference import tango_interval, tango_score
from recon.errors import ReconError

DRAWS = 4000
_FEW = 30  # guesses up to which the interval is exact; beyond, Tango's covers what it says
_GRID = np.round(np.arange(-1.0, 1.0 + 1e-9, 0.01), 2)
_NUISANCE = np.linspace(0.0, 1.0, 25)


@dataclass(frozen=True)
class BlindingIndex:
    """Share guessed correctly minus share guessed wrongly: 0 blinded, 1 all unblinded, -1 all guess the opposite."""

    guesses: int
    index: float
    standard_error: float
    low: float
    high: float
    p_one_sided: float


@dataclass(frozen=True)
class JamesIndex:
    """0 where every guess is right, .5 where guessing is by chance, 1 where nobody knows; and its interval."""

    guesses: int
    index: float
    low: float
    high: float


def blinding_index(correct: int, wrong: int, unknown: int) -> BlindingIndex:
    """Bang's index of one arm from the counts of correct, wrong and "do not know" guesses.

    ``standard_error`` is the published [p1 (1 - p1) + p2 (1 - p2) + 2 p1 p2] / n. The interval is exact
    (unconditional, Chan and Zhang 1999) for up to 30 guesses and Tango's score interval beyond: the counts are those of
    discordant pairs. The one-sided p value of an index above 0 is the exact binomial one of correct among correct and
    wrong guesses. Raises ReconError for negative counts or none at all.
    """
    total = correct + wrong + unknown
    if min(correct, wrong, unknown) < 0 or total == 0:
        raise ReconError("a blinding index needs at least one guess and no negative count")
    index, decided = (correct - wrong) / total, correct + wrong
    error = float(np.sqrt((decided / total - index**2) / total))
    low, high = (_exact_interval if total <= _FEW else tango_interval)(correct, wrong, total)
    p_value = float(stats.binomtest(correct, decided, 0.5, alternative="greater").pvalue) if decided else 1.0
    return BlindingIndex(total, index, error, low, high, p_value)


def _exact_interval(correct: int, wrong: int, total: int) -> tuple[float, float]:
    """All differences of shares that neither one-sided exact test of Tango's score statistic refuses, to .01 outwards.

    The p value of a difference is the largest over the share of wrong guesses, about which nothing is assumed.
    """
    counts = np.indices((total + 1, total + 1)).reshape(2, -1)
    counts = np.stack([*counts, total - counts.sum(axis=0)])  # [(correct, wrong, unknown), outcome]
    counts = counts[:, counts[2] >= 0]
    log_ways = special.gammaln(total + 1) - special.gammaln(counts + 1).sum(axis=0)

    def refused(correct: int, wrong: int, delta: float) -> bool:
        extreme = tango_score(counts[0], counts[1], total, delta) >= tango_score(correct, wrong, total, delta) - 1e-9
        false = max(0.0, -delta) + _NUISANCE * (1 - abs(delta)) / 2
        shares = np.stack([false + delta, false, np.maximum(1 - delta - 2 * false, 0.0)])
        log_chance = special.xlogy(counts[:, extreme, None], shares[:, None]).sum(axis=0) + log_ways[extreme, None]
        return bool(np.exp(log_chance).sum(axis=0).max() <= (1 - CONFIDENCE) / 2)

    def lower(correct: int, wrong: int) -> float:
        below = [delta for delta in _GRID.tolist() if delta <= (correct - wrong) / total]
        low = next((delta for delta in below if not refused(correct, wrong, delta)), below[-1])
        return max(low - 0.01, -1.0)

    return lower(correct, wrong), -lower(wrong, correct)


def james_index(
    reference: tuple[int, int, int], new: tuple[int, int, int], generator: np.random.Generator
) -> JamesIndex:
    """James' index of both arms together, each arm's counts of correct, wrong and "do not know" guesses.

    (1 + P_DK + (1 - P_DK) K) / 2, K the disagreement of guess and arm above that of chance. The interval holds
    quantiles of the posterior under Perks' prior in each arm (one observation, shared by the three answers), which
    stays within 0 and 1 and is not empty where all guesses are alike; they are those of Student's t for so many
    guesses, as 2.5 % on either side cover 92 %. Raises ReconError where an arm has no guess or a negative count.
    """
    counts = np.array([reference, new], dtype=np.float64)
    if counts.min() < 0 or (counts.sum(axis=1) == 0).any():
        raise ReconError("James' blinding index needs a guess of either arm and no negative count")
    shares = np.stack([generator.dirichlet(arm + 1 / 3, DRAWS) for arm in counts], axis=1)
    drawn = _james(shares * counts.sum(axis=1)[:, None])
    wider = float(stats.t.ppf(0.5 + CONFIDENCE / 2, counts.sum() - 1))
    low, high = np.quantile(drawn, stats.norm.cdf([-wider, wider]))
    found = float(_james(counts))
    return JamesIndex(int(counts.sum()), found, min(float(low), found), max(float(high), found))


def _james(counts: Floats) -> Floats:
    """The index of counts `[..., arm, (correct, wrong, unknown)]`; 1 where nobody guesses an arm."""
    total, decided = counts.sum(axis=(-1, -2)), counts[..., :2].sum(axis=-1)
    known = decided.sum(axis=-1)
    unknown_share = 1 - known / total
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = counts[..., 1].sum(axis=-1) / known
        guessed_new = (counts[..., 0, 1] + counts[..., 1, 0]) / known
        of_new = decided[..., 1] / known
        expected = of_new * (1 - guessed_new) + (1 - of_new) * guessed_new
        kappa = np.where(expected > 0, observed / expected - 1, 0.0)
    return np.asarray(np.where(known > 0, (1 + unknown_share + (1 - unknown_share) * kappa) / 2, 1.0))
