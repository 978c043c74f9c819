"""In how many cases the new arm did better, worse or the same."""

import numpy as np

from reader_study.analyses.statistic import Readings, Statistic, quality
from reader_study.analysis_result import Analysis
from reader_study.document import ReportBlock, Table
from reader_study.observations import Observations
from reader_study.statistics.preference import Preference, preference
from reader_study.wording import interval, number, p_cell

SECTION = "Preference and interchangeability"


def _compute(readings: Readings) -> dict[str, Preference]:
    """Per reader and, under "all", per case by the sign of the mean difference over the readers."""
    difference = readings.own[1] - readings.own[0]
    pairs, expected = readings.compared[1] - readings.compared[0], readings.expected
    together = pairs.mean(axis=0)
    if not expected.all():  # case subsets: the mean over those who were to read the case
        counted = np.maximum(expected.sum(axis=0), 1)
        together = np.where(expected.any(axis=0), np.where(expected, pairs, 0.0).sum(axis=0) / counted, np.nan)
    found = {}
    for name, values in [*zip(readings.found.readers, difference, strict=True), ("all", together)]:
        known = values[np.isfinite(values)]
        if known.size:
            found[name] = preference(int((known > 0).sum()), int((known < 0).sum()), int((known == 0).sum()))
    return found


def _blocks(analysis: Analysis, observations: Observations) -> tuple[ReportBlock, ...]:
    protocol = analysis.protocol
    rows = []
    for item in analysis.items:
        for name, found in (PREFERENCE.of(item) or {}).items():
            if name == "all" or item.primary:
                row = [item.item, "per-case mean" if name == "all" else name]
                row += [str(found.prefer_new), str(found.ties), str(found.prefer_reference)]
                row += [number(found.net), interval(found.low, found.high), p_cell(found.p_sign_test)]
                rows.append(tuple(row))
    header = ("item", "reader", f"{protocol.new} higher", "tie", f"{protocol.reference} higher", "net", "95 %", "p")
    verb = "preferred" if protocol.mode == "preference" else "scored higher"
    return (Table(header, tuple(rows), f"Cases {verb}; net is the difference of the shares.", text_columns=2),)


PREFERENCE = Statistic(
    "higher_scored",
    _compute,
    "Preference: cases in which the new arm scored higher or lower (or was chosen), ties kept; Tango's score interval "
    "for the difference of the shares, exact sign test.",
    section=SECTION,
    blocks=_blocks,
    items=quality,
)
