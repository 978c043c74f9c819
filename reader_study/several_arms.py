"""The analysis of three and more arms: each new arm against the reference, and the claims that hold together.

Each comparison is the analysis of a study of two arms, with every statistic of it, and rests on its two arms alone:
what a third arm does to the spread of the scores changes nothing in it. What decides is the family (``family``).
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from reader_study import analysis_result
from reader_study.analyses.statistic import comparison_of
from reader_study.analysis import analyse
from reader_study.analysis_result import Analysis
from reader_study.observations import Observations, versus
from reader_study.protocol import Protocol
from reader_study.statistics import obuchowski_rockette, roc
from reader_study.statistics.multiplicity import METHOD, holm
from reader_study.statistics.obuchowski_rockette import EqualityTest
from reader_study.statistics.simultaneous import Together, decide
from recon.errors import ReconError
from recon.progress import Report, silent

FORMAT = "recon-reader-analysis-arms-1"
PROCEDURES = {"holm": METHOD, "fixed-sequence": "tests in a fixed sequence, each at the full error rate"}


@dataclass(frozen=True)
class FamilyAnalysis:
    """``comparisons`` and ``together`` in the protocol's order of new arms; their decisions are the family's.

    ``equality``: do all arms have one mean (area)? Obuchowski-Rockette over the cases that every reader read in every
    arm; None where that cannot be computed, and no condition for the claims.
    """

    protocol: Protocol
    comparisons: tuple[Analysis, ...]
    together: tuple[Together, ...]
    equality: EqualityTest | None
    seed: int

    @property
    def claimed(self) -> bool:
        """Is any comparison claimed?"""
        return any(one.claimed for one in self.together)

    @property
    def procedure(self) -> str:
        """How the comparisons share the error rate, in words."""
        family = self.protocol.comparisons
        assert family is not None  # the protocol was checked
        order = f" ({', then '.join(family.order)})" if family.order else ""
        return PROCEDURES[family.procedure] + order


def analyse_arms(
    protocol: Protocol,
    found: Observations,
    seed: int = 0,
    readers: str | None = None,
    replicates: int = 2000,
    report: Report = silent,
) -> FamilyAnalysis:
    """Run the planned analysis of three or more arms. Arguments and errors are those of ``analysis.analyse``."""
    family, names = protocol.comparisons, protocol.compared
    if family is None:
        raise ReconError("a study of two arms has one comparison, not a family; use analysis.analyse")
    parts = []
    for number, new in enumerate(names):

        def show(stage: str, done: float, before: int = number, arm: str = new) -> None:
            report(f"{arm}, {stage}", (before + done) / len(names))

        pair = protocol.versus(new)
        try:
            parts.append(analyse(pair, versus(found, protocol, new), seed, readers, replicates, show))
        except ReconError as error:
            raise ReconError(f"arm '{new}' against '{protocol.reference}': {error}") from error
    order = [names.index(name) for name in family.order]
    together = decide(names, [part.primary.planned for part in parts], order)
    adjusted = _adjusted(protocol, parts)
    merged = [_in_family(part, one, adjusted[one.name], len(names)) for part, one in zip(parts, together, strict=True)]
    return FamilyAnalysis(protocol, tuple(merged), together, _equality(protocol, found), seed)


def _adjusted(protocol: Protocol, parts: list[Analysis]) -> dict[str, tuple[Any, ...]]:
    """Holm's procedure over the secondary items of all comparisons, by new arm, where the protocol asks for it."""
    if protocol.primary.multiplicity != "holm":
        return dict.fromkeys(protocol.compared, ())
    family = {
        f"{new}\n{item.item}": item.planned.p_difference
        for new, part in zip(protocol.compared, parts, strict=True)
        for item in part.items
        if not item.primary
    }
    found: dict[str, tuple[Any, ...]] = {new: () for new in protocol.compared}
    for entry in holm(family, 2 * protocol.primary.alpha):
        new, item = entry.name.split("\n")
        found[new] = (*found[new], dataclasses.replace(entry, name=item))
    return found


def _in_family(part: Analysis, one: Together, adjusted: tuple[Any, ...], count: int) -> Analysis:
    """The comparison with the family's decision in place of its own."""
    decision = {
        **part.decision,
        "claimed": one.claimed,
        "p_adjusted": one.p_adjusted,
        "simultaneous_lower_bound": one.lower_bound,
        "simultaneous_low": one.low,
        "simultaneous_high": one.high,
    }
    text = f"the primary test is one of {count} that share the error rate; "
    if adjusted:
        text += f"{METHOD} over the secondary items of all comparisons (two-sided differences)"
    else:
        text += "every other p value is descriptive and supports no claim"
    return dataclasses.replace(part, decision=decision, claimed=one.claimed, multiplicity=text, adjusted=adjusted)


def _equality(protocol: Protocol, found: Observations) -> EqualityTest | None:
    item = protocol.item(protocol.primary.item)
    scores = found.measured(item.id)
    try:
        if item.confidence:
            comparison = comparison_of(protocol, item, found)
            components = roc.components_of_areas(scores, comparison.truth, comparison.figure)
            return obuchowski_rockette.equality(components)
        complete = np.isfinite(scores).all(axis=(0, 1))
        return obuchowski_rockette.equality(obuchowski_rockette.components(scores[..., complete]))
    except ReconError:
        return None


def as_mapping(family: FamilyAnalysis) -> dict[str, Any]:
    """The analysis as plain types for a JSON file: each comparison as that of a study of two arms."""
    comparisons = []
    for new, part in zip(family.protocol.compared, family.comparisons, strict=True):
        values = analysis_result.as_mapping(part)
        del values["protocol_hash"], values["format"]
        comparisons.append({"new": new, "reference": family.protocol.reference, **values})
    return {
        "format": FORMAT,
        "protocol_hash": family.protocol.hash,
        "procedure": family.procedure,
        "claimed": family.claimed,
        "together": analysis_result.plain(family.together),
        "equality": analysis_result.plain(family.equality),
        "comparisons": comparisons,
        "seed": family.seed,
    }
