"""The baseline of a watch: scans that are taken to be as they should be, by stratum, with the limits of the charts."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.atomic import atomic_path
from recon.errors import ReconError
from recon.foreign.json_file import LARGEST, read_json
from recon.monitoring.cusum import Limit, calibrated_limit, location_and_scale
from recon.monitoring.features import WatchedScan
from recon.monitoring.options import LEAST_PERSONS, LEAST_SCANS, STRATUM, FitOptions
from recon.seeding import numpy_generator
from recon.version import __version__

FORMAT = "recon-monitor-baseline-1"
UNSTATED = "unstated"


@dataclass(frozen=True, eq=False)
class Stratum:
    """The baseline of one scanner and protocol: N scans, F charted figures."""

    key: tuple[tuple[str, str], ...]  # facts and their values
    figures: tuple[str, ...]
    left_out: tuple[str, ...]  # figures that some scans lack or that do not vary
    persons: tuple[str, ...]  # hashes, [scan]
    values: NDArray[np.float64]  # [scan, figure]
    embeddings: NDArray[np.float64] | None  # [scan, feature]
    location: NDArray[np.float64]  # [figure]
    scale: NDArray[np.float64]  # [figure]
    limit: Limit

    @property
    def name(self) -> str:
        """The stratum in words."""
        return name_of(self.key)


@dataclass(frozen=True)
class Baseline:
    """Every stratum of a baseline. ``encoder``: name and hash of the encoder's weights, where there is one."""

    by: tuple[str, ...]
    strata: tuple[Stratum, ...]
    encoder: tuple[str, str] | None
    too_few: tuple[tuple[str, int, int], ...] = ()  # strata without a baseline: name, scans, persons


def name_of(key: Sequence[tuple[str, str]]) -> str:
    """A stratum in words; what no scan states is left away."""
    return ", ".join(f"{fact} {value}" for fact, value in key if value not in (UNSTATED, "none")) or "all scans"


def key_of(scan: WatchedScan, by: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The stratum of a scan."""
    return tuple((fact, scan.facts.get(fact, UNSTATED)) for fact in by)


def grouped(scans: Sequence[WatchedScan], by: Sequence[str]) -> dict[tuple[tuple[str, str], ...], list[WatchedScan]]:
    """The scans of each stratum, in order."""
    groups: dict[tuple[tuple[str, str], ...], list[WatchedScan]] = {}
    for scan in scans:
        groups.setdefault(key_of(scan, by), []).append(scan)
    return groups


def fit_baseline(scans: Sequence[WatchedScan], options: FitOptions, encoder: tuple[str, str] | None = None) -> Baseline:
    """The baseline of scans that are taken to be as they should be.

    Raises ReconError when no stratum has enough scans or persons, or ``by`` names a fact that no scan states.
    """
    _check_facts(scans, options.by)
    strata, too_few = [], []
    for key, members in grouped(scans, options.by).items():
        persons = len({scan.person for scan in members})
        if len(members) < LEAST_SCANS or persons < LEAST_PERSONS:
            too_few.append((name_of(key), len(members), persons))
        else:
            strata.append(_stratum(key, members, options))
    if not strata:
        name, count, persons = max(too_few, key=lambda entry: entry[1])
        raise ReconError(
            f"too few scans for a baseline: {LEAST_SCANS} scans of {LEAST_PERSONS} persons are needed in a stratum, "
            f"the largest of {len(too_few)} has {count} of {persons} ({name}); give more results or fewer facts (--by)"
        )
    return Baseline(options.by, tuple(strata), encoder, tuple(too_few))


def _check_facts(scans: Sequence[WatchedScan], by: Sequence[str]) -> None:
    known = {fact for scan in scans for fact in scan.facts}
    for fact in by:
        if fact not in known and fact not in STRATUM:
            raise ReconError(f"--by {fact}: no result states it; they state {', '.join(sorted(known))}")


def _stratum(key: tuple[tuple[str, str], ...], members: Sequence[WatchedScan], options: FitOptions) -> Stratum:
    every = list(dict.fromkeys(name for scan in members for name in scan.figures))
    complete = [name for name in every if all(name in scan.figures for scan in members)]
    values = np.array([[scan.figures[name] for name in complete] for scan in members])
    location, scale = location_and_scale(values)
    varied = scale > 1e-9 * np.maximum(1.0, np.abs(location))
    figures = tuple(name for name, kept in zip(complete, varied, strict=True) if kept)
    if not figures:
        raise ReconError(f"{name_of(key)}: no figure varies between the scans; are they copies of one?")
    persons = tuple(scan.person for scan in members)
    generator = numpy_generator(options.seed, "monitor limit", *(f"{fact}={value}" for fact, value in key))
    limit = calibrated_limit(values[:, varied], persons, options.run_length, options.confidence, generator)
    embeddings = [scan.embedding for scan in members if scan.embedding is not None]
    return Stratum(
        key=key,
        figures=figures,
        left_out=tuple(name for name in every if name not in figures),
        persons=persons,
        values=values[:, varied],
        embeddings=np.array(embeddings) if len(embeddings) == len(members) else None,
        location=location[varied],
        scale=scale[varied],
        limit=limit,
    )


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Write a baseline as JSON; it appears only when complete. Raises ReconError when it cannot be written."""
    strata = [{**dataclasses.asdict(stratum), "key": dict(stratum.key)} for stratum in baseline.strata]
    content = {
        "format": FORMAT, "version": __version__, "by": baseline.by, "encoder": baseline.encoder, "strata": strata,
        "too_few": baseline.too_few,
    }  # fmt: skip
    text = json.dumps(content, allow_nan=False, default=lambda value: value.tolist())
    if len(text) > LARGEST:
        raise ReconError(f"{path}: the baseline would be larger than 10 MB; give fewer results or no embeddings")
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_baseline(path: Path) -> Baseline:
    """Read a baseline. Raises ReconError when it is missing, damaged or something else."""
    if not path.is_file():
        raise ReconError(f"{path}: no such baseline; make it with 'recon monitor fit'")
    content = read_json(path)
    if content.get("format") != FORMAT:
        raise ReconError(f"{path}: not a baseline of 'recon monitor fit'")
    try:
        by = tuple(str(fact) for fact in content["by"])
        encoder = content["encoder"] and (str(content["encoder"][0]), str(content["encoder"][1]))
        strata = tuple(_read_stratum(entry, by) for entry in content["strata"])
        too_few = tuple((str(name), int(scans), int(persons)) for name, scans, persons in content["too_few"])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        said = " ".join(str(error).split())[:200]
        raise ReconError(f"{path}: damaged baseline ({said}); make it again with 'recon monitor fit'") from error
    return Baseline(by, strata, encoder or None, too_few)


def _read_stratum(entry: Mapping[str, Any], by: Sequence[str]) -> Stratum:
    """Raises ValueError, KeyError or TypeError when something does not fit."""
    values = np.array(entry["values"], float)
    embeddings = None if entry["embeddings"] is None else np.array(entry["embeddings"], float)
    location, scale = np.array(entry["location"], float), np.array(entry["scale"], float)
    stated = entry["limit"]
    low, middle, high = (float(value) for value in stated["run_length"])
    limit = Limit(float(stated["value"]), float(stated["stated"]), float(stated["confidence"]), (low, middle, high))
    figures = tuple(str(name) for name in entry["figures"])
    persons = tuple(str(name) for name in entry["persons"])
    if values.shape != (len(persons), len(figures)) or not location.shape == scale.shape == (len(figures),):
        raise ValueError("its parts have different lengths")
    if embeddings is not None and (embeddings.ndim != 2 or len(embeddings) != len(persons)):
        raise ValueError("its embeddings do not fit its scans")
    numbers = [values, location, scale, *([] if embeddings is None else [embeddings])]
    if not all(np.isfinite(part).all() for part in numbers) or not (scale > 0).all() or not math.isfinite(limit.value):
        raise ValueError("a number is not finite, or a scale not positive")
    if len(persons) < LEAST_SCANS or not limit.value > 0 or not limit.stated > 0:
        raise ValueError("too few scans, or a limit that is not positive")
    key = tuple((fact, str(entry["key"][fact])) for fact in by)
    left_out = tuple(str(name) for name in entry["left_out"])
    return Stratum(key, figures, left_out, persons, values, embeddings, location, scale, limit)
