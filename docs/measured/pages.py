"""Rows that came out held against a page: its tables, and its sentences that tell of them."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from measured.table import Row, Table, Told, cells

NUMBER = re.compile(r"-?\d*\.?\d+")


def place_of(table: Table, text: str) -> range:
    """The lines of a page that are the rows of ``table``; none where only sentences tell of it."""
    lines = text.splitlines()
    first = 0
    if not table.header:
        return range(0)
    if table.after:
        marks = [number for number, line in enumerate(lines) if table.after in line]
        if len(marks) != 1:
            raise SystemExit(f"{table.page}: {len(marks)} lines hold '{table.after}', not one")
        first = marks[0]
    starts = [number for number, line in enumerate(lines) if number >= first and line.startswith(table.header)]
    if not starts or (len(starts) > 1 and not table.after):
        raise SystemExit(f"{table.page}: {len(starts)} tables begin with '{table.header}', not one")
    end = begin = starts[0] + 2
    while end < len(lines) and lines[end].startswith("|"):
        end += 1
    return range(begin, end)


def names_of(rows: Sequence[Row], keys: int) -> list[tuple[str, ...]]:
    """What names each row: its first cells, what is empty taken from the row above, and its number among its like."""
    names: list[tuple[str, ...]] = []
    before: Row = [""] * keys
    seen: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        before = [cell or above for cell, above in zip(row[:keys], before, strict=True)]
        seen[tuple(before)] += 1
        names.append((*before, str(seen[tuple(before)])))
    return names


def same(said: str, made: str, units: float = 1.01) -> bool:
    """Whether two cells hold the same words, and figures that differ by at most so many units of their last digit."""
    if NUMBER.sub("#", said) != NUMBER.sub("#", made):
        return False
    pairs = zip(NUMBER.findall(said), NUMBER.findall(made), strict=True)
    return all(abs(float(before) - float(now)) <= units * last_digit(before) for before, now in pairs)


def last_digit(number: str) -> float:
    """One unit of the last digit of a number as it is written."""
    return float(10.0 ** -len(number.partition(".")[2]))


def differences(table: Table, text: str, made: list[Row], units: float = 1.01) -> Iterator[tuple[int, int, str, str]]:
    """``(line, cell, what the page says, what came out)`` wherever these are not the same."""
    lines = text.splitlines()
    place = place_of(table, text)
    said_rows = [cells(lines[number]) for number in place]
    if not table.header:
        return
    rows = dict(zip(names_of(said_rows, table.keys), zip(place, said_rows, strict=True), strict=True))
    for name, row in zip(names_of(made, table.keys), made, strict=True):
        if name not in rows:
            raise SystemExit(f"{table.page}: no row {' | '.join(name[:-1])} below '{table.header}'")
        number, said_row = rows[name]
        if len(said_row) != len(row):
            raise SystemExit(f"{table.page}:{number + 1}: {len(said_row)} cells, and {len(row)} came out: {row}")
        for column, (said, now) in enumerate(zip(said_row, row, strict=True)):
            if column >= table.keys and now and not same(said, now, units):
                yield number, column, said, now


def updated(text: str, changes: list[tuple[int, int, str, str]]) -> str:
    """The page with what came out in place of what it said; what is bold stays so where only figures change."""
    lines = text.split("\n")
    for number, place, said, now in changes:
        parts = lines[number].split("|")
        if NUMBER.sub("#", said) == NUMBER.sub("#", now):
            between = NUMBER.split(parts[place + 1])
            figures = [*NUMBER.findall(now), ""]
            parts[place + 1] = "".join(text + figure for text, figure in zip(between, figures, strict=True))
        else:
            parts[place + 1] = f" {now} "
        lines[number] = "|".join(parts)
    return "\n".join(lines)


def figures_of(told: Told, text: str) -> list[re.Match[str]]:
    """The figures of a sentence on its page, in their order."""
    words = r"\s+".join(re.escape(word).replace(r"\#", f"({NUMBER.pattern})") for word in told.words.split())
    found = list(re.finditer(words, text))
    if len(found) != 1:
        raise SystemExit(f"{told.page}: {len(found)} sentences with '{told.words}', not one")
    places = [found[0].span(group + 1) for group in range(told.words.count("#"))]
    return [match for start, end in places if (match := NUMBER.fullmatch(text, start, end))]


def untold(told: Told, text: str, made: list[Row], units: float = 1.01) -> list[tuple[re.Match[str], str]]:
    """Figures of a sentence that are not those that came out, and what these are."""
    pairs = zip(figures_of(told, text), told.figures(made), strict=True)
    return [(said, now) for said, now in pairs if not same(said.group(), now, units)]


def told_anew(text: str, changes: Sequence[tuple[re.Match[str], str]]) -> str:
    """The page with what came out in its sentence."""
    for said, now in sorted(changes, key=lambda change: -change[0].start()):
        text = text[: said.start()] + now + text[said.end() :]
    return text
