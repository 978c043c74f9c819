"""Which reader reads which case, where no reader reads all: blocks of readers as balanced as their number allows.

A balanced incomplete block design (Yates 1936) has every case read by as many readers, every reader reading as many
cases, and every two readers sharing as many. It exists for few sizes; here the readers' cases differ by one at most, in
all and in every stratum, and the cases that two readers share are evened out by exchanges. The turns of a case (which
arm first, which side) come from an equitable colouring of the edges reader-case (de Werra 1971): every turn equally
often, but for one, for every reader and for every case.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reader_study.arrays import Booleans, Integers

_EXCHANGES = 5_000  # tried at most; the best possible is mostly reached after some hundred


@dataclass(frozen=True)
class Balance:
    """What was reached: (fewest, most) cases of a reader, and cases that two readers share."""

    readers_per_case: int
    cases_per_reader: tuple[int, int]
    cases_per_pair: tuple[int, int]

    @property
    def complete(self) -> bool:
        """Is it a balanced incomplete block design?"""
        (fewest, most), (least, greatest) = self.cases_per_reader, self.cases_per_pair
        return fewest == most and least == greatest

    def __str__(self) -> str:
        def span(ends: tuple[int, int]) -> str:
            return f"{ends[0]}" if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"

        text = f"each case by {self.readers_per_case} readers; each reader {span(self.cases_per_reader)} cases"
        if self.readers_per_case > 1:
            text += f", each two readers share {span(self.cases_per_pair)}"
            text += " (a balanced incomplete block design)" if self.complete else ""
        return text


def balance(planned: Booleans) -> Balance:
    """The balance of ``planned`` `[reader, case]`."""
    loads = planned.sum(axis=1)
    shared = planned.astype(int) @ planned.T.astype(int)
    pairs = shared[np.triu_indices(len(loads), 1)]
    size = int(planned.sum(axis=0).max())
    return Balance(size, (int(loads.min()), int(loads.max())), (int(pairs.min()), int(pairs.max())))


def assign(strata: Sequence[int], readers: int, size: int, generator: np.random.Generator) -> Booleans:
    """`[reader, case]`: which ``size`` of ``readers`` read each case; ``strata`` are the numbers of cases, in order."""
    planned = np.zeros((readers, sum(strata)), dtype=bool)
    totals = np.zeros(readers, dtype=np.int64)
    shared = np.zeros((readers, readers), dtype=np.int64)
    stratum = np.repeat(np.arange(len(strata)), strata)
    for number, cases in enumerate(strata):
        left = np.full(readers, cases * size // readers)
        # Who has the fewest cases so far takes the remainder.
        left[np.lexsort((generator.random(readers), totals))[: cases * size % readers]] += 1
        totals += left
        for case in generator.permutation(np.flatnonzero(stratum == number)).tolist():
            chosen: list[int] = []
            # The most cases left first, or the last cases find too few readers; then the fewest shared so far.
            for _ in range(size):
                met = shared[:, chosen].sum(axis=1)
                ranked = np.lexsort((generator.random(readers), met, -left)).tolist()
                chosen.append(next(reader for reader in ranked if reader not in chosen))
            left[chosen] -= 1
            planned[chosen, case] = True
            shared[np.ix_(chosen, chosen)] += 1
    np.fill_diagonal(shared, 0)
    _even_pairs(planned, shared, stratum, generator)
    return planned


def _even_pairs(planned: Booleans, shared: Integers, stratum: Integers, generator: np.random.Generator) -> None:
    """Exchange the readers of two cases of a stratum while that evens out ``shared``; changes both arrays."""
    pairs = shared[np.triu_indices(len(shared), 1)]
    for _ in range(_EXCHANGES if pairs.size else 0):
        pairs = shared[np.triu_indices(len(shared), 1)]
        if pairs.max() - pairs.min() <= 1:
            return
        first, second = (int(case) for case in generator.integers(planned.shape[1], size=2))
        ours, theirs = (
            np.flatnonzero(planned[:, first] & ~planned[:, second]),
            np.flatnonzero(planned[:, second] & ~planned[:, first]),
        )
        if stratum[first] != stratum[second] or not ours.size:
            continue
        given, taken = int(generator.choice(ours)), int(generator.choice(theirs))
        change = np.zeros_like(shared)
        for case, out, into in ((first, given, taken), (second, taken, given)):
            others = planned[:, case].copy()
            others[out] = False
            change[out, others] -= 1
            change[others, out] -= 1
            change[into, others] += 1
            change[others, into] += 1
        if ((shared + change) ** 2).sum() <= (shared**2).sum():  # equal ones too: they lead away from dead ends
            shared += change
            planned[given, first] = planned[taken, second] = False
            planned[taken, first] = planned[given, second] = True


def turns(planned: Booleans, count: int, generator: np.random.Generator) -> Integers:
    """`[reader, case]`: a turn 0 ... ``count`` - 1 for every planned reading, -1 elsewhere.

    Every reader and every case has each turn equally often, but for one.
    """
    colouring = _Colouring(planned, count)
    for reader, case in generator.permutation(np.argwhere(planned)).tolist():
        colouring.add((reader, case), generator)
    return colouring.turns


def nested_turns(planned: Booleans, halves: int, rest: int, generator: np.random.Generator) -> Integers:
    """``turns`` of ``halves`` times ``rest``, in which ``turn // rest``, as the arm shown first, is even as well."""
    outer = turns(planned, halves, generator)
    result = np.full(planned.shape, -1, dtype=np.int64)
    for half in range(halves):
        inner = turns(outer == half, rest, generator)
        result[inner >= 0] = half * rest + inner[inner >= 0]
    return result


class _Colouring:
    """Turns being dealt: readings are cut into groups of ``count`` for every reader and case, and no turn stands twice
    in a group (Koenig 1916, by alternating paths)."""

    def __init__(self, planned: Booleans, count: int) -> None:
        self.count = count
        self.turns = np.full(planned.shape, -1, dtype=np.int64)
        self.groups = [(np.cumsum(planned, axis=axis) - 1) // count for axis in (1, 0)]
        self.taken: dict[tuple[int, int, int], dict[int, tuple[int, int]]] = {}  # group -> turn -> reading

    def group(self, side: int, reading: tuple[int, int]) -> dict[int, tuple[int, int]]:
        """The turns taken in the group of a reading's reader (``side`` 0) or case (1)."""
        return self.taken.setdefault((side, reading[side], int(self.groups[side][reading])), {})

    def add(self, reading: tuple[int, int], generator: np.random.Generator) -> None:
        """Give ``reading`` a turn that is free for its reader and its case, made so where there is none."""
        free = [[turn for turn in range(self.count) if turn not in self.group(side, reading)] for side in (0, 1)]
        both = sorted(set(free[0]) & set(free[1]))
        turn = int(generator.choice(both or free[0]))
        if not both:
            self.exchange(reading, turn, free[1][0])
        self.put(reading, turn)

    def put(self, reading: tuple[int, int], turn: int) -> None:
        for side in (0, 1):
            self.group(side, reading)[turn] = reading
        self.turns[reading] = turn

    def exchange(self, reading: tuple[int, int], first: int, second: int) -> None:
        """Exchange both turns along the path that starts at the reading's case; it cannot end at its reader."""
        path: list[tuple[int, int]] = []
        side, wanted, at = 1, first, self.group(1, reading)
        while wanted in at:
            path.append(at[wanted])
            side, wanted = 1 - side, second if wanted == first else first
            at = self.group(side, path[-1])
        for step in path:
            for end in (0, 1):
                del self.group(end, step)[int(self.turns[step])]
        for step in path:
            self.put(step, second if self.turns[step] == first else first)
