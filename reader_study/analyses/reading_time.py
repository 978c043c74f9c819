"""How long the readers looked."""

import numpy as np

from reader_study.analyses.blinding import SECTION
from reader_study.analyses.statistic import Readings, Statistic
from reader_study.analysis_result import Analysis
from reader_study.document import Paragraph, ReportBlock
from reader_study.observations import Observations


def _compute(readings: Readings) -> dict[str, float]:
    """Median seconds by arm."""
    return {
        name: float(np.nanmedian(seconds))
        for name, seconds in zip(readings.arms, readings.found.seconds, strict=True)
        if np.isfinite(seconds).any()
    }


def _blocks(analysis: Analysis, observations: Observations) -> tuple[ReportBlock, ...]:
    medians = READING_TIME.of(analysis)
    if not medians:
        return ()
    times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in medians.items())
    return (Paragraph(f"Median reading time per image: {times}. Comments: {analysis.comments}."),)


READING_TIME = Statistic("reading_seconds", _compute, "", per_item=False, section=SECTION, blocks=_blocks)
