"""The planned analysis of an unsealed study: one primary result, everything else labelled as what it is."""

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from reader_study.observations import Observations
from reader_study.protocol import Item, Protocol
from reader_study.statistics import missing, obuchowski_rockette
from reader_study.statistics.blinding_index import BlindingIndex, blinding_index
from reader_study.statistics.drift import Drift, drift, pair_drift
from reader_study.statistics.interchangeability import Interchangeability, interchangeability
from reader_study.statistics.multiplicity import METHOD, Adjusted, holm
from reader_study.statistics.non_inferiority import (
    PairedComparison,
    case_differences,
    compare_by_case_means,
    refuse_pooled_rows,
)
from reader_study.statistics.nonparametric import SignedRank, signed_rank
from reader_study.statistics.ordinal import cumulative_link_mixed
from reader_study.statistics.preference import Preference, preference
from reader_study.statistics.reliability import Reliability, reliability
from reader_study.statistics.repeatability import Repeatability, repeatability
from recon.errors import ReconError, ReconWarning

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Descriptive:
    """Scores of one item and arm as the readers gave them: share of every score of the scale, mean, median."""

    arm: str
    reader: str  # "all" for all readers together
    scores: int
    mean: float
    median: float
    counts: dict[str, int]


@dataclass(frozen=True)
class RandomReaders:
    """Obuchowski-Rockette with Hillis' degrees of freedom: readers and cases both taken as samples."""

    components: obuchowski_rockette.Components
    test: obuchowski_rockette.Test
    non_inferiority: obuchowski_rockette.NonInferiority


@dataclass(frozen=True)
class Planned:
    """The comparison that the protocol froze (per-case means, or Obuchowski-Rockette), in one shape for both.

    ``t`` and ``p_one_sided`` test against ``-margin`` (0: superiority), ``p_difference`` is two-sided against zero.
    """

    method: str
    estimate: float
    standard_error: float
    df: float
    margin: float
    alpha: float
    t: float
    p_one_sided: float
    lower_bound: float
    low: float
    high: float
    claimed: bool
    p_difference: float


@dataclass(frozen=True)
class ItemResult:
    """Everything about one item. ``None`` means: not applicable here; ``notes`` says why."""

    item: str
    question: str
    direction: str
    primary: bool
    planned: Planned
    fixed: PairedComparison
    random: RandomReaders | None
    by_reader: dict[str, PairedComparison]
    by_cohort: dict[str, PairedComparison]
    wilcoxon: SignedRank
    ordinal: dict[str, float] | None
    interchangeability: Interchangeability | None
    interchangeability_one_point: Interchangeability | None
    higher_scored: dict[str, Preference]  # cases in which the new arm scored higher, lower, the same (or was preferred)
    reliability: dict[str, Reliability]
    repeatability: dict[str, Repeatability]
    drift: dict[str, Drift]
    missing: missing.MissingData
    descriptive: tuple[Descriptive, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class FlagCount:
    """Cases of each arm in which at least one reader marked ``kind``; exact McNemar p value."""

    kind: str
    reference: int
    new: int
    only_reference: int
    only_new: int
    p_value: float


@dataclass(frozen=True)
class Analysis:
    """The whole result. ``claimed`` is the primary hypothesis, decided by ``decision``'s lower bound alone."""

    protocol: Protocol
    readers: tuple[str, ...]
    decision: dict[str, Any]
    claimed: bool
    items: tuple[ItemResult, ...]
    skipped: tuple[str, ...]  # secondary items without enough answers, and why
    multiplicity: str
    adjusted: tuple[Adjusted, ...]
    blinding: dict[str, BlindingIndex]
    flags: tuple[FlagCount, ...]
    reading_seconds: dict[str, float]
    comments: int
    seed: int

    @property
    def primary(self) -> ItemResult:
        return next(item for item in self.items if item.primary)


def analyse(
    protocol: Protocol,
    found: Observations,
    seed: int = 0,
    readers: str | None = None,
    replicates: int = 2000,
    progress: Callable[[], object] | None = None,
) -> Analysis:
    """Run the planned analysis on unblinded observations.

    ``readers`` None is the protocol's choice; only ``fixed`` and ``random`` exist, ``pooled`` is refused with the
    reason. ``seed`` drives the bootstrap and the imputations; ``progress`` is called after each item. Raises
    ReconError where the primary item has fewer than two complete cases.
    """
    planned = protocol.primary.readers
    chosen = planned if readers is None else readers
    if chosen == "pooled":
        refuse_pooled_rows()
    if chosen != planned:
        raise ReconError(
            f"the protocol froze readers: {planned}; analysing them as {chosen} would change the primary test after "
            "the scores exist. Both results stand in the report, the frozen one decides"
        )
    items, skipped = [], []
    for number, item in enumerate(protocol.items):
        generator = np.random.default_rng([seed, number])
        try:
            items.append(_item_result(protocol, item, found, generator, replicates))
        except ReconError as error:
            if item.id == protocol.primary.item:
                raise
            skipped.append(f"{error}; not analysed")
        if progress is not None:
            progress()
    primary = next(item for item in items if item.primary)
    decision = _decision(protocol, primary)
    # The family: superiority of every secondary item, two-sided.
    secondary = {item.item: item.planned.p_difference for item in items if not item.primary}
    adjust = protocol.primary.multiplicity == "holm"
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
        blinding=_blinding(found),
        flags=_flags(protocol, found),
        reading_seconds={
            name: float(np.nanmedian(found.seconds[arm]))
            for arm, name in enumerate((protocol.reference, protocol.new))
            if np.isfinite(found.seconds[arm]).any()
        },
        comments=found.comments,
        seed=seed,
    )


def _planned(protocol: Protocol, fixed: PairedComparison, random: RandomReaders | None) -> Planned:
    """The frozen comparison of one item."""
    test: Any
    if protocol.primary.readers == "fixed":
        test, t, p_value = fixed, fixed.t_non_inferiority, fixed.p_non_inferiority
        method = "per-case means over these readers, one-sided t test"
    else:
        assert random is not None  # three readers at least, by the protocol's own check
        test, t, p_value = random.non_inferiority, random.non_inferiority.t, random.non_inferiority.p_one_sided
        method = "Obuchowski-Rockette with Hillis' degrees of freedom, one-sided"
    if test.standard_error > 0:
        p_difference = float(2 * stats.t.sf(abs(test.estimate / test.standard_error), test.df))
    else:  # every case differs by the same amount
        p_difference = float(test.estimate == 0)
    return Planned(
        method=method,
        estimate=test.estimate,
        standard_error=test.standard_error,
        df=test.df,
        margin=test.margin,
        alpha=test.alpha,
        t=t,
        p_one_sided=p_value,
        lower_bound=test.lower_bound,
        low=test.lower_bound,
        high=2 * test.estimate - test.lower_bound,
        claimed=test.non_inferior,
        p_difference=p_difference,
    )


def _decision(protocol: Protocol, item: ItemResult) -> dict[str, Any]:
    """The primary result's numbers."""
    planned = item.planned
    return {
        "hypothesis": protocol.primary.hypothesis,
        "item": item.item,
        "method": planned.method,
        "readers": protocol.primary.readers,
        "cases": item.fixed.cases,
        "estimate": planned.estimate,
        "standard_error": planned.standard_error,
        "df": planned.df,
        "margin": planned.margin,
        "alpha": planned.alpha,
        "t": planned.t,
        "p_value": planned.p_one_sided,
        "lower_bound": planned.lower_bound,
        "claimed": planned.claimed,
    }


def _item_result(
    protocol: Protocol, item: Item, found: Observations, generator: np.random.Generator, replicates: int
) -> ItemResult:
    """All analyses of one item."""
    scores, raw = found.scores[item.id], found.raw[item.id]
    margin, alpha = protocol.primary.margin, protocol.primary.alpha
    scored, primary = bool(item.scale), item.id == protocol.primary.item
    scale = (item.scale[0], item.scale[-1]) if scored else (-1, 1)
    notes: list[str] = []
    try:
        fixed = compare_by_case_means(scores, margin, alpha)
    except ReconError as error:
        raise ReconError(f"item '{item.id}': {error}") from error
    complete = np.asarray(np.isfinite(scores).all(axis=(0, 1)))
    several = len(found.readers) > 1
    cohorts = {
        name: np.isin(found.cases, cases) & complete
        for name, cases in protocol.cases.items()
        if len(protocol.cases) > 1
    }
    by_reader = {}
    for index, reader in enumerate(found.readers):
        if np.isfinite(scores[:, index]).all(axis=0).sum() >= 2:
            by_reader[reader] = compare_by_case_means(scores[:, index : index + 1], margin, alpha)
    random = None
    if several:
        components = obuchowski_rockette.components(scores[:, :, complete])
        random = RandomReaders(
            components,
            obuchowski_rockette.equality(components),
            obuchowski_rockette.non_inferiority(components, margin, alpha),
        )
    if not scored:
        notes.append("a preference has no anchored scale: ordinal model, interchangeability and kappa do not apply")
    ordinal = _ordinal(scores, complete, notes) if scored else None
    exchange = [
        interchangeability(scores, generator, tolerance, replicates) if scored and several else None
        for tolerance in (0.0, 1.0)
    ]
    return ItemResult(
        item=item.id,
        question=item.question,
        direction=item.direction,
        primary=primary,
        planned=_planned(protocol, fixed, random),
        fixed=fixed,
        random=random,
        by_reader=by_reader,
        by_cohort={
            name: compare_by_case_means(scores[:, :, inside], margin, alpha)
            for name, inside in cohorts.items()
            if inside.sum() >= 2
        },
        wilcoxon=signed_rank(case_differences(scores), margin, 1 - 2 * alpha),
        ordinal=ordinal,
        interchangeability=exchange[0],
        interchangeability_one_point=exchange[1],
        higher_scored=_preferences(scores, found.readers),
        reliability=_reliability(protocol, item, raw, found.readers),
        repeatability=_repeatability(protocol, item, found),
        drift=_drifts(protocol, scores, found),
        missing=missing.sensitivity(scores, (scale[0], scale[1]), margin, alpha, generator),
        descriptive=_descriptive(protocol, item, raw, found.readers),
        notes=tuple(notes),
    )


def _ordinal(scores: Floats, complete: npt.NDArray[np.bool_], notes: list[str]) -> dict[str, float] | None:
    """Odds ratio of a better score in the new arm: mixed model, reader as fixed effect, case as random intercept."""
    arms, readers, cases = scores[:, :, complete].shape
    arm, reader, case = (axis.ravel() for axis in np.indices((arms, readers, cases)))
    dummies = [(reader == index).astype(float) for index in range(1, readers)]
    names = ("arm", *(f"reader {index}" for index in range(2, readers + 1)))
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ReconWarning)
            fit = cumulative_link_mixed(
                scores[:, :, complete].ravel(), np.column_stack([arm.astype(float), *dummies]), names, case
            )
    except (ReconError, np.linalg.LinAlgError) as error:
        notes.append(f"ordinal model not fitted: {error}")
        return None
    notes.extend(str(warning.message) for warning in caught)
    effect = fit.effect("arm")
    if not abs(effect["log_odds_ratio"]) < 15:
        notes.append("ordinal model: the arms' scores are separated completely, an odds ratio cannot be estimated")
        return None
    return {
        **effect,
        "case_deviation": fit.random_deviation,
        "log_likelihood": fit.log_likelihood,
        "observations": float(fit.observations),
    }


def _preferences(scores: Floats, readers: tuple[str, ...]) -> dict[str, Preference]:
    """Per reader and, under "all", per case by the sign of the mean difference over the readers."""
    found = {}
    for name, difference in [
        *((reader, scores[1, index] - scores[0, index]) for index, reader in enumerate(readers)),
        ("all", (scores[1] - scores[0]).mean(axis=0)),
    ]:
        known = difference[np.isfinite(difference)]
        if known.size:
            found[name] = preference(int((known > 0).sum()), int((known < 0).sum()), int((known == 0).sum()))
    return found


def _reliability(protocol: Protocol, item: Item, raw: Floats, readers: tuple[str, ...]) -> dict[str, Reliability]:
    if item.scale:
        found = {
            name: reliability(raw[arm], readers, item.scale)
            for arm, name in enumerate((protocol.reference, protocol.new))
        }
    else:
        found = {"preference": reliability(raw[1], readers, (-1, 0, 1))}
    return {name: value for name, value in found.items() if value is not None}


def _repeatability(protocol: Protocol, item: Item, found: Observations) -> dict[str, Repeatability]:
    """By "reader, arm"; in preference mode the answers belong to the pair."""
    first, second = found.raw[item.id], found.repeats[item.id]
    agreed = {}
    for index, reader in enumerate(found.readers):
        for arm, name in enumerate((protocol.reference, protocol.new)):
            if item.scale or arm == 1:
                result = repeatability(first[arm, index], second[arm, index], item.scale or (-1, 0, 1))
                if result is not None:
                    agreed[f"{reader}, {name}"] = result
    return agreed


def _drifts(protocol: Protocol, scores: Floats, found: Observations) -> dict[str, Drift]:
    drifts = {}
    for index, reader in enumerate(found.readers):
        if protocol.paired:
            result = pair_drift(scores[:, index], found.order[1, index])
        else:
            arm, case = (axis.ravel() for axis in np.indices(scores[:, index].shape))
            result = drift(scores[:, index].ravel(), found.order[:, index].ravel(), arm.astype(np.float64), case)
        if result is not None:
            drifts[reader] = result
    return drifts


def _descriptive(protocol: Protocol, item: Item, raw: Floats, readers: tuple[str, ...]) -> tuple[Descriptive, ...]:
    levels = item.scale or (-1, 0, 1)
    rows = []
    for arm, name in enumerate((protocol.reference, protocol.new)):
        if not item.scale and arm == 0:
            continue
        for reader, values in [("all", raw[arm].ravel()), *zip(readers, raw[arm], strict=True)]:
            known = values[np.isfinite(values)]
            if known.size:
                counts = {str(level): int((known == level).sum()) for level in levels}
                rows.append(Descriptive(name, reader, known.size, known.mean(), float(np.median(known)), counts))
    return tuple(rows)


def _blinding(found: Observations) -> dict[str, BlindingIndex]:
    return {f"{row.reader}, {row.arm}": blinding_index(row.correct, row.wrong, row.unknown) for row in found.guesses}


def _flags(protocol: Protocol, found: Observations) -> tuple[FlagCount, ...]:
    """Per kind of flag: cases marked by any reader in either arm, tested by exact McNemar."""
    rows = []
    for kind in protocol.viewing.flags:
        marked = [{flag.case for flag in found.flags if flag.kind == kind and flag.arm == arm} for arm in (0, 1)]
        only = (len(marked[0] - marked[1]), len(marked[1] - marked[0]))
        both = len(marked[0] & marked[1])
        table = [[both, only[0]], [only[1], len(found.cases) - both - sum(only)]]
        p_value = float(mcnemar(table, exact=True).pvalue) if sum(only) else 1.0
        rows.append(FlagCount(kind, len(marked[0]), len(marked[1]), *only, p_value))
    return tuple(rows)


def as_mapping(analysis: Analysis) -> Mapping[str, Any]:
    """The analysis as plain types for a JSON file; the protocol by its hash."""
    values = {
        field.name: getattr(analysis, field.name) for field in dataclasses.fields(analysis) if field.name != "protocol"
    }
    return {"protocol_hash": analysis.protocol.hash, **{name: _plain(value) for name, value in values.items()}}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
