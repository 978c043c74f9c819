"""Measure the documents' tables of the shipped prior again, and hold what comes out against what they say.

    python docs/measure.py                      what can be measured, and how long it takes
    python docs/measure.py demo lattices        measure these; exit code 1 where a page says something else
    python docs/measure.py demo --update        ... and write what came out into the page

A figure is the same when it differs by at most one unit of its last digit: other processors round otherwise. Tables of
measured scans need the files that the pages name (``--head``, ``--poisson``).
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recon.reconstruction.methods import METHODS

ROOT = Path(__file__).resolve().parents[1]
NUMBER = re.compile(r"-?\d*\.?\d+")
Row = list[str]


@dataclass(frozen=True)
class Sources:
    """Raw files that are not part of the project: arrays of a real head, and of a real Poisson scan."""

    head: Path | None = None
    poisson: Path | None = None


@dataclass(frozen=True)
class Table:
    """One table of a page: the line above its rule, how many cells name a row, how its rows are made in a folder."""

    page: str
    header: str
    keys: int
    minutes: int
    make: Callable[[Path, Sources], list[Row]]


def recon(*words: object) -> None:
    """Run one command of recon, and stop where it fails."""
    subprocess.run([sys.executable, "-m", "cli", *map(str, words)], check=True, cwd=ROOT, stdout=sys.stderr)


def printed(script: str, *words: object) -> list[Row]:
    """The table that an example prints, without its header."""
    made = subprocess.run(
        [sys.executable, script, *map(str, words)], check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    rows = [cells(line) for line in made.stdout.splitlines() if line.startswith("|")]
    return [row for row in rows[1:] if not is_rule(row)]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """``rows`` of a command's own table."""
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return found


def short(value: float, digits: int = 3) -> str:
    """As the pages write it: no zero before the point."""
    return re.sub(r"^(-?)0\.", r"\1.", f"{value:.{digits}f}")


def demo(folder: Path, sources: Sources) -> list[Row]:
    """Both accelerations of ``recon demo`` side by side, by method."""
    recon("demo", "--out", folder / "demo")
    rows = read_rows(folder / "demo" / "demo.json")
    made = []
    for method in dict.fromkeys(row["method"] for row in rows):
        line = [METHODS[method].title]
        for rate in (2, 4):
            [one] = [row for row in rows if row["method"] == method and row["acceleration"] == rate]
            contrast = short(100 * one["lesion_contrast_error"], 1)
            line += [short(one["nrmse"]), short(one["ssim"]), f"{contrast} %"]
        made.append(line)
    return made


def of_head(folder: Path, sources: Sources, *words: object) -> dict[tuple[str, float, str, bool], dict[str, Any]]:
    """Rows of ``recon benchmark`` on the real head, by axis, acceleration, method, and whether its weight was tuned."""
    if sources.head is None:
        raise SystemExit("give the real head's file as --head")
    recon("convert", sources.head, "--axes", "coil,readout,phase", "--key", "raw", "--out", folder / "head.h5")
    recon("benchmark", folder / "head.h5", *words, "--out", folder / "benchmark")
    rows = read_rows(folder / "benchmark" / "benchmark.json")
    return {(row["axis"], row["acceleration"], row["method"], row.get("oracle", False)): row for row in rows}


def head_with_noise(folder: Path, sources: Sources) -> list[Row]:
    """The main comparison, at an image SNR of 20."""
    methods = "sense,l1-wavelet,posterior,stochastic-dds,dds"
    rows = of_head(folder, sources, "--axis", "both", "--oracle", "--methods", methods, "--noise-snr", 20)
    made = []
    for axis in ("phase", "readout"):
        for rate in (2, 3, 4, 5):
            of = {method: row for (a, r, method, _), row in rows.items() if (a, r) == (axis, rate)}
            order = ("sense", "l1-wavelet", "stochastic-dds", "dds", "posterior")
            ssim = ", ".join(short(of[method]["ssim"]) for method in ("dds", "posterior"))
            made.append([axis, str(rate), *(short(of[method]["nrmse"]) for method in order), ssim])
    return made


def head_samplers(folder: Path, sources: Sources) -> list[Row]:
    """Other samplers with the same prior."""
    order = ("pigdm", "daps", "dds", "posterior")
    rows = of_head(folder, sources, "--methods", ",".join(order), "--noise-snr", 20)
    made = []
    for method in order:
        line = [METHODS[method].title]
        for rate in (2, 3, 4, 5):
            [one] = [row for (_, r, name, _), row in rows.items() if (r, name) == (rate, method)]
            line.append(f"{short(one['nrmse'])} ({short(one['ssim'])})")
        made.append(line)
    return made


def head_as_acquired(folder: Path, sources: Sources) -> list[Row]:
    """Without noise added."""
    rows = of_head(folder, sources, "--axis", "both", "--methods", "posterior,dds")
    nrmse = {key[:3]: short(row["nrmse"], 4) for key, row in rows.items()}
    made = []
    for axis in ("phase", "readout"):
        for a, b in ((2, 3), (4, 5)):
            pairs = [f"{nrmse[axis, a, method]} / {nrmse[axis, b, method]}" for method in ("dds", "posterior")]
            made.append([axis, f"{a} / {b}", *pairs])
    return made


def poisson(folder: Path, sources: Sources) -> list[Row]:
    """Held-out samples of a real Poisson scan: one row."""
    if sources.poisson is None:
        raise SystemExit("give the real Poisson scan's file as --poisson")
    recon("convert", sources.poisson, "--axes", "coil,phase,phase2", "--out", folder / "poisson.h5")
    order = ("zero-filled", "sense", "l1-wavelet", "posterior")
    words = ("--hold-out", 0.15, "--oracle", "--methods", ",".join(order))
    recon("benchmark", folder / "poisson.h5", *words, "--out", folder / "held-out")
    rows = read_rows(folder / "held-out" / "benchmark.json")
    least = {m: min(row["held_out_nrmse"] for row in rows if row["method"] == m) for m in order}
    return [[short(least[method]) for method in order]]


def lattices(folder: Path, sources: Sources) -> list[Row]:
    """Lattices in a plane beside Poisson masks."""
    return [[row[0], *map(without_zero, row[1:])] for row in printed(example("lattices"))]


def reference_scan(folder: Path, sources: Sources) -> list[Row]:
    """A calibration scan measured apart: all lines, then with partial Fourier."""
    rows = {(row[0], row[1]): [without_zero(cell) for cell in row[2:]] for row in printed(example("reference_scan"))}
    names = dict.fromkeys(name for name, _ in rows)
    return [[name, *rows[name, "whole"], *rows[name, "6/8"]] for name in names]


def example(name: str) -> str:
    """The script of that name."""
    return str(ROOT / "examples" / "benchmarks" / f"{name}.py")


def without_zero(cell: str) -> str:
    """A number in a cell as the pages write it."""
    return re.sub(r"\b0\.", ".", cell)


COMPARISONS, METHODS_PAGE = "docs/comparisons.md", "docs/methods.md"
TABLES = {
    "demo": Table("README.md", "| | R = 2: NRMSE | SSIM |", 1, 2, demo),
    "head": Table(COMPARISONS, "| lines along | R | SENSE, oracle |", 2, 12, head_with_noise),
    "samplers": Table(COMPARISONS, "| NRMSE (SSIM) | R = 2 | R = 3 |", 1, 5, head_samplers),
    "as-acquired": Table(COMPARISONS, "| lines along | R | DDS | posterior mean |", 2, 3, head_as_acquired),
    "poisson": Table(COMPARISONS, "| zero-filled | SENSE, oracle | L1-wavelet, oracle |", 0, 3, poisson),
    "lattices": Table(METHODS_PAGE, "| | lattice 2x (1.88 net) |", 1, 3, lattices),
    "reference-scan": Table(METHODS_PAGE, "| | own lines | reference apart |", 1, 2, reference_scan),
}


def cells(line: str) -> Row:
    """The cells of a Markdown row, without bold."""
    return [cell.strip().replace("**", "") for cell in line.strip().strip("|").split("|")]


def is_rule(row: Row) -> bool:
    """Whether a row only parts the header from the rest."""
    return all(set(cell) <= set("-: ") for cell in row)


def place_of(table: Table, text: str) -> range:
    """The lines of a page that are the rows of ``table``."""
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith(table.header)]
    if len(starts) != 1:
        raise SystemExit(f"{table.page}: {len(starts)} tables begin with '{table.header}', not one")
    end = first = starts[0] + 2
    while end < len(lines) and lines[end].startswith("|"):
        end += 1
    return range(first, end)


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
    rows = {tuple(cells(lines[number])[: table.keys]): number for number in place_of(table, text)}
    for row in made:
        number = rows.get(tuple(row[: table.keys]))
        if number is None:
            raise SystemExit(f"{table.page}: no row {' | '.join(row[: table.keys])} below '{table.header}'")
        for place, (said, now) in enumerate(zip(cells(lines[number]), row, strict=True)):
            if not same(said, now):
                yield number, place, said, now


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


def main() -> int:
    """Measure what was named, and say where pages differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*TABLES, []], metavar="NAME")
    parser.add_argument("--head", type=Path, help="sense_raw_data.mat of the public SENSE tutorial")
    parser.add_argument("--poisson", type=Path, help="cartesian_ksp.npy of the sigpy tutorial")
    parser.add_argument("--update", action="store_true", help="write what came out into the pages")
    options = parser.parse_args()
    if not options.names:
        for name, table in TABLES.items():
            print(f"{name:<16}{table.page:<22}about {table.minutes} minutes")
        return 0
    sources, wrong = Sources(options.head, options.poisson), 0
    for name in options.names:
        table = TABLES[name]
        with tempfile.TemporaryDirectory() as folder:
            made = table.make(Path(folder), sources)
        path = ROOT / table.page
        text = path.read_text(encoding="utf-8")
        changes = list(differences(table, text, made))
        for number, place, said, now in changes:
            print(f"{table.page}:{number + 1}: cell {place + 1} says {said}, now {now}")
        print(f"{name}: {len(made)} rows, {len(changes)} cells differ", flush=True)
        if options.update and changes:
            path.write_text(updated(text, changes), encoding="utf-8")
        wrong += len(changes)
    return 1 if wrong and not options.update else 0


if __name__ == "__main__":
    raise SystemExit(main())
