"""Which cases have the disease, by a reference standard that no reader sees."""

from collections.abc import Sequence
from dataclasses import dataclass

FEWEST = 2  # cases with and without: with one, leaving it out leaves no ROC curve


@dataclass(frozen=True)
class CaseTruth:
    """The reference standard's verdict on every analysed case.

    It stands in the protocol and its log, so that it is frozen before anybody reads, and in no package.
    """

    condition: str  # what is there or not: "acute infarct"
    standard: str  # how that is known (STARD, CLAIM item 14): "DWI and follow-up, two readers in consensus"
    diseased: tuple[str, ...]
    not_diseased: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.condition.strip() or not self.standard.strip():
            raise ValueError("key 'truth' must name its 'condition' and the 'standard' by which it is known")
        both = [*self.diseased, *self.not_diseased]
        twice = sorted({case for case in both if both.count(case) > 1})
        if twice:
            raise ValueError(f"key 'truth' names {', '.join(twice)} twice")
        if min(len(self.diseased), len(self.not_diseased)) < FEWEST:
            raise ValueError(f"key 'truth' needs {FEWEST} or more cases with the condition, and as many without it")

    def check_covers(self, cases: Sequence[str]) -> None:
        """Raises ValueError unless exactly these cases have a verdict."""
        known = {*self.diseased, *self.not_diseased}
        for wrong, what in ((set(cases) - known, "says nothing of"), (known - set(cases), "names the foreign")):
            if wrong:
                raise ValueError(f"key 'truth' {what} {', '.join(sorted(wrong))}; every analysed case needs a verdict")
