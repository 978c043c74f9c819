"""When a third reader decides: frozen in the protocol, before anybody reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reader_study.pseudonyms import check_names


@dataclass(frozen=True)
class Adjudication:
    """Where two readers' scores of one image differ by ``difference`` points or more on one of ``items``, ``reader``
    scores it as well, and this score stands for that image in place of theirs."""

    reader: str
    experience: str
    items: tuple[str, ...]
    difference: int

    def __post_init__(self) -> None:
        if not self.items:
            raise ValueError("key 'items' names no item")
        if self.difference < 1:
            raise ValueError("key 'difference' must be 1 point or more")

    def check(self, scales: Mapping[str, Sequence[int]], readers: Sequence[str], mode: str, analysed: str) -> None:
        """Raises ValueError where a study has nothing to adjudicate so; ``scales``: of its items of quality."""
        check_names("readers and adjudication", [*readers, self.reader])
        if mode != "independent" or analysed != "fixed":
            raise ValueError(
                "key 'adjudication' needs mode 'independent', where one image has one score, and readers 'fixed': "
                "adjudicated scores are one verdict of these readers, no sample of readers"
            )
        for name in self.items:
            if name not in scales:
                raise ValueError(f"key 'adjudication': '{name}' is not an item with a scale of quality")
            if self.difference > scales[name][-1] - scales[name][0]:
                raise ValueError(f"key 'adjudication': no two scores of '{name}' differ by {self.difference} points")
