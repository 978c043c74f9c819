"""Several comparisons with one reference share one error rate: by which procedure, frozen with the protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Procedure = Literal["holm", "fixed-sequence"]


@dataclass(frozen=True)
class Family:
    """How the primary tests of the new arms against the reference are kept at the one-sided ``alpha`` together.

    ``holm``: step-down over all of them. ``fixed-sequence``: each at the full ``alpha`` in the ``order`` of the arms'
    names, until one fails; nothing is claimed of the later ones (gatekeeping).
    """

    procedure: Procedure
    order: tuple[str, ...] = ()  # of the new arms; fixed-sequence only

    def check_arms(self, compared: Sequence[str]) -> None:
        """Raises ValueError unless the order names exactly the arms ``compared``, and only where it counts."""
        if self.procedure == "holm" and self.order:
            raise ValueError("key 'comparisons': Holm's procedure has no 'order'; drop it, or choose fixed-sequence")
        if self.procedure == "fixed-sequence" and sorted(self.order) != sorted(compared):
            raise ValueError(
                f"key 'comparisons': 'order' must name each new arm once ({', '.join(compared)}), first tested first"
            )
