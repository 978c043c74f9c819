"""Measure the documents' tables of the shipped prior again, and hold what comes out against what they say.

    python docs/measure.py                      what can be measured, how long it takes, which files it needs
    python docs/measure.py demo lattices        measure these; exit code 1 where a page says something else
    python docs/measure.py demo --update        ... and write what came out into the page

A figure is the same when it differs by at most one unit of its last digit: other processors round otherwise. Some
tables need files that are not part of the project, and have an option for each. How rows are made: ``docs/measured``.
"""

import argparse
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from measured import comparisons, deviations, tasks
from measured.table import ABOUT, ROOT, Row, Sources, Table, cells

NUMBER = re.compile(r"-?\d*\.?\d+")
TABLES = comparisons.TABLES | deviations.TABLES | tasks.TABLES


def place_of(table: Table, text: str) -> range:
    """The lines of a page that are the rows of ``table``."""
    lines = text.splitlines()
    first = 0
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


def same(said: str, made: str) -> bool:
    """Whether two cells hold the same words, and figures that differ by at most one unit of their last digit."""
    if NUMBER.sub("#", said) != NUMBER.sub("#", made):
        return False
    pairs = zip(NUMBER.findall(said), NUMBER.findall(made), strict=True)
    return all(abs(float(before) - float(now)) <= 1.01 * last_digit(before) for before, now in pairs)


def last_digit(number: str) -> float:
    """One unit of the last digit of a number as it is written."""
    return float(10.0 ** -len(number.partition(".")[2]))


def differences(table: Table, text: str, made: list[Row]) -> Iterator[tuple[int, int, str, str]]:
    """``(line, cell, what the page says, what came out)`` wherever these are not the same."""
    lines = text.splitlines()
    place = place_of(table, text)
    said_rows = [cells(lines[number]) for number in place]
    rows = dict(zip(names_of(said_rows, table.keys), zip(place, said_rows, strict=True), strict=True))
    for name, row in zip(names_of(made, table.keys), made, strict=True):
        if name not in rows:
            raise SystemExit(f"{table.page}: no row {' | '.join(name[:-1])} below '{table.header}'")
        number, said_row = rows[name]
        for column, (said, now) in enumerate(zip(said_row, row, strict=True)):
            if column >= table.keys and now and not same(said, now):
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


def option(source: str) -> str:
    """The command line's word for a field of `Sources`."""
    return f"--{source.replace('_', '-')}"


def contents() -> Iterator[str]:
    """A line for every table: its name, page, minutes, and the options that it cannot do without."""
    for name, table in TABLES.items():
        words = " ".join(map(option, table.needs))
        yield f"{name:<22}{table.page:<22}about {table.minutes:>2} minutes of one core  {words}".rstrip()


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*TABLES, []], metavar="NAME")
    for source, about in ABOUT.items():
        parser.add_argument(option(source), type=Path, metavar="PATH", help=about)
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep what is made, and go on with it: a new one for new code"
    )
    parser.add_argument("--update", action="store_true", help="write what came out into the pages")
    given = parser.parse_args()
    for name in given.names:
        for source in TABLES[name].needs:
            if getattr(given, source) is None:
                parser.error(f"{name} needs {option(source)}")
    return given


@contextmanager
def folder_of(name: str, keep: Path | None) -> Iterator[Path]:
    """Where a table's scans and results lie."""
    if keep is None:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    else:
        folder_kept = keep.resolve() / name
        folder_kept.mkdir(parents=True, exist_ok=True)
        yield folder_kept


def main() -> int:
    """Measure what was named, and say where pages differ."""
    given = parse()
    if not given.names:
        print("\n".join(contents()))
        return 0
    paths = {source: getattr(given, source) for source in ABOUT}
    sources = Sources(**{source: path and path.resolve() for source, path in paths.items()})
    wrong = 0
    for name in given.names:
        table = TABLES[name]
        with folder_of(name, given.keep) as folder:
            made = table.make(folder, sources)
        path = ROOT / table.page
        text = path.read_text(encoding="utf-8")
        changes = list(differences(table, text, made))
        for number, place, said, now in changes:
            print(f"{table.page}:{number + 1}: cell {place + 1} says {said}, now {now}")
        print(f"{name}: {len(made)} rows, {len(changes)} cells differ", flush=True)
        for page, words in table.told if changes else ():
            print(f"{page}: read the sentence with '{words}' again", flush=True)
        if given.update and changes:
            path.write_text(updated(text, changes), encoding="utf-8")
        wrong += len(changes)
    return 1 if wrong and not given.update else 0


if __name__ == "__main__":
    raise SystemExit(main())
