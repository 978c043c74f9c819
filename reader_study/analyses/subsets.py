"""The comparison of each reader alone and of each cohort alone."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reader_study.analyses.statistic import Readings, Statistic
from reader_study.analysis_result import Analysis
from reader_study.claim import digits, primary_item
from reader_study.document import ReportBlock, Table
from reader_study.observations import Observations
from reader_study.statistics.hypothesis_test import HypothesisTest
from reader_study.wording import interval, number, verdict


@dataclass(frozen=True)
class Subsets:
    """Comparisons for fixed readers, by reader and (where there are several) by cohort."""

    by_reader: Mapping[str, HypothesisTest]
    by_cohort: Mapping[str, HypothesisTest]


def _compute(readings: Readings) -> Subsets:
    comparison = readings.comparison
    scores = readings.measured if readings.protocol.located(readings.item) else readings.scores
    by_reader = {reader: test for reader, _, test in comparison.alone(readings.found.readers, readings.measured)}
    by_cohort = {}
    cohorts = readings.protocol.cases
    for name, cases in cohorts.items() if len(cohorts) > 1 else ():
        inside = np.isin(readings.found.cases, cases)
        if comparison.readers(np.where(inside, scores, np.nan)).any():
            by_cohort[name] = comparison.fixed(scores, inside)
    return Subsets(by_reader, by_cohort)


def _blocks(analysis: Analysis, found: Observations) -> tuple[ReportBlock, ...]:
    def line(name: str, test: HypothesisTest) -> tuple[str, ...]:
        deviation = test.standard_error * float(np.sqrt(test.cases))
        limits = interval(test.low, test.high, decimals)
        estimate = number(test.estimate, decimals)
        return name, str(test.cases), estimate, limits, number(deviation), verdict(test.claimed)

    primary, subsets = analysis.primary, SUBSETS.of(analysis.primary)
    if subsets is None:
        return ()
    decimals = digits(primary_item(analysis))
    rows = [line(f"reader {name}", test) for name, test in subsets.by_reader.items()]
    rows += [line(f"cohort {name}", test) for name, test in subsets.by_cohort.items()]
    rows.append(line("all", primary.fixed))
    header = ("", "cases", "difference", "interval", "SD of differences", "bound above margin")
    caption = f"Item {primary.item}. Descriptive: a part of the study where the bound fails is no contradiction."
    return (Table(header, tuple(rows), caption),)


SUBSETS = Statistic("subsets", _compute, "", marks=True, section="Each reader and cohort", blocks=_blocks)
