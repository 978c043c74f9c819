"""Measure the documents' tables of the shipped prior again, and hold what comes out against what they say.

    python docs/measure.py                      what can be measured, how long it takes, which files it needs
    python docs/measure.py demo lattices        measure these; exit code 1 where a page says something else
    python docs/measure.py demo --update        ... and write what came out into the page

A figure is the same when it differs by at most one unit of its last digit: other processors round otherwise. With
``--update`` every figure is written as it came out. Some tables need files that are not part of the project, and have
an option for each. How rows are made: ``docs/measured``.
Not here: figures (their pages name the commands), times (``recon speed``), and tables of trainings that no
reconstruction is part of (docs/encoders.md, most of docs/studies.md).
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measured import comparisons, deviations, pages, tasks
from measured.table import ABOUT, ROOT, Row, Sources, Table

TABLES = comparisons.TABLES | deviations.TABLES | tasks.TABLES


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
        wrong += held_against_pages(name, table, made, given.update)
    return 1 if wrong and not given.update else 0


def held_against_pages(name: str, table: Table, made: list[Row], update: bool) -> int:
    """Print what pages say otherwise, and with ``update`` write it into them; how many figures that are."""
    units = 0.0 if update else 1.01
    path = ROOT / table.page
    text = path.read_text(encoding="utf-8")
    changes = list(pages.differences(table, text, made, units))
    for number, place, said, now in changes:
        print(f"{table.page}:{number + 1}: cell {place + 1} says {said}, now {now}")
    if update and changes:
        path.write_text(pages.updated(text, changes), encoding="utf-8")
    count = len(changes)
    for told in table.told:
        path = ROOT / told.page
        text = path.read_text(encoding="utf-8")
        sentence = pages.untold(told, text, made, units)
        for figure, now in sentence:
            print(f"{told.page}: '{told.words}' says {figure.group()}, now {now}")
        if update and sentence:
            path.write_text(pages.told_anew(text, sentence), encoding="utf-8")
        count += len(sentence)
    print(f"{name}: {len(made)} rows, {count} figures or cells differ", flush=True)
    return count


if __name__ == "__main__":
    raise SystemExit(main())
