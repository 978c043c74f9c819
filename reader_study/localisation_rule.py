"""Lesions that readers mark in the images: what is asked, and when a mark counts as found. Frozen in the protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from reader_study.item import Item

Figure = Literal["afroc", "weighted-afroc", "localisation-roc"]
NAMES: dict[str, str] = {
    "afroc": "AFROC curve",
    "weighted-afroc": "weighted AFROC curve",
    "localisation-roc": "localisation ROC curve",
}


@dataclass(frozen=True)
class Localisation:
    """Readers mark every suspected lesion and rate each mark on the scale of ``item``.

    A mark is a lesion localisation where its place lies inside a lesion of the truth or within ``acceptance_mm`` of
    its surface, else a non-lesion localisation. The lesions are masks, frozen by their SHA-256 when the study is
    exported; no package holds them. ``figure`` is the figure of merit that the primary comparison is of.
    """

    item: str
    condition: str  # what is marked: "acute infarct"
    standard: str  # how the masks are known (STARD, CLAIM item 14)
    acceptance_mm: float
    figure: Figure = "afroc"

    def __post_init__(self) -> None:
        if not self.condition.strip() or not self.standard.strip():
            raise ValueError("key 'localisation' must name its 'condition' and the 'standard' by which it is known")
        if not 0 <= self.acceptance_mm < 100:
            raise ValueError("key 'acceptance_mm' must be 0 (inside the lesion) or a distance below 100 mm")

    def check(self, items: Sequence[Item], mode: str, flags: Sequence[str]) -> None:
        """Raises ValueError where the study has no such item, or shows arms side by side."""
        item = next((entry for entry in items if entry.id == self.item), None)
        if item is None or not item.confidence:
            raise ValueError(
                f"key 'localisation': '{self.item}' is not an item with direction 'higher-is-present' or "
                "'lower-is-present'"
            )
        if mode != "independent":
            raise ValueError("key 'localisation': marks beside the other arm's image are not independent of it")
        if self.item in flags:
            raise ValueError(f"key 'localisation': '{self.item}' is a flag, too; name one of them otherwise")

    def __str__(self) -> str:
        """For plans and reports."""
        near = f"within {self.acceptance_mm:g} mm of a lesion" if self.acceptance_mm else "inside a lesion"
        return f"{self.condition} marked in the images; a mark {near} finds it; area under the {NAMES[self.figure]}"
