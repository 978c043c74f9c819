"""The table that says which file shows whom, at which acceleration, with which labels."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recon.errors import ReconError

LARGEST = 50_000_000  # bytes of a table
LARGEST_LABEL = 2**31 - 1
STUDY = "study"  # the examination that a volume belongs to
FACTS = (
    "vendor",
    "field_strength",
    "site",
    STUDY,
    "series",
)  # optional columns of words: where and as what it was measured
RESERVED = ("file", "subject", "case", "acceleration", "reference", "split", "mask", "view", *FACTS)
SPLITS = ("fit", "eval", "")
NO_LESION = "none"  # in the column mask: it is known that there is none


@dataclass(frozen=True)
class LabelledVolume:
    """One volume of the table."""

    file: Path
    subject: str  # the person; splits are by it
    case: str  # pairs a reconstruction with its reference
    acceleration: float  # 1 for a reference
    split: str  # fit, eval, or empty
    labels: dict[str, int]  # by label name: 1, 0, or another whole number; absent when the cell is empty
    facts: dict[str, str] = field(default_factory=dict)  # vendor, field_strength, site, where the table says it
    mask: Path | None = None  # of lesions, on the volume's own grid
    without_lesion: bool = False  # the table says that there is none
    view: str = ""  # tells the volumes of one case and acceleration apart: axial, sagittal, another contrast


@dataclass(frozen=True)
class LabelTable:
    """A labels CSV, references first."""

    entries: tuple[LabelledVolume, ...]
    names: tuple[str, ...]  # of the labels


def read_labels(path: str | Path) -> LabelTable:
    """Read a CSV with columns ``file``, ``subject``, any of ``case``, ``acceleration``, ``split``, ``mask`` (a file, or
    ``none`` where it is known that there is no lesion), ``view``, ``vendor``, ``field_strength``, ``site``, and labels.

    Every other column is a label of whole numbers (0 and 1 for the probes). ``file`` and ``mask`` are relative to the
    CSV; ``case`` defaults to the file's stem, ``acceleration`` to 1. Rows of one case in several views are one case.

    Raises ReconError, naming the line, for a missing column or file, a value that cannot be read, two references of
    one case, a reconstruction without its reference, a case of two persons, and a person in both splits.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise ReconError(f"{path}: larger than {LARGEST} bytes; no table of volumes is")
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = [name.strip() for name in reader.fieldnames or []]
            rows = [_cells(path, number, row) for number, row in enumerate(reader, start=2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReconError(f"{path}: not readable as CSV ({error})") from error
    for name in ("file", "subject"):
        if name not in columns:
            raise ReconError(f"{path}: no column '{name}'; it needs file, subject and one column a label")
    names = tuple(name for name in columns if name and name not in RESERVED)
    if not names:
        raise ReconError(f"{path}: no label column; add one, e.g. 'lesion' with 0 and 1")
    if not rows:
        raise ReconError(f"{path}: no rows below the header")
    entries = [_entry(path, number, row, names) for number, row in enumerate(rows, start=2)]
    _check(path, entries)
    ordered = sorted(entries, key=lambda entry: entry.acceleration != 1)
    return LabelTable(tuple(ordered), names)


def _cells(path: Path, number: int, row: dict[str, str]) -> dict[str, str]:
    """The cells of a line by column. Raises ReconError when there are more or fewer than columns."""
    if None in row or None in row.values():
        raise ReconError(f"{path}, line {number}: has not as many cells as the header has columns")
    return {key.strip(): value.strip() for key, value in row.items()}


def _entry(path: Path, number: int, row: dict[str, str], names: Sequence[str]) -> LabelledVolume:
    where = f"{path}, line {number}"
    file = path.parent / row["file"]
    if not row["file"] or not _is_file(file):
        raise ReconError(f"{where}: no such file '{row['file'][:200]}'")
    if not row["subject"]:
        raise ReconError(f"{where}: no subject; splits are by person, so every row needs one")
    labels = {}
    try:
        acceleration = float(row.get("acceleration") or 1)
        for name in names:
            if row.get(name):
                labels[name] = int(row[name])
                if abs(labels[name]) > LARGEST_LABEL:
                    raise ValueError(f"label {name} is {row[name][:20]}...")
    except ValueError as error:
        raise ReconError(f"{where}: {error}; acceleration is a number, labels are whole numbers") from error
    if not (math.isfinite(acceleration) and acceleration >= 1):
        raise ReconError(f"{where}: acceleration {acceleration}; give 1 for a reference, more for a reconstruction")
    split = row.get("split", "").lower()
    if split not in SPLITS:
        raise ReconError(f"{where}: split '{split}'; give fit, eval, or leave it empty")
    facts = {name: row[name] for name in FACTS if row.get(name)}
    mask = row.get("mask", "")
    if mask not in ("", NO_LESION) and not _is_file(path.parent / mask):
        raise ReconError(f"{where}: no such mask '{mask[:200]}'; give a file, '{NO_LESION}', or leave it empty")
    return LabelledVolume(
        file, row["subject"], row.get("case") or file.stem, acceleration, split, labels, facts,
        path.parent / mask if mask not in ("", NO_LESION) else None, mask == NO_LESION, row.get("view", ""),
    )  # fmt: skip


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except (OSError, ValueError):  # a name that no file system can have
        return False


def _check(path: Path, entries: Sequence[LabelledVolume]) -> None:
    references: dict[tuple[str, str], LabelledVolume] = {}
    persons: dict[str, str] = {}
    splits: dict[str, set[str]] = {}
    for entry in entries:
        splits.setdefault(entry.subject, set()).add(entry.split)
        if entry.acceleration == 1:
            if (entry.case, entry.view) in references:
                raise ReconError(f"{path}: case '{entry.case}' has two references; name cases (or views) apart")
            references[entry.case, entry.view] = entry
    both = [person for person, found in splits.items() if {"fit", "eval"} <= found]
    if both:
        raise ReconError(f"{path}: {len(both)} person(s) in both splits; fit and eval must not share a person")
    for entry in entries:
        if (entry.case, entry.view) not in references:
            raise ReconError(f"{path}: case '{entry.case}' has a reconstruction but no reference (acceleration 1)")
        if persons.setdefault(entry.case, entry.subject) != entry.subject:
            raise ReconError(f"{path}: case '{entry.case}' belongs to two persons; a case is one examination")
