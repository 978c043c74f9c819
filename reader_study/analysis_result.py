"""What an analysis found: the comparison of every item, the decision, and the statistics beside them."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from reader_study.protocol import Protocol
from reader_study.statistics.hypothesis_test import HypothesisTest
from reader_study.statistics.multiplicity import Adjusted
from reader_study.statistics.obuchowski_rockette import Components, EqualityTest

FORMAT = "recon-reader-analysis-2"


@dataclass(frozen=True)
class RandomReaders:
    """Obuchowski-Rockette with Hillis' degrees of freedom: readers and cases both taken as samples."""

    components: Components
    equality: EqualityTest
    test: HypothesisTest


@dataclass(frozen=True)
class ItemResult:
    """Everything about one item.

    ``planned`` is the comparison that the protocol froze: ``fixed`` (per-case means) or that of ``random`` (None for
    one reader). ``results`` holds the statistics of ``reader_study.analyses`` by name, None where one does not apply;
    ``notes`` says what could not be computed and why.
    """

    item: str
    question: str
    direction: str
    primary: bool
    planned: HypothesisTest
    fixed: HypothesisTest
    random: RandomReaders | None
    results: Mapping[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Analysis:
    """The whole result. ``claimed`` is the primary hypothesis, decided by ``decision``'s lower bound alone.

    ``results`` holds the statistics of the whole study by name, ``notes`` why one of them is None.
    """

    protocol: Protocol
    readers: tuple[str, ...]
    decision: dict[str, Any]
    claimed: bool
    items: tuple[ItemResult, ...]
    skipped: tuple[str, ...]  # secondary items without enough answers, and why
    multiplicity: str
    adjusted: tuple[Adjusted, ...]
    results: Mapping[str, Any]
    notes: tuple[str, ...]
    comments: int
    seed: int

    @property
    def primary(self) -> ItemResult:
        """The item that the primary hypothesis is about."""
        return next(item for item in self.items if item.primary)

    @property
    def compared(self) -> int:
        """How many readers the primary comparison is of: those without a pair of readings are not among them."""
        return len(self.decision["compared_readers"])

    def has(self, name: str) -> bool:
        """Did the statistic of that name give a result, for any item or for the study?"""
        parts: tuple[ItemResult | Analysis, ...] = (*self.items, self)
        return any(bool(found.results.get(name)) for found in parts)

    @property
    def one_sided_test(self) -> str:
        """What the one-sided test shows: "non-inferiority", or "superiority" where the margin is zero."""
        return "non-inferiority" if self.decision["margin"] > 0 else "superiority"


def as_mapping(analysis: Analysis) -> dict[str, Any]:
    """The analysis as plain types for a JSON file; the protocol by its hash, the statistics beside their item."""
    values = _flat(analysis)
    del values["protocol"]
    values["items"] = [_flat(item) for item in analysis.items]
    return {"format": FORMAT, "protocol_hash": analysis.protocol.hash, **plain(values)}


def _flat(found: Analysis | ItemResult) -> dict[str, Any]:
    """The fields, with the statistics in ``results`` as if they were fields, too."""
    own = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    del own["results"]
    return {**own, **found.results}


def plain(value: Any) -> Any:
    """Dataclasses, arrays and mappings as what JSON holds; a number that is not finite is None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
