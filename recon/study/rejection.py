"""Does a model know when it is unsure? Detection AUC while the most uncertain studies are rejected.

The area under the curve of AUC against the share rejected, 0 to a half, is compared with that of random rejection,
whose expected curve is flat. For two classes the entropy of the detection orders studies as its maximum probability
does, so the uncertainty that may add something is another one: the entropy of the mask.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recon.encode.probes.statistics import Interval, auc, bootstrap, rejection_area
from recon.seeding import numpy_generator
from recon.study.scores import StudyScore

RATES = tuple(np.round(np.arange(0, 0.51, 0.05), 2))
ORDERS = ("mask_entropy", "maximum_probability")


def rejection_areas(scores: Sequence[StudyScore], repeats: int, seed: int) -> dict[str, Interval]:
    """Mean AUC over the rejected shares, minus the AUC without rejection, for each of ``ORDERS``, and the difference
    of the first two (``mask_entropy_gain``); 95 % intervals over persons. NaN where a class is missing."""
    persons = tuple(one.person for one in scores)
    labels = np.array([int(one.lesion) for one in scores])
    chances = np.array([[1 - one.detection, one.detection] for one in scores])
    uncertainties = (
        np.array([one.mask_entropy_ml for one in scores]),
        np.array([one.detection_entropy for one in scores]),
    )

    def statistic(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        without = auc(labels[rows], chances[rows])
        areas = [
            rejection_area(labels[rows], chances[rows], uncertainty[rows], RATES) - without
            for uncertainty in uncertainties
        ]
        return np.array([*areas, areas[0] - areas[1]])

    found = bootstrap(statistic, persons, repeats, numpy_generator(seed, "study-rejection"))
    return dict(zip((*ORDERS, "mask_entropy_gain"), found, strict=True))
