"""What a table of a page is, the files that some need, how commands are run, and how their figures are written."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
Row = list[str]


@dataclass(frozen=True)
class Sources:
    """What is not part of the project, and what was made already: every field is an option of ``docs/measure.py``."""

    head: Path | None = None
    poisson: Path | None = None
    ptbp: Path | None = None
    older_prior: Path | None = None
    prepared: Path | None = None
    studies: Path | None = None


ABOUT = {  # what the command line says of them
    "head": "sense_raw_data.mat of the public SENSE tutorial",
    "poisson": "cartesian_ksp.npy of the sigpy tutorial",
    "ptbp": "folder of labelled PTBP heads, as recon simulate --anatomy takes it",
    "older_prior": "folder of the prior that the shipped one is compared with",
    "prepared": "folder of recon prepare, made as the shipped prior's model card says",
    "studies": "folder with stroke, healthy and variable of docs/studies.md; what is missing is made there",
}


@dataclass(frozen=True)
class Told:
    """A sentence that tells of a table: ``words`` as they stand on ``page`` with # in the place of each figure, and
    these ``figures`` of the table's rows."""

    page: str
    words: str
    figures: Callable[[list[Row]], list[str]]


@dataclass(frozen=True)
class Table:
    """One table of a page: the line above its rule, how many cells name a row, how its rows are made in a folder.

    A cell that names a row and is empty on the page means what stands above it; ``make`` writes it. Of several rows
    of one name the first is compared with the first, the second with the second. A cell that ``make`` leaves empty is
    not compared. ``needs``: fields of `Sources`. ``after``: words of a line that stands above the table, where
    others begin like it. ``told``: sentences on any page that tell of it; without a ``header`` they are all there is.
    """

    page: str
    header: str
    keys: int
    minutes: int
    make: Callable[[Path, Sources], list[Row]]
    needs: tuple[str, ...] = ()
    after: str = ""
    told: tuple[Told, ...] = ()


def recon(*words: object) -> None:
    """Run one command of recon, and stop where it fails."""
    run(["-m", "cli", *words], stdout=sys.stderr)


def answer(*words: object) -> dict[str, Any]:
    """Run one command of recon, and stop where it fails; its JSON."""
    found: dict[str, Any] = json.loads(run(["-m", "cli", *words, "--json"], stdout=subprocess.PIPE))
    return found


def script(name: str, *words: object) -> str:
    """Run ``examples/NAME.py``, and stop where it fails; what it printed."""
    return run([ROOT / "examples" / f"{name}.py", *words], stdout=subprocess.PIPE)


def run(words: Sequence[object], stdout: Any) -> str:
    """Run Python on this working tree, whatever recon is installed, and stop where it fails; what it piped."""
    own = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, *map(str, words)]
    made = subprocess.run(command, cwd=ROOT, stdout=stdout, text=True, env=os.environ | {"PYTHONPATH": own})
    if made.returncode:
        raise SystemExit(f"stopped, because this failed: {' '.join(command)}")
    return made.stdout or ""


def tables_in(text: str) -> list[list[Row]]:
    """The rows of every Markdown table in a text, without headers."""
    found: list[list[Row]] = []
    before = ""
    for line in text.splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            found[-1].append(cells(line))
        before = line
    return [[row for row in rows[1:] if not is_rule(row)] for rows in found]


def read_rows(path: Path, key: str = "rows") -> list[dict[str, Any]]:
    """The rows of a command's own table."""
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))[key]
    return found


def cells(line: str) -> Row:
    """The cells of a Markdown row, without bold."""
    return [cell.strip().replace("**", "") for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]


def is_rule(row: Row) -> bool:
    """Whether a row only parts the header from the rest."""
    return all(set(cell) <= set("-: ") for cell in row)


def short(value: float, digits: int = 3, sign: str = "") -> str:
    """As most pages write it: no zero before the point. ``sign`` "+" writes it before what is not negative, too."""
    return without_zero(f"{value:{sign}.{digits}f}")


def without_zero(cell: str) -> str:
    """Numbers in a cell as most pages write them."""
    return re.sub(r"\b0\.", ".", cell)


def between(figure: dict[str, float], digits: int, sign: str = "") -> str:
    """A value with the ends of its interval, with zeros before the point."""
    value, low, high = (f"{figure[key]:{sign}.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"
