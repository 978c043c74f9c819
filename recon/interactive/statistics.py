"""What acceleration costs: figures of reconstructions against those of their references, paired, by person.

Clicks to the target are censored at the budget. Their mean is restricted to it (a censored number counts as the
budget), which is the area under the Kaplan-Meier curve up to the budget and needs no assumption, since every case is
followed until then. Its difference between arms is paired; its test is a sign test on pairs whose order is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, wilcoxon

from recon.interactive.figures import ClicksTo, interaction_area, order, reached_by
from recon.interactive.session import Interaction
from recon.quality.person_interval import LEAST_PERSONS, person_interval
from recon.seeding import numpy_generator

FIGURES = ("dice", "surface", "area", "clicks")


@dataclass(frozen=True)
class Case:
    """One image segmented by one segmenter. ``acceleration`` is None for a reference."""

    scan: str
    person: str
    contrast: str
    method: str
    acceleration: float | None
    segmenter: str
    interaction: Interaction
    needed: ClicksTo

    @property
    def figures(self) -> dict[str, float]:
        """Dice and surface agreement after the last click, the area, and the clicks restricted to the budget."""
        return {
            "dice": self.interaction.dice[-1],
            "surface": self.interaction.surface[-1],
            "area": interaction_area(self.interaction.dice),
            "clicks": float(self.needed.clicks),
        }


def compared(case_pairs: Sequence[tuple[Case, Case]], repeats: int, seed: int) -> dict[str, Any]:
    """Figures of one arm, and their differences from the references; ``case_pairs``: (reconstruction, reference).

    Scans of a person are averaged first; intervals are 95 % percentiles of a bootstrap of persons (None below
    ``LEAST_PERSONS``), ``p`` of Wilcoxon's signed-rank test of the persons' differences, of clicks an exact sign test.
    """
    persons = sorted({case.person for case, _ in case_pairs})
    rows = np.array([persons.index(case.person) for case, _ in case_pairs])
    draws = numpy_generator(seed, "interactive").integers(len(persons), size=(repeats, len(persons)))
    budget = len(case_pairs[0][0].interaction.dice)
    found: dict[str, Any] = {
        "persons": len(persons),
        "scans": len(case_pairs),
        "seconds": float(np.mean([case.interaction.seconds for case, _ in case_pairs])),
        "reached_by_click": reached_by([case.needed for case, _ in case_pairs], budget).tolist(),
        "reached_by_click_reference": reached_by([reference.needed for _, reference in case_pairs], budget).tolist(),
        "reached": float(np.mean([case.needed.reached for case, _ in case_pairs])),
        "reached_reference": float(np.mean([reference.needed.reached for _, reference in case_pairs])),
    }
    for name in FIGURES:
        values = _by_person(rows, [case.figures[name] for case, _ in case_pairs])
        against = _by_person(rows, [reference.figures[name] for _, reference in case_pairs])
        found[name], found[f"{name}_low"], found[f"{name}_high"] = _mean(values, draws)
        low, high = f"{name}_change_low", f"{name}_change_high"
        found[f"{name}_change"], found[low], found[high] = _mean(values - against, draws)
        found[f"{name}_p"] = _signed_rank(values - against)
    found["clicks_p"] = _sign_test(rows, [order(case.needed, reference.needed) for case, reference in case_pairs])
    return found


def _by_person(rows: NDArray[np.int64], values: Sequence[float]) -> NDArray[np.float64]:
    return np.bincount(rows, weights=np.array(values, float)) / np.bincount(rows)


def _mean(values: NDArray[np.float64], draws: NDArray[np.int64]) -> tuple[float, float | None, float | None]:
    low, high = person_interval(values[draws].mean(axis=1), len(values)) or (None, None)
    return float(values.mean()), low, high


def _signed_rank(differences: NDArray[np.float64]) -> float | None:
    if len(differences) < LEAST_PERSONS:
        return None
    if not np.any(differences):
        return 1.0
    return float(wilcoxon(differences, zero_method="wilcox").pvalue)


def _sign_test(rows: NDArray[np.int64], orders: Sequence[int]) -> float | None:
    """Two-sided, one vote a person: that of the majority of its pairs; ties do not vote."""
    votes = np.sign(np.bincount(rows, weights=np.array(orders, float)))
    if len(votes) < LEAST_PERSONS:
        return None
    voting = int((votes != 0).sum())
    return float(binomtest(int((votes > 0).sum()), voting).pvalue) if voting else 1.0
