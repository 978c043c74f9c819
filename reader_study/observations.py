"""Scores with the arms known: arrays `[arm, reader, case]` for the statistics, made from sheets and the opened key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from reader_study.allocation import Presentation
from reader_study.arrays import Booleans, Floats
from reader_study.canonical import digest
from reader_study.deviations import Deviation, deviations, excused
from reader_study.item import Item
from reader_study.localised import Located, MarkedReading
from reader_study.protocol import Protocol
from reader_study.sheet import Sheet
from reader_study.study import Study
from reader_study.tables import TableScore
from recon.errors import ReconError


@dataclass(frozen=True)
class FlagMark:
    """A spot that a reader marked, with the arm it was in."""

    kind: str
    arm: int
    reader: str
    case: str


@dataclass(frozen=True)
class Guesses:
    """End-of-study guesses of one reader and arm (paired modes: about the pair, arm "pair")."""

    reader: str
    arm: str
    correct: int
    wrong: int
    unknown: int


@dataclass(frozen=True)
class Observations:
    """Unblinded scores. Arrays are `[arm, reader, case]`, arm 0 the reference; NaN is missing.

    ``raw`` holds each item's scores as given, ``scores`` oriented so that higher is better; ``repeats`` the second
    readings, raw. A preference is 0 for the reference and +1, 0 or -1 for the new arm. ``order`` counts all main
    presentations of a reader over the sessions, from 1.
    """

    readers: tuple[str, ...]
    cases: tuple[str, ...]
    raw: Mapping[str, Floats]
    scores: Mapping[str, Floats]
    repeats: Mapping[str, Floats]
    order: Floats
    seconds: Floats
    flags: tuple[FlagMark, ...]
    guesses: tuple[Guesses, ...]
    comments: int
    planned: Booleans | None = None  # `[reader, case]` of case subsets; None: every reader, every case
    adjudicated: Mapping[str, Floats] | None = None  # item -> ``scores`` with an adjudicator's in their place
    verdicts: Any = None  # ``verdicts.Verdicts`` behind them
    marked: tuple[MarkedReading, ...] = ()  # readings in which lesions could be marked
    located: Located | None = None  # their marks against the lesions that are there

    def decided(self, item: str) -> Floats:
        """The scores on which the comparison of an item rests: ``scores``, adjudicated where they were."""
        return (self.adjudicated or {}).get(item, self.scores[item])

    def measured(self, item: str) -> Floats:
        """What the arms are compared by: ``decided``, or of an item that is answered by marks their ratings."""
        if self.located is not None and self.located.item == item:
            return self.located.ratings
        return self.decided(item)


def check_same_sheets(study: Study, sheets: Sequence[Sheet]) -> None:
    """Are these the sheets that stood when the key was opened?

    Raises ReconError naming the first sheet that came, changed or went since, unless a deviation of kind exchanged
    logged after the unsealing names its reader or session.
    """
    opened = next(entry for entry in study.entries if entry.event == "unseal")
    given = {sheet.package: digest(sheet.payload()) for sheet in sheets}
    later = [deviation for deviation in deviations(study.entries) if deviation.index > opened.index]
    for package in study.packages:
        before, now = opened.said.sheets.get(package.id), given.get(package.id)
        if before == now or excused(later, "exchanged", package.reader, package.session):
            continue
        what = "is missing now" if now is None else ("was not there" if before is None else "differs from the one")
        raise ReconError(
            f"{study.folder}: the sheet of reader {package.reader}, session {package.session} {what} when the key was "
            "opened; analyse the same sheets, or log why not with 'recon reader-study deviation --kind exchanged'"
        )


def from_sheets(
    protocol: Protocol,
    key: Sequence[Presentation],
    sheets: Sequence[Sheet],
    excluded: Sequence[Deviation] = (),
    readers: Sequence[str] | None = None,
) -> Observations:
    """Unblind checked ``sheets`` of ``readers`` (default: the planned ones) with the key's presentations.

    ``excluded`` are deviations whose readings a per-protocol analysis leaves out; one of the whole study excludes
    nothing.
    """
    empty = _Arrays(protocol, readers)
    if protocol.readers_per_case is not None:
        empty.plan(key)
    planned = {row.id: row for row in key}
    ranks = _ranks(key)
    guesses: dict[tuple[str, str], list[int]] = {}
    flags: list[FlagMark] = []
    marked: list[MarkedReading] = []
    comments = 0
    for sheet in sheets:
        for response in sheet.responses:
            row = planned[response.presentation]
            if row.kind == "training":
                continue
            comments += bool(response.comment.strip())
            for flag in response.flags:
                if protocol.localisation is not None and flag.kind == protocol.localisation.item:
                    continue
                arm = row.arms[0 if flag.side == "A" else 1]
                flags.append(FlagMark(flag.kind, _arm(protocol, arm), row.reader, row.case))
            if any(_excludes(deviation, row) for deviation in excluded):
                continue
            for name, score in response.scores.items():
                empty.put(row, name, score)
            if protocol.localisation is not None and response.marked:
                own = tuple(flag for flag in response.flags if flag.kind == protocol.localisation.item)
                marked.append(MarkedReading(row.arms[0], row.reader, row.case, row.kind == "repeat", own))
            if row.kind == "main":
                for arm in row.arms:
                    at = (_arm(protocol, arm), empty.reader[row.reader], empty.case[row.case])
                    empty.order[at] = ranks[row.id]
                    empty.seconds[at] = response.seconds if response.started else np.nan
        for guess in sheet.guesses:
            row = planned[guess.presentation]
            counts = guesses.setdefault((row.reader, "pair" if protocol.paired else row.arms[0]), [0, 0, 0])
            counts[_guessed(protocol, row, guess.guess)] += 1
    tallied = tuple(Guesses(reader, arm, *counts) for (reader, arm), counts in sorted(guesses.items()))
    return replace(empty.observations(tuple(flags), tallied, comments), marked=tuple(marked))


def from_table(protocol: Protocol, rows: Sequence[TableScore]) -> Observations:
    """Observations from a table that tells case and arm itself; nothing about it was sealed.

    Raises ReconError for rows with presentation ids or a preference, which need the key.
    """
    empty = _Arrays(protocol)
    seen: dict[tuple[str, str, str, int, str], str] = {}
    for row in rows:
        if not row.case or protocol.paired:
            raise ReconError(f"{row.where}: only independent readings with case and arm can be analysed without a key")
        first = seen.setdefault((row.reader, row.case, row.arm, row.reading, row.key), row.where)
        if first != row.where:
            raise ReconError(f"{row.where}: {row.key} of case {row.case}, {row.arm} stands twice (first in {first})")
        kind: Any = "main" if row.reading == 1 else "repeat"
        empty.put(Presentation("", row.reader, 1, 0, row.case, kind, (row.arm,)), row.key, row.score)
    if protocol.readers_per_case is not None:  # who was to read what stands in no key: whoever scored something
        scored = [np.isfinite(values).any(axis=0) for values in empty.raw.values()]
        empty.planned = np.asarray(np.logical_or.reduce(scored))
    return empty.observations((), (), 0)


def versus(found: Observations, protocol: Protocol, new: str) -> Observations:
    """Of the observations of three or more arms those of the reference and of one ``new`` arm."""
    arm = _arm(protocol, new)
    pair = [0, arm]

    def chosen(arrays: Mapping[str, Floats]) -> dict[str, Floats]:
        return {name: values[pair] for name, values in arrays.items()}

    return replace(
        found,
        raw=chosen(found.raw),
        scores=chosen(found.scores),
        repeats=chosen(found.repeats),
        adjudicated=None if found.adjudicated is None else chosen(found.adjudicated),
        located=None if found.located is None else replace(found.located, ratings=found.located.ratings[pair]),
        order=found.order[pair],
        seconds=found.seconds[pair],
        flags=tuple(replace(flag, arm=pair.index(flag.arm)) for flag in found.flags if flag.arm in pair),
        guesses=tuple(row for row in found.guesses if row.arm in (protocol.reference, new)),
    )


class _Arrays:
    """Arrays being filled, with the positions of readers and cases in them."""

    def __init__(self, protocol: Protocol, readers: Sequence[str] | None = None) -> None:
        self.protocol = protocol
        names = [reader.id for reader in protocol.planned_readers] if readers is None else readers
        self.reader = {name: index for index, name in enumerate(names)}
        self.case = {case: index for index, case in enumerate(protocol.case_ids)}
        shape = (len(protocol.arm_names), len(self.reader), len(self.case))
        self.raw = {item.id: np.full(shape, np.nan) for item in protocol.items}
        self.repeats = {item.id: np.full(shape, np.nan) for item in protocol.items}
        self.order = np.full(shape, np.nan)
        self.seconds = np.full(shape, np.nan)
        self.planned: Booleans | None = None

    def plan(self, key: Sequence[Presentation]) -> None:
        """Note who was to read what."""
        self.planned = np.zeros(self.order.shape[1:], dtype=bool)
        for row in key:
            if row.kind == "main" and row.reader in self.reader:
                self.planned[self.reader[row.reader], self.case[row.case]] = True

    def put(self, row: Presentation, key: str, score: int | str) -> None:
        """Store one answer under its arm; a preference as the new arm's -1, 0 or +1."""
        name, _, side = key.partition("@")
        target = (self.raw if row.kind == "main" else self.repeats)[name]
        reader, case = self.reader[row.reader], self.case[row.case]
        if self.protocol.mode == "preference":
            target[0, reader, case] = 0.0
            chosen = {"A": 0, "B": 1}.get(str(score))
            won = 0.0 if chosen is None else (1.0 if row.arms[chosen] == self.protocol.new else -1.0)
            target[1, reader, case] = won
            return
        arm = row.arms["AB".index(side)] if side else row.arms[0]
        target[_arm(self.protocol, arm), reader, case] = float(score)

    def observations(self, flags: tuple[FlagMark, ...], guesses: tuple[Guesses, ...], comments: int) -> Observations:
        """The filled arrays with the oriented scores."""
        oriented = {item.id: orient(item, self.raw[item.id]) for item in self.protocol.items}
        return Observations(
            tuple(self.reader),
            tuple(self.case),
            self.raw,
            oriented,
            self.repeats,
            self.order,
            self.seconds,
            flags,
            guesses,
            comments,
            self.planned,
        )


def orient(item: Item, scores: Floats) -> Floats:
    """Scores turned so that higher is better (or surer of the condition); NaN stays NaN."""
    if item.scale and item.mirrored:
        return np.asarray(item.scale[0] + item.scale[-1] - scores)
    return scores


def _arm(protocol: Protocol, name: str) -> int:
    return protocol.arm_names.index(name)


def _excludes(deviation: Deviation, row: Presentation) -> bool:
    scoped = (deviation.reader, deviation.session, deviation.presentation) != (None, None, None)
    return scoped and deviation.within(row.reader, row.session, row.id)


def _ranks(key: Sequence[Presentation]) -> dict[str, int]:
    """Presentation id -> place in its reader's whole reading, training left out, from 1."""
    ranks: dict[str, int] = {}
    counts: dict[str, int] = {}
    for row in sorted(key, key=lambda row: (row.reader, row.session, row.order)):
        if row.kind != "training":
            counts[row.reader] = counts.get(row.reader, 0) + 1
            ranks[row.id] = counts[row.reader]
    return ranks


def _guessed(protocol: Protocol, row: Presentation, guess: str) -> int:
    """0 correct, 1 wrong, 2 do not know."""
    if guess == "unknown":
        return 2
    if protocol.paired:
        return int(row.arms["AB".index(guess)] != protocol.new)
    return int((guess == "new") != (row.arms[0] != protocol.reference))
