"""Agreement between the readers, item by item and arm by arm."""

import numpy as np

from reader_study.analyses.statistic import Readings, Statistic
from reader_study.analysis_result import Analysis
from reader_study.document import Paragraph, ReportBlock, Table
from reader_study.observations import Observations
from reader_study.statistics.agreement import Gwet
from reader_study.statistics.reliability import Reliability, reliability
from reader_study.wording import number

_HEADER = ("item", "arm", "weighted kappa", "Fleiss", "AC1 (SE)", "AC2 (SE)", "alpha", "ICC(2,1)")
_CAPTION = (
    "Between readers. Kappa falls when nearly all images get one score, even if the readers agree; AC1 and AC2 do "
    "not. With more than two readers kappa is the mean over the pairs. All six ICCs stand in analysis.json."
)

_CAPTION_SUBSETS = (
    "Between the readers of a case, who differ from case to case: Fleiss' kappa and the one-way ICC over the cases "
    "that all their readers scored; kappa is the mean over the pairs of readers, each over the cases that they share."
)


def _compute(readings: Readings) -> dict[str, Reliability]:
    readers, raw = readings.found.readers, readings.raw
    by_arm = dict(zip(readings.arms, raw, strict=True)) if readings.item.scale else {"preference": raw[1]}
    found = {}
    for name, ratings in by_arm.items():
        read = np.isfinite(ratings).any(axis=1)  # a lost reader costs himself, not the agreement of the others
        named = tuple(reader for reader, here in zip(readers, read, strict=True) if here)
        value = reliability(ratings[read], named, readings.scale, readings.planned[read])
        if value is not None:
            found[name] = value
    return found


def _row(item: str, arm: str, found: Reliability) -> tuple[str, ...]:
    def brackets(low: float, high: float) -> str:
        return f"({number(low)}, {number(high)})"

    def gwet(value: Gwet) -> str:
        return f"{number(value.coefficient)} ({number(value.standard_error)})"

    kappas = list(found.pairs.values())
    kappa = number(sum(kappa.kappa for kappa in kappas) / len(kappas) if kappas else float("nan"))
    if len(kappas) == 1:
        kappa += f" {brackets(kappas[0].low, kappas[0].high)}"
    icc = found.intraclass.get("ICC(2,1)") or found.intraclass["ICC(1,1)"]
    coefficients = (number(found.fleiss_kappa), gwet(found.ac1), gwet(found.ac2), number(found.krippendorff_alpha))
    return item, arm, kappa, *coefficients, f"{number(icc.coefficient)} {brackets(icc.low, icc.high)}"


def _blocks(analysis: Analysis, observations: Observations) -> tuple[ReportBlock, ...]:
    rows = [
        _row(item.item, arm, found) for item in analysis.items for arm, found in (RELIABILITY.of(item) or {}).items()
    ]
    if not rows and len(analysis.readers) > 1:
        scaled = [item for item in analysis.protocol.items if not analysis.protocol.located(item)]
        few = "No two cases were scored by all who scored in one arm: agreement between readers is not known."
        return (Paragraph(few if scaled else "Agreement between readers is not computed of marks."),)
    if not rows:
        return (Paragraph("One reader: agreement between readers does not apply."),)
    if analysis.protocol.readers_per_case is None:
        return (Table(_HEADER, tuple(rows), _CAPTION, text_columns=2),)
    return (Table((*_HEADER[:-1], "ICC(1,1)"), tuple(rows), _CAPTION_SUBSETS, text_columns=2),)


RELIABILITY = Statistic(
    "reliability",
    _compute,
    "Reliability: quadratically weighted Cohen kappa of reader pairs, interval by the jackknife on Fisher's scale, "
    "Fleiss' kappa, Gwet's AC1 and AC2 (quadratic), "
    "Krippendorff's alpha (ordinal), Shrout and Fleiss' intraclass correlations, F-based intervals.",
    section="Reliability",
    blocks=_blocks,
)
