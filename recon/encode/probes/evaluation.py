"""What a probe is worth on persons it never saw, and what acceleration and rejection do to it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from recon.encode.probes.options import EvaluationOptions
from recon.encode.probes.prediction import Prediction
from recon.encode.probes.probe import Probe
from recon.encode.probes.statistics import (
    Interval,
    accuracy,
    auc,
    bootstrap,
    calibration_error,
    kept_after_rejection,
    rejection_area,
)
from recon.encode.probes.store import MISSING, Embeddings
from recon.errors import ReconError
from recon.seeding import numpy_generator

WATCHED_REJECTION = 0.25  # up to here AUC is expected to rise


@dataclass(frozen=True)
class RejectionPoint:
    """AUC of the cases that are left."""

    rate: float
    kept: int
    auc: Interval
    step: Interval | None  # AUC minus that of the rate before; None for the first
    prevalence: tuple[float, ...]  # share of every class among the cases that are left


@dataclass(frozen=True)
class RejectionArea:
    """Mean AUC over the rejected shares minus the AUC without rejection, which is what random rejection is expected to
    leave: by the probe's uncertainty, by 1 minus its largest probability, and the difference of the two."""

    uncertainty: Interval
    maximum_probability: Interval
    difference: Interval


@dataclass(frozen=True)
class GroupResult:
    """One group of cases: the references, or the reconstructions at one acceleration."""

    acceleration: float
    cases: int
    persons: int
    auc: Interval
    accuracy: Interval
    calibration_error: Interval
    auc_reference: float | None  # of the same cases' references, for reconstructions
    auc_difference: Interval | None  # reconstruction minus reference, paired by case
    rejection: tuple[RejectionPoint, ...]
    gain_at_quarter: Interval | None  # AUC at the last rate up to 25 % minus AUC without rejection
    area: RejectionArea | None  # over all rates
    uncertainty: Interval  # mean over the cases
    uncertainty_difference: Interval | None  # reconstruction minus reference, paired by case

    @property
    def rises(self) -> bool | None:
        """Whether AUC rises to 25 % rejection within its interval: no step is a fall beyond chance (the interval of
        the paired step reaches 0), and the whole gain is positive. None when rejection was not asked for."""
        watched = [point for point in self.rejection if point.rate <= WATCHED_REJECTION + 1e-9 and point.step]
        if not watched or self.gain_at_quarter is None:
            return None
        steps = [point.step for point in watched if point.step is not None]
        if any(math.isnan(step.high) for step in steps) or math.isnan(self.gain_at_quarter.value):
            return None
        return all(step.high >= 0 for step in steps) and self.gain_at_quarter.value > 0


def evaluation_rows(embeddings: Embeddings, probe: Probe, *, unseen_only: bool) -> NDArray[np.int64]:
    """Volumes to judge the probe on: labelled, of split ``eval`` where there are splits.

    Raises ReconError when a person that the probe was fitted on is among them (unless ``unseen_only`` leaves those
    out), a label value that the probe does not know occurs, or nothing is left.
    """
    values = embeddings.label(probe.label)
    usable = values != MISSING
    if any(embeddings.splits):
        usable &= np.array([split == "eval" for split in embeddings.splits])
    seen = set(probe.persons)
    fitted = np.array([person in seen for person in embeddings.subjects])
    if unseen_only:
        usable &= ~fitted
    leaked = {person for person, flag in zip(embeddings.subjects, usable & fitted, strict=True) if flag}
    if leaked:
        raise ReconError(
            f"leakage: {len(leaked)} person(s) of the evaluation were in the fit; give --unseen to judge on the others "
            "only, or embeddings of other persons"
        )
    unknown = sorted({int(value) for value in values[usable]} - set(probe.classes))
    if unknown:
        raise ReconError(f"label '{probe.label}' has the value {unknown[0]}, which the probe was not fitted on")
    rows = np.flatnonzero(usable)
    if not len(rows):
        raise ReconError(f"no volume left to evaluate '{probe.label}' on; all persons were in the fit, or no label")
    return rows


def evaluate_probe(probe: Probe, embeddings: Embeddings, options: EvaluationOptions) -> list[GroupResult]:
    """Results for the references and, by acceleration, for every one in ascending order; intervals resample persons.

    Raises ReconError as ``evaluation_rows`` does, and when the cases of the references show one class only.
    """
    if options.by != "acceleration":
        embeddings = embeddings.select(np.flatnonzero(embeddings.accelerations == 1))
    chosen = embeddings.select(evaluation_rows(embeddings, probe, unseen_only=options.unseen))
    labels = np.searchsorted(np.array(probe.classes), chosen.label(probe.label))
    prediction = probe.predict(chosen)
    references = {chosen.cases[row]: int(row) for row in np.flatnonzero(chosen.accelerations == 1)}
    results = []
    for acceleration in np.unique(chosen.accelerations):
        rows = np.flatnonzero(chosen.accelerations == acceleration)
        partners = None
        if acceleration != 1:
            rows = np.array([row for row in rows if chosen.cases[row] in references], np.int64)
            partners = np.array([references[chosen.cases[row]] for row in rows], np.int64)
        if not len(rows):
            continue
        if len(np.unique(labels[rows])) < len(probe.classes):
            raise ReconError(
                f"label '{probe.label}': not every class occurs among the {len(rows)} cases at acceleration "
                f"{acceleration:g}; an AUC needs all of them"
            )
        generator = numpy_generator(options.seed, "probe-evaluation", str(float(acceleration)))
        results.append(_group(chosen, labels, prediction, rows, partners, options.reject, options.repeats, generator))
    return results


def _group(
    chosen: Embeddings,
    labels: NDArray[np.int64],
    prediction: Prediction,
    rows: NDArray[np.int64],
    partners: NDArray[np.int64] | None,
    rates: Sequence[float],
    repeats: int,
    generator: np.random.Generator,
) -> GroupResult:
    truth, probabilities, uncertainty = labels[rows], prediction.probabilities[rows], prediction.uncertainty[rows]
    paired = None if partners is None else prediction.probabilities[partners]
    unsure_before = None if partners is None else prediction.uncertainty[partners]
    ordered = sorted(set(rates))
    watched = [rate for rate in ordered if rate <= WATCHED_REJECTION + 1e-9]

    def figures(index: NDArray[np.int64]) -> dict[str, float]:
        here, said, unsure = truth[index], probabilities[index], uncertainty[index]
        whole = auc(here, said)
        found = {
            "auc": whole, "accuracy": accuracy(here, said), "calibration": calibration_error(here, said),
            "uncertainty": float(unsure.mean()),
        }  # fmt: skip
        if paired is not None and unsure_before is not None:
            found["auc_difference"] = whole - auc(here, paired[index])
            found["uncertainty_difference"] = float((unsure - unsure_before[index]).mean())
        if ordered:
            curve = []
            for rate in ordered:
                kept = kept_after_rejection(unsure, rate)
                curve.append(auc(here[kept], said[kept]))
            found |= {f"auc at {rate}": value for rate, value in zip(ordered, curve, strict=True)}
            steps = [after - before for before, after in pairwise(curve)]
            found |= {f"step to {rate}": value for rate, value in zip(ordered[1:], steps, strict=True)}
            if len(watched) > 1:
                found["gain"] = curve[len(watched) - 1] - curve[0]
            own = float(np.mean(curve)) - whole
            plain = rejection_area(here, said, 1 - said.max(axis=1), ordered) - whole
            found |= {"area": own, "area by probability": plain, "area difference": own - plain}
        return found

    persons = tuple(chosen.subjects[row] for row in rows)
    names = list(figures(np.arange(len(rows))))
    values = bootstrap(lambda index: np.array(list(figures(index).values())), persons, repeats, generator)
    intervals = dict(zip(names, values, strict=True))

    def point(rate: float) -> RejectionPoint:
        kept = kept_after_rejection(uncertainty, rate)
        shares = np.bincount(truth[kept], minlength=probabilities.shape[1]) / len(kept)
        step = intervals.get(f"step to {rate}")
        return RejectionPoint(rate, len(kept), intervals[f"auc at {rate}"], step, tuple(map(float, shares)))

    areas = (intervals.get("area"), intervals.get("area by probability"), intervals.get("area difference"))
    return GroupResult(
        acceleration=float(chosen.accelerations[rows[0]]),
        cases=len(rows),
        persons=len(set(persons)),
        auc=intervals["auc"],
        accuracy=intervals["accuracy"],
        calibration_error=intervals["calibration"],
        auc_reference=None if paired is None else auc(truth, paired),
        auc_difference=intervals.get("auc_difference"),
        rejection=tuple(map(point, ordered)),
        gain_at_quarter=intervals.get("gain"),
        area=RejectionArea(*areas) if None not in areas else None,  # type: ignore[arg-type]
        uncertainty=intervals["uncertainty"],
        uncertainty_difference=intervals.get("uncertainty_difference"),
    )
