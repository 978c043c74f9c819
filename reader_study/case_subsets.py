"""Case subsets by reader (key ``readers_per_case``): who reads what, in which sessions and turns.

Cohorts, and in them cases with and without the condition, are the strata of the design (``incomplete_blocks``): every
reader has his share of each. What a reader reads, he reads in every arm.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np

from reader_study.crossover import sittings, starts, williams
from reader_study.incomplete_blocks import Balance, assign, balance, nested_turns
from reader_study.protocol import Protocol

Row = tuple[str, Literal["training", "main", "repeat"], tuple[str, ...]]  # case, kind, arms


def strata(protocol: Protocol) -> list[list[str]]:
    """The cases by cohort and, where the protocol knows it, by truth."""
    parts = []
    for cases in protocol.cases.values():
        diseased = set(protocol.truth.diseased) if protocol.truth is not None else set()
        parts += [[case for case in cases if (case in diseased) == having] for having in (True, False)]
    return [part for part in parts if part]


def deal_subsets(protocol: Protocol, generator: np.random.Generator) -> list[list[list[Row]]]:
    """The unordered presentations of each reader and session, repeats included."""
    parts = strata(protocol)
    cases = [case for part in parts for case in part]
    assert protocol.readers_per_case is not None  # asked for where there are subsets only
    planned = assign([len(part) for part in parts], len(protocol.readers), protocol.readers_per_case, generator)
    dealt = nested_turns(planned, *_turns(protocol), generator)
    return [
        _deal(protocol, {case: int(turn) for case, turn in zip(cases, own, strict=True) if turn >= 0}, generator)
        for own in dealt
    ]


def achieved(protocol: Protocol, read: Iterable[tuple[str, str]]) -> Balance:
    """The balance of the readers' subsets in an allocation, of which ``read`` has reader and case of every look."""
    readers, cases = [reader.id for reader in protocol.readers], list(protocol.case_ids)
    planned = np.zeros((len(readers), len(cases)), dtype=bool)
    for reader, case in read:
        if reader in readers and case in cases:  # not of a training case
            planned[readers.index(reader), cases.index(case)] = True
    return balance(planned)


def _turns(protocol: Protocol) -> tuple[int, int]:
    """How many ways there are to see a case: sides, or orders of the arms, and sessions of each."""
    count, arms = protocol.sessions.count, len(protocol.arms)
    if protocol.paired:
        return 2, count
    if arms > 2:
        return len(williams(arms)), starts(arms, count)
    return (count, 1) if count % 2 else (2, count // 2)


def _deal(protocol: Protocol, own: Mapping[str, int], generator: np.random.Generator) -> list[list[Row]]:
    """One reader's sessions from the turn of each of his cases; ``repeats`` of these are drawn for a second look."""
    count = protocol.sessions.count
    repeated = set(generator.permutation(sorted(own)).tolist()[: protocol.repeats])
    sessions: list[list[Row]] = [[] for _ in range(count)]
    for case, turn in own.items():
        looks = _looks(protocol, turn)
        seen = {session for session, _ in looks}
        for session, arms in looks:
            sessions[session].append((case, "main", arms))
            if case not in repeated:
                continue
            if protocol.paired:  # the second look has the sides exchanged and, if it can, a later session
                later = session + count // 2
                sessions[later if later < count else session].append((case, "repeat", arms[::-1]))
            else:  # never with another arm of the case
                later = session + 1 if session + 1 < count and session + 1 not in seen else session
                sessions[later].append((case, "repeat", arms))
    return sessions


def _looks(protocol: Protocol, turn: int) -> list[tuple[int, tuple[str, ...]]]:
    """(session from 0, arms shown together) of a case at this turn."""
    count, names = protocol.sessions.count, protocol.arm_names
    if protocol.paired:
        return [(turn % count, names[::-1] if turn // count else names)]
    if len(names) == 2:
        return [(turn, names[:1]), ((turn + count // 2) % count, names[1:])]
    several = starts(len(names), count)
    order = williams(len(names))[turn // several]
    places = sittings(turn % several, len(names), count)
    return [(session, (names[arm],)) for session, arm in zip(places, order, strict=True)]
