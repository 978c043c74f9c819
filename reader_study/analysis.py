"""The planned analysis of an unsealed study: one primary result, everything else labelled as what it is."""

import warnings
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from reader_study.analyses import table
from reader_study.analyses.statistic import Readings, Statistic, comparison_of
from reader_study.analysis_result import Analysis, ItemResult, RandomReaders
from reader_study.item import Item
from reader_study.observations import Observations
from reader_study.protocol import Protocol
from reader_study.statistics.hypothesis_test import HypothesisTest
from reader_study.statistics.multiplicity import METHOD, holm
from reader_study.statistics.non_inferiority import refuse_pooled_rows
from recon.errors import ReconError, ReconWarning
from recon.progress import Report, silent

_NO_SCALE = "a preference has no anchored scale: ordinal model, interchangeability and kappa do not apply"


def analyse(
    protocol: Protocol,
    found: Observations,
    seed: int = 0,
    readers: str | None = None,
    replicates: int = 2000,
    report: Report = silent,
) -> Analysis:
    """Run the planned analysis on unblinded observations.

    ``readers`` None is the protocol's choice; only ``fixed`` and ``random`` exist, ``pooled`` is refused with the
    reason. ``seed`` drives the bootstrap (of ``replicates``) and the imputations. Raises ReconError where the primary
    item was scored in both arms by no reader, in two cases at least.
    """
    _refuse_other_readers(protocol, readers)
    items, skipped = [], []
    for number, item in enumerate(protocol.items):
        report(f"item {item.id}", number / len(protocol.items))
        try:
            items.append(_item_result(protocol, item, found, (seed, number), replicates))
        except ReconError as error:
            if item.id == protocol.primary.item:
                raise
            skipped.append(f"{error}; not analysed")
    primary = next(item for item in items if item.primary)
    item = protocol.item(primary.item)
    compared = comparison_of(protocol, item, found).readers(found.measured(item.id))
    names = [reader for reader, here in zip(found.readers, compared, strict=True) if here]
    decision = {**_decision(protocol, primary), "compared_readers": names}
    # The family: superiority of every secondary item, two-sided.
    secondary = {item.item: item.planned.p_difference for item in items if not item.primary}
    adjust = protocol.primary.multiplicity == "holm"
    results, notes = _statistics(protocol, protocol.item(primary.item), found, (seed,), replicates, per_item=False)
    return Analysis(
        protocol=protocol,
        readers=found.readers,
        decision=decision,
        claimed=bool(decision["claimed"]),
        items=tuple(items),
        skipped=tuple(skipped),
        multiplicity=(
            f"{METHOD} over the secondary items ({len(secondary)}, two-sided differences)"
            if adjust
            else "one primary test, no adjustment; every other p value is descriptive and supports no claim"
        ),
        adjusted=tuple(holm(secondary, 2 * protocol.primary.alpha)) if adjust else (),
        results=results,
        notes=notes,
        comments=found.comments,
        seed=seed,
    )


def _refuse_other_readers(protocol: Protocol, readers: str | None) -> None:
    planned = protocol.primary.readers
    if readers == "pooled":
        refuse_pooled_rows()
    if readers not in (None, planned):
        raise ReconError(
            f"the protocol froze readers: {planned}; analysing them as {readers} would change the primary test after "
            "the scores exist. Both results stand in the report, the frozen one decides"
        )


def _decision(protocol: Protocol, item: ItemResult) -> dict[str, Any]:
    """The primary result's numbers."""
    planned = item.planned
    return {
        "hypothesis": protocol.primary.hypothesis,
        "item": item.item,
        "method": planned.method,
        "readers": protocol.primary.readers,
        "cases": planned.cases,
        "estimate": planned.estimate,
        "standard_error": planned.standard_error,
        "df": planned.df,
        "margin": planned.margin,
        "alpha": planned.alpha,
        "t": planned.statistic,
        "p_value": planned.p_value,
        "lower_bound": planned.low,
        "claimed": planned.claimed,
    }


def _item_result(
    protocol: Protocol, item: Item, found: Observations, seed: tuple[int, ...], replicates: int
) -> ItemResult:
    """The planned comparison of one item, and every statistic of the table."""
    scores, comparison = found.measured(item.id), comparison_of(protocol, item, found)
    try:
        fixed = comparison.fixed(scores)
    except ReconError as error:
        raise ReconError(f"item '{item.id}': {error}") from error
    random, compared = comparison.random(scores), comparison.readers(scores)
    results, notes = _statistics(protocol, item, found, seed, replicates, per_item=True)
    lost = [reader for reader, here in zip(found.readers, compared, strict=True) if not here]
    if lost:
        few = "scored no two cases in both arms" + (", with and without the condition" if item.confidence else "")
        notes = (f"{', '.join(lost)} {few}; the comparison is of the others", *notes)
    return ItemResult(
        item=item.id,
        question=item.question,
        direction=item.direction,
        primary=item.id == protocol.primary.item,
        planned=_planned(protocol, fixed, random),
        fixed=fixed,
        random=random,
        results=results,
        notes=notes if item.scale else (_NO_SCALE, *notes),
    )


def _planned(protocol: Protocol, fixed: HypothesisTest, random: RandomReaders | None) -> HypothesisTest:
    """The comparison that the protocol froze."""
    if protocol.primary.readers == "fixed":
        return fixed
    if random is None:
        raise ReconError(
            "readers: random needs two readers or more who scored cases in both arms; all but one are lost"
        )
    return random.test


def _statistics(
    protocol: Protocol, item: Item, found: Observations, seed: tuple[int, ...], replicates: int, *, per_item: bool
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Results by name of the table's statistics of one item, or of the study, and what could not be computed."""
    results: dict[str, Any] = {}
    notes: list[str] = []
    for statistic in table.STATISTICS:
        if statistic.per_item == per_item:
            # A stream for each statistic, so that a new one changes no other one's result.
            generator = np.random.default_rng([*seed, zlib.crc32(statistic.name.encode())])
            readings = Readings(protocol, found, item, generator, replicates)
            here = statistic.applies(protocol) and statistic.items(item)
            here = here and (statistic.marks or not statistic.per_item or not protocol.located(item))
            if statistic.optional and not statistic.applies(protocol):
                continue
            results[statistic.name] = _computed(statistic, readings, notes) if here else None
    return results, tuple(notes)


def _computed(statistic: Statistic[Any], readings: Readings, notes: list[str]) -> Any:
    """The result, or None; errors and warnings of ours become ``notes``."""
    result = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ReconWarning)
        try:
            result = statistic.compute(readings)
        except ReconError as error:
            notes.append(str(error))
    for warning in caught:
        if issubclass(warning.category, ReconWarning):
            notes.append(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return result
