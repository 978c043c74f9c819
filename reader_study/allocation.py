"""Who sees what, when, and on which side: balanced for every reader, drawn from one secret seed.

Independent mode, S sessions: every case is dealt to an ordered pair of sessions (s, s + S//2 mod S), reference in
the first and new in the second, equally many cases to each s within every cohort; with one session both arms share
it. A repeat is never in the session of the other arm, and always later than the look that it repeats. Within a session
the arms follow permuted blocks of 4 or 6, so neither arm is read earlier on average, and two presentations of one case
are at least ``separation`` apart. Side-by-side and preference: one presentation a case,
dealt over the sessions, sides A/B balanced. Readers come in couples with mirrored arm orders and sides. Three and
more arms: every case is dealt to a row of a Williams design, its arms to as many sessions (``crossover``). Case subsets
by reader: ``case_subsets``.

Identifiers come from HMAC-SHA256 of the seed and a counter, never from an arm or a case: whoever sees them learns
nothing about the seed, the generator or the allocation.
"""

import hashlib
import hmac
import secrets
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from reader_study.case_subsets import deal_subsets
from reader_study.crossover import sittings, starts, williams
from reader_study.protocol import Protocol
from recon.errors import ReconError

PresentationKind = Literal["training", "main", "repeat"]
_TRIES = 40  # random starts of one session's order before the separation is called impossible


@dataclass(frozen=True)
class Presentation:
    """One thing that one reader looks at: an image, or a pair of images. A row of the sealed key.

    ``arms`` is ``(arm,)`` in independent mode, ``(arm on side A, arm on side B)`` otherwise. ``repeat`` rows are for
    intra-reader agreement and ``training`` rows for practice; neither enters the comparison of arms.
    """

    id: str  # 16 hexadecimal digits, random, different for every reader and presentation
    reader: str
    session: int  # from 1
    order: int  # from 1 within reader and session, training first
    case: str
    kind: PresentationKind
    arms: tuple[str, ...]
    guess: bool = False  # shown again at the very end with the question which arm (side) it was

    def as_mapping(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**asdict(self), "arms": list(self.arms)}


def new_seed() -> str:
    """A fresh 256-bit secret seed as 64 hexadecimal digits; it may only be stored inside the sealed key."""
    return secrets.token_hex(32)


def secret_bytes(seed: str, purpose: str, counter: int, length: int = 16) -> bytes:
    """Pseudo-random bytes (at most 32) for the ``counter``-th identifier of one purpose: HMAC-SHA256."""
    return hmac.new(bytes.fromhex(seed), f"{purpose}/{counter}".encode(), hashlib.sha256).digest()[:length]


def secret_generator(seed: str, purpose: str, counter: int = 0) -> np.random.Generator:
    """A numpy generator for the shuffles of one purpose."""
    return np.random.default_rng(int.from_bytes(secret_bytes(seed, f"shuffle/{purpose}", counter, 32), "big"))


def allocate(protocol: Protocol, seed: str) -> list[Presentation]:
    """Every presentation of the study, by reader, session and order.

    Raises ReconError when the wished separation of one case's presentations is impossible.
    """
    rows: list[Presentation] = []
    repeated = _draw_repeats(protocol, seed)
    subsets = None
    if protocol.readers_per_case is not None:
        subsets = deal_subsets(protocol, secret_generator(seed, "subsets"))
    for index, reader in enumerate(protocol.readers):
        sessions = subsets[index] if subsets is not None else _deal(protocol, seed, index, repeated)
        for session, mains in enumerate(sessions, start=1):
            rng = secret_generator(seed, "order", index * 1000 + session)
            ordered = _order(mains, protocol.sessions.separation, rng, f"reader {reader.id}, session {session}")
            with_training = protocol.sessions.training == "every" or session == 1
            training = _training(protocol, rng) if with_training else []
            chosen: set[int] = set()
            if session == protocol.sessions.count:
                chosen = _guess_positions(ordered, protocol, rng)
            for order, (case, kind, arms) in enumerate([*training, *ordered], start=1):
                identifier = secret_bytes(seed, "presentation", len(rows), 8).hex()
                guess = order - 1 - len(training) in chosen
                rows.append(Presentation(identifier, reader.id, session, order, case, kind, arms, guess))
    if len({row.id for row in rows}) != len(rows):  # 64-bit identifiers: a chance of about 1e-13
        raise ReconError("two presentations drew one identifier; run the export again")
    return rows


_Row = tuple[str, PresentationKind, tuple[str, ...]]


def _draw_repeats(protocol: Protocol, seed: str) -> frozenset[str]:
    """The repeated cases, the same for every reader (fully crossed), shared among cohorts by their size."""
    rng = secret_generator(seed, "repeats")
    ranked = sorted(
        ((position + rng.random()) / len(cases), case)
        for cases in protocol.cases.values()
        for position, case in enumerate(rng.permutation(cases).tolist())
    )
    return frozenset(case for _, case in ranked[: protocol.repeats])


def _deal(protocol: Protocol, seed: str, reader: int, repeated: frozenset[str]) -> list[list[_Row]]:
    """The unordered presentations of each session for one reader.

    Readers 2k and 2k+1 share one shuffle and take mirrored arms, so that over a couple every case is seen in either
    order (or on either side) equally often.
    """
    if len(protocol.arms) > 2:
        return _deal_sequences(protocol, seed, reader, repeated)
    count = protocol.sessions.count
    rng = secret_generator(seed, "deal", reader // 2)
    mirrored = reader % 2
    sessions: list[list[_Row]] = [[] for _ in range(count)]
    offset = 0
    arms = (protocol.reference, protocol.new)
    for cases in protocol.cases.values():
        for position, case in enumerate(rng.permutation(cases).tolist(), start=offset):
            start = position % count
            if protocol.paired:
                swap = (position // count + mirrored) % 2
                sides = arms[::-1] if swap else arms
                sessions[start].append((case, "main", sides))
                if case in repeated:  # the second look has the sides exchanged and, if it can, a later session
                    later = start + count // 2
                    sessions[later if later < count else start].append((case, "repeat", sides[::-1]))
                continue
            second = (start + count // 2) % count
            order = arms[::-1] if mirrored else arms
            for own, other, arm in ((start, second, order[:1]), (second, start, order[1:])):
                sessions[own].append((case, "main", arm))
                if (
                    case in repeated
                ):  # never in the other arm's session; the next one if there is one, else further down
                    later = own + 1 if own + 1 < count and own + 1 != other else own
                    sessions[later].append((case, "repeat", arm))
        # Uneven cohorts continue the deal where the last one stopped, so the remainders do not pile up.
        offset += len(cases)
    return sessions


def _deal_sequences(protocol: Protocol, seed: str, reader: int, repeated: frozenset[str]) -> list[list[_Row]]:
    """``_deal`` for three and more arms: every case is dealt to a row of a Williams design (see ``crossover``).

    As many readers as the design has rows share one shuffle and take the next row each, so that over such a group
    every case is seen in every order.
    """
    count, names = protocol.sessions.count, protocol.arm_names
    design = williams(len(names))
    rng = secret_generator(seed, "deal", reader // len(design))
    shuffled = [case for cases in protocol.cases.values() for case in rng.permutation(cases).tolist()]
    sessions: list[list[_Row]] = [[] for _ in range(count)]
    for position, case in enumerate(shuffled):
        places = sittings(position, len(names), count)
        turn = position // starts(len(names), count) + reader % len(design)
        for own, arm in zip(places, design[turn % len(design)], strict=True):
            sessions[own].append((case, "main", (names[arm],)))
            if case in repeated:  # as for two arms: never with another arm of the case, and later than the first look
                later = own + 1 if own + 1 < count and own + 1 not in places else own
                sessions[later].append((case, "repeat", (names[arm],)))
    return sessions


def _training(protocol: Protocol, rng: np.random.Generator) -> list[_Row]:
    """All arms of every training case in random order (pairs: random sides)."""
    arms = protocol.arm_names
    rows: list[_Row] = []
    for case in rng.permutation(protocol.training_cases).tolist():
        if len(arms) > 2:
            shown: tuple[str, ...] = tuple(rng.permutation(arms).tolist())
        else:
            shown = arms if rng.random() < 0.5 else arms[::-1]
        rows.extend([(case, "training", shown)] if protocol.paired else [(case, "training", (arm,)) for arm in shown])
    return rows


def _guess_positions(ordered: list[_Row], protocol: Protocol, rng: np.random.Generator) -> set[int]:
    """Main presentations for the guess at the end: the same share of each arm (half of each side), random."""
    chosen: set[int] = set()
    wanted = protocol.guess.presentations
    for index, arm in enumerate(protocol.arm_names):
        these = [i for i, (_, kind, arms) in enumerate(ordered) if kind == "main" and arms[0] == arm]
        share = (wanted + index) // len(protocol.arm_names)
        chosen.update(rng.permutation(these)[:share].tolist())
    return chosen


def _order(rows: list[_Row], separation: int, rng: np.random.Generator, where: str) -> list[_Row]:
    """A random order in permuted blocks of first-shown arms, with one case's presentations kept apart."""
    for _ in range(_TRIES):
        order = _blocked(rows, separation, rng)
        if _separate(order, separation, rng):
            return _earlier_first(order)
    raise ReconError(
        f"{where}: {len(rows)} presentations cannot keep {separation} presentations between two of the same case; "
        "lower 'sessions.separation' or 'repeats', or add sessions"
    )


def _earlier_first(order: list[_Row]) -> list[_Row]:
    """Where a main presentation and its repeat share the session, the earlier of their two places is the main one's."""
    order = list(order)
    for place, row in enumerate(order):
        if row[1] == "repeat":
            main = next((at for at, other in enumerate(order) if _again(other, row)), place)
            if main > place:
                order[place], order[main] = order[main], order[place]
    return order


def _again(main: _Row, repeat: _Row) -> bool:
    return main[1] == "main" and main[0] == repeat[0] and set(main[2]) == set(repeat[2])


def _blocked(rows: list[_Row], separation: int, rng: np.random.Generator) -> list[_Row]:
    """The main rows in permuted blocks of 4 or 6 over the arms (on side A), repeats strewn behind their first look."""
    pools: dict[str, list[_Row]] = {}
    repeats: list[_Row] = []
    for index in rng.permutation(len(rows)):
        row = rows[index]
        (repeats if row[1] == "repeat" else pools.setdefault(row[2][0], [])).append(row)
    order: list[_Row] = []
    while any(pools.values()):
        left = [arm for arm, pool in pools.items() if pool]
        half = int(rng.integers(2, 4))
        block = [arm for arm in left for _ in range(min(half, len(pools[arm])))]
        order.extend(pools[block[index]].pop() for index in rng.permutation(len(block)))
    for row in repeats:
        main = next((at for at, other in enumerate(order) if _again(other, row)), -1)
        order.insert(int(rng.integers(min(main + 1 + separation, len(order)), len(order) + 1)), row)
    return order


def _separate(order: list[_Row], separation: int, rng: np.random.Generator) -> bool:
    """Exchange presentations of one arm and kind, which keeps the blocks, until one case's presentations are apart.

    False when it gets stuck.
    """

    def conflicts(position: int) -> int:
        case = order[position][0]
        low, high = max(0, position - separation), min(len(order), position + separation + 1)
        return sum(order[other][0] == case for other in range(low, high)) - 1

    cases = [row[0] for row in order]
    if len(set(cases)) == len(cases) or separation == 0:
        return True
    for _ in range(60):
        troubled = [position for position in range(len(order)) if conflicts(position)]
        if not troubled:
            return True
        for position in rng.permutation(troubled).tolist():
            if not conflicts(position):
                continue
            kind, arm = order[position][1], order[position][2][0]
            alike = [i for i, row in enumerate(order) if (row[1], row[2][0]) == (kind, arm) and i != position]
            best, best_gain = position, -1
            for other in rng.permutation(alike).tolist():
                before = conflicts(position) + conflicts(other)
                order[position], order[other] = order[other], order[position]
                gain = before - conflicts(position) - conflicts(other)
                order[position], order[other] = order[other], order[position]
                if gain > best_gain:
                    best, best_gain = other, gain
                if gain >= before:
                    break
            order[position], order[best] = order[best], order[position]
    return False
