"""Rows of figures by a fact of the scanner: means by vendor, field strength or site, with intervals over persons."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recon.errors import ReconError
from recon.images.result import result_attributes
from recon.images.volume import is_result
from recon.quality.person_interval import person_interval
from recon.seeding import numpy_generator

FACTS = {"vendor": "vendor", "field_strength": "field_strength_t", "site": "site"}  # choice: attribute of a result
UNSTATED = "unstated"
RESAMPLES = 2000


def stratum_rows(
    rows: Sequence[Mapping[str, Any]], by: str, figures: Sequence[str], seed: int = 0
) -> list[dict[str, Any]]:
    """One row a stratum, of rows of volumes (``comparison.compare_files``): scans, persons, and of every figure the
    mean with its 95 % bootstrap interval over persons. The results state the facts; those that state none are
    ``unstated``. Scans without a stated person count as one each.

    Raises ReconError when no result states the fact.
    """
    groups: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for row in rows:
        path = Path(row["result"])
        stated = result_attributes(path) if is_result(path) else {}
        value = stated.get(FACTS[by])
        name = UNSTATED if value is None else f"{value:g}" if isinstance(value, float) else str(value)
        groups.setdefault(name, []).append((str(stated.get("person") or path), row))
    if set(groups) == {UNSTATED}:
        raise ReconError(f"--by {by}: no result states it; reconstruct again from scans that do")
    return [_stratum(name, members, by, figures, seed) for name, members in sorted(groups.items())]


def _stratum(
    name: str, members: Sequence[tuple[str, Mapping[str, Any]]], by: str, figures: Sequence[str], seed: int
) -> dict[str, Any]:
    persons = sorted({person for person, _ in members})
    found: dict[str, Any] = {by: name, "scans": len(members), "persons": len(persons)}
    generator = numpy_generator(seed, "strata", by, name)
    drawn = generator.integers(len(persons), size=(RESAMPLES, len(persons)))
    for figure in figures:
        sums, counts = np.zeros(len(persons)), np.zeros(len(persons))
        for person, row in members:
            if row[figure] is not None:
                sums[persons.index(person)] += row[figure]
                counts[persons.index(person)] += 1
        found[figure] = float(sums.sum() / counts.sum()) if counts.sum() else None
        totals = counts[drawn].sum(1)
        means = (sums[drawn].sum(1) / np.maximum(totals, 1))[totals > 0]
        interval = person_interval(means, int((counts > 0).sum()))
        found[f"{figure}_interval"] = None if interval is None else list(interval)
    return found
