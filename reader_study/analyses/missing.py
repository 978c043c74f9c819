"""How much the missing scores could matter."""

from reader_study.analyses.statistic import Readings, Statistic, quality
from reader_study.analysis_result import Analysis
from reader_study.document import ReportBlock, Table
from reader_study.observations import Observations
from reader_study.statistics import missing
from reader_study.statistics.hypothesis_test import HypothesisTest
from reader_study.wording import number, verdict


def _compute(readings: Readings) -> missing.MissingData:
    primary, scale = readings.protocol.primary, readings.scale
    ends = (scale[0], scale[-1])
    return missing.sensitivity(
        readings.scores, readings.planned, ends, primary.margin, primary.alpha, readings.generator
    )


def _blocks(analysis: Analysis, observations: Observations) -> tuple[ReportBlock, ...]:
    def line(name: str, test: HypothesisTest) -> tuple[str, ...]:
        return name, number(test.estimate), number(test.low), verdict(test.claimed)

    found = MISSING.of(analysis.primary)
    if found is None:
        return ()
    rows = [line("Readings as they are", analysis.primary.fixed)]
    for name, extreme in (("Worst case for the new arm", found.worst), ("Best case for the new arm", found.best)):
        if extreme is not None:
            rows.append(line(name, extreme))
    if found.imputed is not None:
        imputed = found.imputed
        rows.append(line(f"Multiple imputation ({imputed.imputations})", imputed.test))
        if found.tipping_shift is not None:
            tipping = f"{number(found.tipping_shift)} points off each imputed difference take the claim away"
        elif imputed.test.claimed:
            tipping = "no penalty within the scale takes the claim away"
        else:
            tipping = "no claim to lose"
        rows.append((f"Tipping point: {tipping}", "", "", ""))
    caption = f"Item {analysis.primary.item}, these readers. "
    if found.missing_scores:
        names = (analysis.protocol.reference, analysis.protocol.new)
        by_arm = ", ".join(f"{name} {count}" for name, count in zip(names, found.missing_by_arm, strict=True))
        caption += f"Missing: {found.missing_scores} scores ({by_arm}) in {found.incomplete_cases} cases."
    else:
        caption += "No score is missing."
    return (Table(("", "difference", "lower bound", "claim"), tuple(rows), caption),)


MISSING = Statistic(
    "missing",
    _compute,
    "Missing scores: every pair that a reader scored in the primary analysis; every missing score replaced by the "
    "worst or the best of the scale; 50 imputations of the missing differences (Rubin's rules); the tipping point is "
    "the penalty on each imputed difference that takes the claim away.",
    section="Missing scores",
    blocks=_blocks,
    items=quality,
)
