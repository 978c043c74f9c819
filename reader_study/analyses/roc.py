"""Diagnostic accuracy: the area under the ROC curve of every reader and arm, against the protocol's truth."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reader_study.analyses.statistic import Readings, Statistic
from reader_study.analysis_result import Analysis
from reader_study.document import Picture, ReportBlock, Table
from reader_study.figures.roc import roc_curves
from reader_study.item import Item
from reader_study.observations import Observations
from reader_study.statistics.hypothesis_test import HypothesisTest
from reader_study.statistics.roc import comparable_pairs, curve
from reader_study.wording import interval, number, p_cell


@dataclass(frozen=True)
class ReaderAreas:
    """One reader's areas in both arms over the cases that he rated in both, their difference, and the curves.

    ``curves`` holds for each arm the false and the true positive fractions at every threshold.
    """

    reference: float
    new: float
    difference: HypothesisTest
    curves: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]


@dataclass(frozen=True)
class Roc:
    """Areas of every reader who can be compared; how many cases have the condition; how many ratings are missing."""

    condition: str
    by_reader: Mapping[str, ReaderAreas]
    diseased: int
    not_diseased: int
    missing: int


def _compute(readings: Readings) -> Roc:
    comparison, scores, by_reader = readings.comparison, readings.scores, {}
    truth = comparison.truth
    for reader, own, test in comparison.alone(readings.found.readers, scores):
        pairs = comparable_pairs(own, truth)[:, 0]
        curves = {
            name: (tuple(false.tolist()), tuple(true.tolist()))
            for name, (false, true) in zip(readings.arms, (curve(arm, truth) for arm in pairs), strict=True)
        }
        by_reader[reader] = ReaderAreas(*comparison.areas(own), test, curves)
    known = readings.protocol.truth
    condition = known.condition if known is not None else ""
    lost = int((np.isnan(scores) & readings.planned).sum())
    return Roc(condition, by_reader, int(truth.sum()), int((~truth).sum()), lost)


def _blocks(analysis: Analysis, observations: Observations) -> tuple[ReportBlock, ...]:
    blocks: list[ReportBlock] = []
    protocol = analysis.protocol
    for item in analysis.items:
        found = ROC.of(item)
        if found is None:
            continue
        rows = [
            area_row(f"reader {name}", one.reference, one.new, one.difference) for name, one in found.by_reader.items()
        ]
        reference = float(np.mean([one.reference for one in found.by_reader.values()]))
        new = float(np.mean([one.new for one in found.by_reader.values()]))
        rows.append(area_row("mean, these readers", reference, new, item.fixed))
        if item.random is not None:
            rows.append(area_row("mean, readers in general", reference, new, item.random.test))
        header = ("", protocol.reference, protocol.new, "difference", "interval", "p, difference (two-sided)")
        caption = (
            f"Item {item.item}: area under the ROC curve for {found.condition}, {found.diseased} cases with and "
            f"{found.not_diseased} without; {found.missing} ratings missing. One reader alone carries no claim."
        )
        blocks.append(Table(header, tuple(rows), caption))
        drawn = {name: one.curves for name, one in found.by_reader.items()}
        legend = "Empirical ROC curves by reader; the dotted line is chance."
        blocks.append(Picture(f"roc-{item.item}", roc_curves(drawn, (protocol.reference, protocol.new)), legend))
    return tuple(blocks)


def area_row(name: str, reference: float, new: float, test: HypothesisTest) -> tuple[str, ...]:
    """A row of a table of areas: both arms', their difference with its interval, p."""
    shown = (number(value, 3) for value in (reference, new, test.estimate))
    return name, *shown, interval(test.low, test.high, 3), p_cell(test.p_difference)


def _confidence(item: Item) -> bool:
    return item.confidence


ROC = Statistic(
    "roc",
    _compute,
    "Ratings of confidence: empirical area under the ROC curve against the reference standard, ties counted half; "
    "each reader's pairs count, all of them. Variances and covariances by the jackknife over the cases; these readers: "
    "t with Satterthwaite's degrees of freedom from the cases with and without the condition; readers in general: "
    "Obuchowski-Rockette as above, with areas in place of means.",
    items=_confidence,
    section="Diagnostic accuracy",
    blocks=_blocks,
)
