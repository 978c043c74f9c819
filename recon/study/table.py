"""Which files make a study: from a cohort of ``recon simulate``, or from a table in CSV or JSON.

CSV: one row a series, with the columns ``study``, ``person``, ``contrast``, ``file`` and, where known, ``lesion`` (a
mask, ``none`` where it is known that there is none, ``present`` where there is one that nobody outlined),
``lesion_age`` (any word), ``b_value`` in s/mm^2 and ``plane`` (axial, or sagittal; a study of both planes is two
studies of one name).
JSON: ``{"studies": [{"study": ..., "person": ..., "series": {"FLAIR": "file", ...}, "lesion": ..., "lesion_age": ...,
"b_value": ..., "plane": ...}]}``. Files lie relative to the table.
"""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recon.errors import ReconError
from recon.foreign.json_file import read_json
from recon.study.contrasts import DIRECTIONS, INPUTS, UNWEIGHTED, Plane, contrast_named

COHORT = "manifest.json"  # of ``recon simulate``
TABLES = ("studies.csv", "studies.json")
NO_LESION = "none"
NO_OUTLINE = "present"
LARGEST = 50_000_000  # bytes of a table
COLUMNS = ("study", "person", "contrast", "file")


@dataclass(frozen=True)
class Study:
    """One examination of one person. ``lesion``: the mask's file; None with ``labelled``: known to have none;
    ``unoutlined``: known to have one, of which there is no mask."""

    name: str
    person: str
    files: Mapping[str, Path]  # by contrast
    lesion: Path | None
    labelled: bool
    origin: str = "not stated"
    licence: str = "not stated"
    b_value: float | None = None  # s/mm^2, where the table states it
    lesion_age: str | None = None  # such as acute, where the table states it
    plane: Plane = "axial"
    unoutlined: bool = False

    def __post_init__(self) -> None:
        if not set(self.files) & set(INPUTS):
            raise ReconError(
                f"study {self.name}: no series that a network takes; give at least one of {', '.join(INPUTS)}"
            )
        if "ADC" in self.files and UNWEIGHTED in self.files:
            raise ReconError(f"study {self.name}: an ADC and a {UNWEIGHTED} to calculate it from; give one of them")
        if UNWEIGHTED in self.files and "DWI" not in self.files:
            raise ReconError(f"study {self.name}: a {UNWEIGHTED} without its DWI; add it, or leave both out")
        if self.b_value is not None and not 0 < self.b_value < 1e5:
            raise ReconError(f"study {self.name}: b-value {self.b_value} s/mm^2; give a positive one")
        for path in (*self.files.values(), *([] if self.lesion is None else [self.lesion])):
            if not path.exists():
                raise ReconError(f"{path}: no such file, though study {self.name} names it")

    @property
    def shows_lesion(self) -> bool | None:
        """Whether it shows a lesion; None where it is not known."""
        return True if self.unoutlined else self.lesion is not None if self.labelled else None

    @property
    def contrasts(self) -> tuple[str, ...]:
        """What a network can take of it, in the order of ``INPUTS``."""
        return tuple(c for c in INPUTS if c in self.files or (c == "ADC" and UNWEIGHTED in self.files))


def find_studies(places: Sequence[str | Path]) -> list[Study]:
    """All studies of folders and tables. Studies of one person in two places count as one person's.

    Raises ReconError for a place without studies, a table that cannot be read, a study listed twice, mixed persons,
    missing files and unknown contrasts.
    """
    studies: list[Study] = []
    for place in map(Path, places):
        studies += _studies_of(place)
    names = [(study.name, study.plane) for study in studies]
    twice = sorted({name for name, plane in names if names.count((name, plane)) > 1})
    if twice:
        raise ReconError(f"study {twice[0]}: listed twice; a study may be given once")
    if not studies:
        raise ReconError("no study given; name folders of 'recon simulate', or tables of studies")
    return studies


def of_plane(studies: Sequence[Study], plane: Plane) -> list[Study]:
    """The studies of one plane. Raises ReconError when there is none."""
    found = [study for study in studies if study.plane == plane]
    if not found:
        raise ReconError(f"none of {len(studies)} studies is {plane}; give such studies, or a recipe of another plane")
    return found


def kinds_of(studies: Sequence[Study]) -> str:
    """What the studies are in words, as manifests say it: simulated, semi-synthetic; of a table: not stated."""
    return " and ".join(sorted({study.origin.partition(":")[0] for study in studies}))


def of_first_persons(studies: Sequence[Study], persons: int | None) -> list[Study]:
    """The studies of the first ``persons`` persons by name; without a number all."""
    names = set(sorted({study.person for study in studies})[:persons])
    return [study for study in studies if study.person in names]


def _studies_of(place: Path) -> list[Study]:
    if place.is_dir():
        for name in (*TABLES, COHORT):
            if (place / name).is_file():
                return _studies_of(place / name)
        raise ReconError(f"{place}: neither {TABLES[0]}, {TABLES[1]} nor a {COHORT} of 'recon simulate' in this folder")
    if not place.is_file():
        raise ReconError(f"{place}: no such file or folder")
    if place.name == COHORT:
        return _of_cohort(place)
    if place.suffix == ".json":
        return _of_json(place)
    if place.suffix == ".csv":
        return _of_csv(place)
    raise ReconError(f"{place}: a table of studies is a .csv or .json; a single scan is no study")


def _of_cohort(path: Path) -> list[Study]:
    rows = []
    try:
        for scan in read_json(path)["scans"]:
            lesion = scan.get("lesion_file")
            rows.append(
                {
                    "study": f"{path.parent.name}/{scan['subject']}",
                    "person": str(scan["group"]),
                    "contrast": str(scan["contrast"]),
                    "file": Path(str(scan["file"])).name,
                    "lesion": NO_LESION if lesion is None else Path(str(lesion)).name,
                    "lesion_age": _lesion_age(scan),
                    "plane": str(scan.get("plane", "axial")),
                    "origin": f"{scan['kind']}: {scan['source']}",
                    "licence": str(scan["licence"]),
                }
            )
    except (KeyError, TypeError, AttributeError) as error:
        raise ReconError(f"{path}: not a manifest of 'recon simulate' ({error})") from error
    return _grouped(rows, path)


def _lesion_age(scan: Mapping[str, Any]) -> str:
    """``acute``; of blood ``acute haemorrhage``."""
    kind = scan.get("lesion_kind", "infarct")
    return f"{scan.get('lesion_stage') or ''} {'' if kind == 'infarct' else kind}".strip()


def _of_csv(path: Path) -> list[Study]:
    try:
        if path.stat().st_size > LARGEST:
            raise ReconError(f"{path}: larger than {LARGEST} bytes; no table of studies is")
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise ReconError(f"{path}: no column '{missing[0]}'; a table of studies has {', '.join(COLUMNS)}")
            rows = [{key: (value or "").strip() for key, value in row.items() if key} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error, AttributeError) as error:
        raise ReconError(f"{path}: not readable as CSV ({error})") from error
    return _grouped(rows, path)


def _of_json(path: Path) -> list[Study]:
    rows = []
    try:
        for entry in read_json(path)["studies"]:
            common = {key: str(entry[key]) for key in ("study", "person")}
            for key in ("lesion", "lesion_age", "b_value", "plane"):
                common[key] = str(entry.get(key) or "")
            rows += [{**common, "contrast": str(c), "file": str(f)} for c, f in entry["series"].items()]
    except (KeyError, TypeError, AttributeError) as error:
        raise ReconError(f"{path}: not a table of studies (entry {error} is missing or no text)") from error
    return _grouped(rows, path)


def _grouped(rows: Iterable[dict[str, Any]], path: Path) -> list[Study]:
    """Rows of one study together."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for number, row in enumerate(rows, start=1):
        empty = [name for name in COLUMNS if not row.get(name)]
        if empty:
            raise ReconError(f"{path}: row {number} has no {empty[0]}")
        plane = (row.get("plane") or "axial").lower()
        if plane not in DIRECTIONS:
            raise ReconError(f"{path}: row {number}: plane '{plane}' is unknown; choose from {', '.join(DIRECTIONS)}")
        groups.setdefault((row["study"], plane), []).append({**row, "plane": plane})
    return [_study(name, entries, path) for (name, _), entries in groups.items()]


_AGREED = (
    ("person", "persons"), ("lesion", "lesion masks"), ("lesion_age", "lesion ages"), ("b_value", "b-values"),
)  # fmt: skip


def _study(name: str, rows: Sequence[dict[str, Any]], path: Path) -> Study:
    """One study of its rows, which must agree on everything but contrast and file."""
    for key, word in _AGREED:
        different = sorted({row.get(key) or "" for row in rows} - {""})
        if len(different) > 1:
            raise ReconError(f"{path}: study {name} has several {word} ({', '.join(different[:3])}); one is right")
    files: dict[str, Path] = {}
    for row in rows:
        contrast = contrast_named(row["contrast"], f"{path}: study {name}")
        if contrast in files:
            raise ReconError(f"{path}: study {name} has {contrast} twice; leave one out")
        files[contrast] = path.parent / row["file"]
    lesion = next((row["lesion"] for row in rows if row.get("lesion")), "")
    present = lesion.lower() == NO_OUTLINE
    mask = path.parent / lesion if lesion and lesion.lower() not in (NO_LESION, NO_OUTLINE) else None
    words = next((row["b_value"] for row in rows if row.get("b_value")), "")
    try:
        b_value = float(words) if words else None
    except ValueError:
        b_value = math.nan
    facts = {key: rows[0][key] for key in ("origin", "licence") if rows[0].get(key)}
    age = next((row["lesion_age"] for row in rows if row.get("lesion_age")), None)
    facts["plane"] = rows[0]["plane"]
    return Study(
        name,
        rows[0]["person"],
        files,
        mask,
        bool(lesion) and not present,
        b_value=b_value,
        lesion_age=age,
        unoutlined=present,
        **facts,
    )
