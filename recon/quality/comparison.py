"""Result files against reference files: one row of figures a scan (and a slice), their mean, and the table on disk."""

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from recon.atomic import atomic_path
from recon.errors import ReconError, naming
from recon.images.grid import on_grid
from recon.images.references import read_lesions, read_reference
from recon.images.result import result_attributes
from recon.images.volume import Volume, is_result, read_volume
from recon.quality.lesions import LesionMetrics, evaluate_lesions, lesion_mask
from recon.quality.metrics import Metrics, evaluate
from recon.quality.pairing import pair, scan_name

Row = dict[str, Any]
Refuse = Callable[[Path, ReconError], None]
FACTS = ("scan", "method", "acceleration", "slice")
FIGURES = (
    *("nrmse", "psnr", "ssim", "hfen", "scale"),
    *("lesion_contrast_error", "lesion_contrast", "lesion_contrast_reference", "lesion_nrmse"),
    *("lesion_contrast_to_noise", "lesion_contrast_to_noise_reference", "lesion_pixels"),
)
STORED = {"scan": "scan_name", "method": "method", "acceleration": "acceleration"}  # column: attribute of a result
COLUMNS = (*FACTS, *FIGURES, "result", "reference", "reference_kind")


def compare_files(
    results: Sequence[Path],
    references: Sequence[Path],
    lesions: Sequence[Path],
    per_slice: bool = False,
    refuse: Refuse | None = None,
) -> list[Row]:
    """Measure every result against its reference (see ``pairing.pair`` for which) and, where given, its lesion mask.

    Returns one row a result, with the keys ``COLUMNS``; ``slice`` is None for the volume, and with ``per_slice`` the
    rows of its slices follow it. A figure that is undefined is None. The lesions are measured per volume only.

    Raises ReconError when files cannot be read or paired, or are on different grids. With ``refuse`` only when they
    cannot be paired: it hears of every result that cannot be measured, and the others are.
    """
    if not results:
        raise ReconError("no results given; name the files to evaluate before --reference")
    known = [_facts(path) for path in results]
    names = [facts["scan"] for facts in known]
    paired = pair(names, references, "reference")
    masks = pair(names, lesions, "lesions") if lesions else [None] * len(results)
    rows: list[Row] = []
    # One reference often serves many results: read it once, and keep no more than the last.
    kept: tuple[Path, Volume] | None = None
    for path, facts, truth, mask in zip(results, known, paired, masks, strict=True):
        try:
            if kept is None or kept[0] != truth:
                kept = (truth, read_reference(truth))
            rows += _measured(path, facts, kept[1], mask, per_slice)
        except ReconError as error:
            if refuse is None:
                raise
            refuse(path, error)
    return rows


def _measured(path: Path, facts: Row, truth: Volume, mask: Path | None, per_slice: bool) -> list[Row]:
    """The row of one result, and those of its slices."""
    image = read_volume(path) if is_result(path) else read_reference(path)
    with naming(path):
        reference = on_grid(truth, image.values.shape, image.affine, "reference")
        found = evaluate(image.values, reference)
        lesion = None
        if mask is not None:
            outline = on_grid(read_lesions(mask), image.values.shape, image.affine, "lesion mask")
            lesion = evaluate_lesions(image.values, reference, lesion_mask(outline))
    more = {"result": str(path), "reference": str(truth.path), "reference_kind": truth.kind}
    rows = [{**_row({**facts, "slice": None, **more}, found.volume), **_lesion_figures(lesion)}]
    if per_slice:
        rows += [_row({**facts, "slice": i, **more}, one) for i, one in enumerate(found.slices)]
    return rows


def mean_rows(rows: Sequence[Row]) -> list[Row]:
    """One row a method, in the order in which they come: the mean of every figure over its rows that have it; the
    pixels of lesions are added up. A mean over different methods would say nothing of any."""
    methods = dict.fromkeys(row["method"] for row in rows)
    return [_mean_row(method, [row for row in rows if row["method"] == method]) for method in methods]


def _mean_row(method: str, rows: Sequence[Row]) -> Row:
    mean: Row = dict.fromkeys(COLUMNS)
    mean["scan"], mean["method"] = "mean", method
    for key in FIGURES:
        values = [row[key] for row in rows if row[key] is not None]
        if values:
            mean[key] = sum(values) if key == "lesion_pixels" else float(np.mean(values))
    return mean


def write_table(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as CSV, UTF-8, one column for each of ``COLUMNS``. Raises ReconError when it cannot be written."""
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows({key: "" if value is None else value for key, value in row.items()} for row in rows)


def _facts(path: Path) -> Row:
    """What a result says about itself; NIfTI, and a file that cannot be read, say nothing but their names."""
    facts: Row = {"scan": scan_name(path), "method": "", "acceleration": None}
    stored = result_attributes(path) if is_result(path) else {}
    return {**facts, **{key: stored[name] for key, name in STORED.items() if name in stored}}


def _row(facts: Row, figures: Metrics) -> Row:
    return {**dict.fromkeys(COLUMNS), **facts, **_defined(asdict(figures))}


def _lesion_figures(lesion: LesionMetrics | None) -> Row:
    if lesion is None:
        return {}
    return _defined({key if key.startswith("lesion") else f"lesion_{key}": v for key, v in asdict(lesion).items()})


def _defined(figures: Row) -> Row:
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in figures.items()}
