"""One question of a protocol to the reader."""

from dataclasses import dataclass, field
from typing import Literal

from reader_study.pseudonyms import NAME

Direction = Literal[
    "higher-is-better", "lower-is-better", "preferred-is-better", "higher-is-present", "lower-is-present"
]


@dataclass(frozen=True)
class Item:
    """One question to the reader.

    In the scored modes ``anchors`` gives every score its meaning, consecutive integers from lowest to highest
    ("1": "non-diagnostic" ... "5": "excellent"), and ``direction`` says which end is good. In preference mode the
    answers are A, B and (if ``ties``) tie; ``direction`` is ``preferred-is-better`` and there are no anchors. The item
    is a rating of confidence where ``direction`` says which end means that the condition of the protocol's ``truth`` is
    surely present (``higher-is-present``): its arms are compared by their areas under the ROC curve.
    """

    id: str
    question: str
    direction: Direction
    anchors: dict[str, str] = field(default_factory=dict)
    required: bool = True

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.id):
            raise ValueError(f"item id {self.id!r}: use letters, digits, '-' and '_' (at most 32)")
        if self.direction == "preferred-is-better":
            if self.anchors:
                raise ValueError(f"item '{self.id}': a preference has no anchors")
            return
        try:
            scores = [int(score) for score in self.anchors]
        except ValueError:
            raise ValueError(f"item '{self.id}': anchors must be 'integer: meaning' lines") from None
        if len(scores) < 2 or scores != list(range(scores[0], scores[0] + len(scores))):
            raise ValueError(f"item '{self.id}': anchors must be two or more consecutive integers, lowest first")
        if not all(meaning.strip() for meaning in self.anchors.values()):
            raise ValueError(f"item '{self.id}': every score needs a written anchor")

    @property
    def scale(self) -> tuple[int, ...]:
        """The allowed scores, lowest first; empty for a preference."""
        return tuple(int(score) for score in self.anchors)

    @property
    def confidence(self) -> bool:
        """Is it a rating of confidence that the condition is present?"""
        return self.direction in ("higher-is-present", "lower-is-present")

    @property
    def mirrored(self) -> bool:
        """Is the lowest score the good end, or the one that means surely present?"""
        return self.direction in ("lower-is-better", "lower-is-present")

    def oriented(self, score: float) -> float:
        """``score`` turned so that higher is better, or surer of the condition (mirrored where 1 is)."""
        return self.scale[0] + self.scale[-1] - score if self.mirrored else score
