"""Figures of merit of lesions that readers mark and rate: areas under the AFROC and the localisation ROC curve.

Ratings are `[..., slot, case]`: slot 0 holds the highest rating of the marks that hit no lesion, slots 1, 2 ... those
of the case's lesions, each the highest of its marks. Ratings count from 1, what was not marked has ``UNMARKED``; NaN is
a reading that is missing (all slots), or a lesion that the case does not have.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from reader_study.arrays import Booleans, Floats
from reader_study.statistics.figure_of_merit import FigureOfMerit

Wins = Callable[[Floats, Booleans], tuple[Floats, Floats]]
UNMARKED = 0.0


def afroc_wins(ratings: Floats, truth: Booleans) -> tuple[Floats, Floats]:
    """Of the alternative free-response ROC (Chakraborty and Winter 1990): every lesion against every lesion-free case.

    Gives for each lesion-free case and each case with lesions how many of its lesions are rated higher than the
    highest mark in the lesion-free case (ties half) `[..., without, with]`, and the number of lesions `[..., with]`.
    """
    false = ratings[..., 0, ~truth][..., None, :, None]
    lesions = ratings[..., 1:, truth][..., :, None, :]
    wins = (lesions > false) + 0.5 * (lesions == false)
    count = np.isfinite(ratings[..., 1:, truth]).sum(axis=-2)
    return np.asarray(wins.sum(axis=-3), np.float64), np.asarray(count, np.float64)


def weighted_afroc_wins(ratings: Floats, truth: Booleans) -> tuple[Floats, Floats]:
    """As ``afroc_wins`` with the lesions of a case sharing one weight, so that every case counts alike."""
    wins, count = afroc_wins(ratings, truth)
    return wins / np.maximum(count, 1)[..., None, :], np.minimum(count, 1)


def localisation_roc_wins(ratings: Floats, truth: Booleans) -> tuple[Floats, Floats]:
    """Of the localisation ROC (Swensson 1996): a case with lesions wins only where its highest mark hits one.

    A highest rating that a hit and a miss share counts half; a case without any mark is not localised.
    """
    false = ratings[..., 0, ~truth][..., :, None]
    own, missed = ratings[..., 1:, truth], ratings[..., 0, truth]
    hit = np.where(np.isfinite(own), own, -np.inf).max(axis=-2)
    right = (hit > missed) + 0.5 * ((hit == missed) & (hit > UNMARKED))
    top = np.maximum(hit, missed)[..., None, :]
    wins = ((top > false) + 0.5 * (top == false)) * right[..., None, :]
    return np.asarray(wins, np.float64), np.isfinite(missed).astype(np.float64)


def area(ratings: Floats, truth: Booleans, wins: Wins) -> Floats:
    """The area under the curve that ``wins`` belongs to, `[...]`; NaN without a reading of either kind of case."""
    won, count = wins(ratings, truth)
    comparisons = np.isfinite(ratings[..., 0, ~truth]).sum(axis=-1) * count.sum(axis=-1)
    total = won.sum(axis=(-2, -1))
    return np.asarray(np.divide(total, comparisons, out=np.full(total.shape, np.nan), where=comparisons > 0))


WINS: dict[str, Wins] = {
    "afroc": afroc_wins,
    "weighted-afroc": weighted_afroc_wins,
    "localisation-roc": localisation_roc_wins,
}
FIGURES: dict[str, FigureOfMerit] = {name: partial(area, wins=wins) for name, wins in WINS.items()}
