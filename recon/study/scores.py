"""Scores of predictions against the truth, and their intervals over persons."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.encode.probes.statistics import Interval, auc, bootstrap
from recon.interactive.agreement import dice
from recon.seeding import numpy_generator
from recon.study.prediction import Prediction
from recon.study.volume import StudyVolume


@dataclass(frozen=True)
class StudyScore:
    """One study under one condition. ``dice`` is NaN without a lesion."""

    person: str
    lesion: bool
    dice: float
    volume_error_ml: float  # absolute
    detection: float
    mask_entropy_ml: float
    detection_entropy: float
    lesion_ml: float = 0.0
    lesion_age: str | None = None  # where it is known


def score(volume: StudyVolume, prediction: Prediction, threshold: float) -> StudyScore:
    """The scores of one prediction; the study's lesion must be known."""
    assert volume.lesion is not None
    truth, found = volume.lesion, prediction.mask >= threshold
    has = bool(truth.any())
    return StudyScore(
        person=volume.person,
        lesion=has,
        dice=dice(found, truth) if has else float("nan"),
        volume_error_ml=abs(prediction.volume_ml(volume.voxel_ml, threshold) - float(truth.sum()) * volume.voxel_ml),
        detection=prediction.detection,
        mask_entropy_ml=prediction.mask_entropy_ml(volume.voxel_ml),
        detection_entropy=prediction.detection_entropy,
        lesion_ml=float(truth.sum()) * volume.voxel_ml,
        lesion_age=volume.lesion_age,
    )


FIGURES = ("dice", "auc", "volume_error_ml", "mask_entropy_ml", "detection_entropy")


@dataclass(frozen=True)
class Figures:
    """The figures of a condition, in the order of ``FIGURES``; and, beside another condition, their paired changes."""

    values: dict[str, Interval]
    changes: dict[str, Interval] | None
    persons: int
    studies: int
    lesions: int


@dataclass(frozen=True)
class LesionGroup:
    """Mean Dice of studies whose lesions are of one size or age, and its 95 % interval over persons."""

    lesions: str
    studies: int
    dice: Interval


SIZES = ((0.0, 1.0), (1.0, 5.0), (5.0, 20.0), (20.0, float("inf")))  # mL


def lesion_groups(scores: Sequence[StudyScore], repeats: int, seed: int) -> list[LesionGroup]:
    """Dice by size and by age, in that order; groups without a study are left out."""
    found = [one for one in scores if one.lesion]
    members = {_size(low, high): [one for one in found if low <= one.lesion_ml < high] for low, high in SIZES}
    members |= {"at least 1 mL": [one for one in found if one.lesion_ml >= 1]}
    ages = dict.fromkeys(one.lesion_age for one in sorted(found, key=lambda one: one.lesion_age or ""))
    members |= {age: [one for one in found if one.lesion_age == age] for age in ages if age is not None}
    groups = []
    for name, some in members.items():
        if some:
            dice = np.array([one.dice for one in some])
            persons = tuple(one.person for one in some)

            def mean(rows: NDArray[np.int64], dice: NDArray[np.float64] = dice) -> NDArray[np.float64]:
                return np.array([dice[rows].mean()])

            interval = bootstrap(mean, persons, repeats, numpy_generator(seed, "study-lesions"))[0]
            groups.append(LesionGroup(name, len(some), interval))
    return groups


def _size(low: float, high: float) -> str:
    if low == 0:
        return f"below {high:g} mL"
    return f"above {low:g} mL" if high == float("inf") else f"{low:g} to {high:g} mL"


def figures(scores: Sequence[StudyScore], against: Sequence[StudyScore] | None, repeats: int, seed: int) -> Figures:
    """Means over studies (Dice: those with a lesion) and detection AUC, with 95 % intervals over persons.

    ``against`` are the same studies under the condition that changes count from. Every call with one seed and the same
    persons draws the same resamples.
    """
    persons = tuple(one.person for one in scores)
    here = _statistic(scores)
    there = None if against is None else _statistic(against)

    def statistic(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        own = here(rows)
        return own if there is None else np.concatenate([own, own - there(rows)])

    found = bootstrap(statistic, persons, repeats, numpy_generator(seed, "study-bootstrap"))
    count = len(FIGURES)
    return Figures(
        values=dict(zip(FIGURES, found[:count], strict=True)),
        changes=None if there is None else dict(zip(FIGURES, found[count:], strict=True)),
        persons=len(set(persons)),
        studies=len(scores),
        lesions=sum(one.lesion for one in scores),
    )


def _statistic(scores: Sequence[StudyScore]) -> Callable[[NDArray[np.int64]], NDArray[np.float64]]:
    dice = np.array([one.dice for one in scores])
    others = np.array([[one.volume_error_ml, one.mask_entropy_ml, one.detection_entropy] for one in scores])
    labels = np.array([int(one.lesion) for one in scores])
    chances = np.array([[1 - one.detection, one.detection] for one in scores])

    def statistic(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        known = dice[rows][np.isfinite(dice[rows])]
        means = others[rows].mean(axis=0)
        mean_dice = known.mean() if len(known) else np.nan
        return np.array([mean_dice, auc(labels[rows], chances[rows]), means[0], means[1], means[2]])

    return statistic
