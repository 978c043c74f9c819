"""Lesions that the readers marked: areas under the AFROC, weighted AFROC and localisation ROC curve, arm by arm."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reader_study.analyses.roc import area_row
from reader_study.analyses.statistic import Readings, Statistic, comparison_of
from reader_study.analysis_result import Analysis, RandomReaders
from reader_study.document import Paragraph, ReportBlock, Table
from reader_study.localisation_rule import NAMES
from reader_study.observations import Observations
from reader_study.protocol import Protocol
from reader_study.statistics.hypothesis_test import HypothesisTest


@dataclass(frozen=True)
class ArmAreas:
    """The areas of both arms and their difference."""

    reference: float
    new: float
    difference: HypothesisTest


@dataclass(frozen=True)
class FigureComparison:
    """One figure of merit: mean areas for these readers, the comparison for readers in general, each reader's own."""

    fixed: ArmAreas
    random: RandomReaders | None
    by_reader: Mapping[str, ArmAreas]


@dataclass(frozen=True)
class MarkCounts:
    """Of one arm, over all readers and main readings: how many, their marks, and the lesions that were marked."""

    readings: int
    lesions: int  # that these readings could have found
    found: int
    missed_marks: int  # marks that hit no lesion
    in_lesion_free: int  # of these, in cases without a lesion


@dataclass(frozen=True)
class LocalisationResult:
    """``figures`` by the name of the figure of merit, the protocol's first; ``marks`` by the name of the arm."""

    condition: str
    acceptance_mm: float
    diseased: int
    not_diseased: int
    lesions: int
    missing: int
    figures: Mapping[str, FigureComparison]
    marks: Mapping[str, MarkCounts]


def _applies(protocol: Protocol) -> bool:
    return protocol.localisation is not None


def _compute(readings: Readings) -> LocalisationResult | None:
    protocol, located = readings.protocol, readings.found.located
    rule = protocol.localisation
    if rule is None or located is None or not protocol.located(readings.item):
        return None
    figures = {name: _compared(readings, name) for name in dict.fromkeys([rule.figure, *NAMES])}
    read = np.isfinite(located.ratings[:, :, 0])
    return LocalisationResult(
        rule.condition,
        rule.acceptance_mm,
        diseased=int(located.truth.sum()),
        not_diseased=int((~located.truth).sum()),
        lesions=int(located.lesions.sum()),
        missing=int((~read & readings.planned).sum()),
        figures=figures,
        marks={name: _counts(readings, arm) for arm, name in enumerate(readings.arms)},
    )


def _compared(readings: Readings, name: str) -> FigureComparison:
    comparison, scores = comparison_of(readings.protocol, readings.item, readings.found, name), readings.measured
    own = {
        reader: ArmAreas(*comparison.areas(ratings), test)
        for reader, ratings, test in comparison.alone(readings.found.readers, scores)
    }
    fixed = comparison.fixed(scores)
    return FigureComparison(ArmAreas(*comparison.areas(scores), fixed), comparison.random(scores), own)


def _counts(readings: Readings, arm: int) -> MarkCounts:
    located, name = readings.found.located, readings.arms[arm]
    assert located is not None  # _compute has looked
    ratings = located.ratings[arm]
    known = np.isfinite(ratings)
    mine = [one for one in located.marks if one.reading.arm == name and not one.reading.repeat and not one.lesion]
    free = {case for case, lesion in zip(readings.found.cases, located.truth, strict=True) if not lesion}
    return MarkCounts(
        readings=int(known[:, 0].sum()),
        lesions=int(known[:, 1:].sum()),
        found=int((ratings[:, 1:] > 0).sum()),
        missed_marks=len(mine),
        in_lesion_free=sum(one.reading.case in free for one in mine),
    )


def _blocks(analysis: Analysis, observations: Observations) -> tuple[ReportBlock, ...]:
    blocks: list[ReportBlock] = []
    protocol = analysis.protocol
    for item in analysis.items:
        found = LOCALISATION.of(item)
        if found is None:
            continue
        rows = []
        for name, one in found.figures.items():
            curve = NAMES[name]
            rows += [_row(f"{curve}, reader {reader}", areas) for reader, areas in one.by_reader.items()]
            rows.append(_row(f"{curve}, these readers", one.fixed))
            if one.random is not None:
                general = ArmAreas(one.fixed.reference, one.fixed.new, one.random.test)
                rows.append(_row(f"{curve}, readers in general", general))
        header = ("area under the", protocol.reference, protocol.new, "difference", "interval", "p, difference")
        caption = (
            f"Item {item.item}: {found.lesions} lesions ({found.condition}) in {found.diseased} cases, "
            f"{found.not_diseased} cases without; {found.missing} readings missing. The first curve is the protocol's; "
            "the others are descriptive, as is one reader alone."
        )
        blocks.append(Table(header, tuple(rows), caption))
        counts = [
            (arm, str(one.readings), f"{one.found} of {one.lesions}", str(one.missed_marks), str(one.in_lesion_free))
            for arm, one in found.marks.items()
        ]
        columns = ("arm", "readings", "lesions marked", "marks beside every lesion", "of these in lesion-free cases")
        near = f"within {found.acceptance_mm:g} mm of its surface" if found.acceptance_mm else "inside it"
        blocks.append(Table(columns, tuple(counts), f"A mark {near} counts as finding a lesion."))
        blocks.append(Paragraph("Every mark with its verdict is in marks.csv."))
    return tuple(blocks)


def _row(name: str, areas: ArmAreas) -> tuple[str, ...]:
    return area_row(name, areas.reference, areas.new, areas.difference)


LOCALISATION = Statistic(
    "localisation",
    _compute,
    "Marked lesions: each mark goes to the lesion that it hits by the protocol's rule, the nearest of several, else it "
    "is a non-lesion localisation; a lesion has the highest rating of its marks. AFROC: probability that a lesion is "
    "rated above the highest mark in a lesion-free case, what is not marked rated below every mark, ties counted half "
    "(Chakraborty and Winter 1990); weighted: the lesions of a case share one weight. Localisation ROC: a case with "
    "lesions counts only where its highest mark hits one (Swensson 1996). Variances, covariances and tests as for "
    "areas under the ROC curve: jackknife over the cases, t for these readers, Obuchowski-Rockette for readers in "
    "general.",
    applies=_applies,
    marks=True,
    optional=True,
    section="Localisation of lesions",
    blocks=_blocks,
)
