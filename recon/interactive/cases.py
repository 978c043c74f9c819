"""Result files segmented by clicks, each beside its reference: what belongs together, and the table of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError, naming
from recon.images.dicom_reading import is_dicom
from recon.images.grid import on_grid
from recon.images.nifti import is_nifti
from recon.images.references import read_lesions, read_reference
from recon.images.result import result_attributes
from recon.images.slice_axis import voxel_spacing
from recon.images.volume import Volume, is_result
from recon.interactive.clicks import Spacing
from recon.interactive.figures import clicks_to
from recon.interactive.options import InteractiveOptions
from recon.interactive.prompt import Segment
from recon.interactive.segmenters import chosen_segmenters
from recon.interactive.session import interact
from recon.interactive.statistics import Case, compared
from recon.progress import Report, silent
from recon.quality.lesions import lesion_mask
from recon.quality.pairing import pair, scan_name
from recon.scans.opening import open_scan
from recon.seeding import numpy_generator

Refuse = Callable[[Path, ReconError], None]
REFERENCE = "reference"
SAME_RATE = 0.06  # relative difference of two accelerations that are one arm


@dataclass(frozen=True)
class _Facts:
    """What a result says of itself, and the files that it is compared with."""

    path: Path
    scan: str
    person: str
    contrast: str
    method: str
    acceleration: float | None
    reference: Path
    lesions: Path


def segmented_cases(
    results: Sequence[Path],
    references: Sequence[Path],
    lesions: Sequence[Path],
    options: InteractiveOptions,
    report: Report = silent,
    refuse: Refuse | None = None,
) -> list[tuple[Case, Case]]:
    """Segment every result and its reference by every segmenter: pairs (result, reference), a pair a segmenter.

    References and masks go to results by ``recon.quality.pairing``. The same draws serve a result and its reference.
    Raises ReconError when files cannot be paired, or, without ``refuse``, when one cannot be segmented; with it, it
    hears of every result that cannot, and the others are.
    """
    if not results:
        raise ReconError("no results given; name the files to segment before --reference")
    if not lesions:
        raise ReconError("no lesion masks given; the clicks go where a segmentation differs from the true outline")
    entries = _paired(results, references, lesions)
    segmenters = chosen_segmenters(options)
    kept: dict[tuple[Any, ...], dict[str, Case]] = {}
    found: list[tuple[Case, Case]] = []
    for number, entry in enumerate(entries):
        report(f"segmenting {entry.scan}", number / len(entries))
        try:
            found += _both(entry, segmenters, options, kept)
        except ReconError as error:
            if refuse is None:
                raise
            refuse(entry.path, error)
    return _rates_alike(found)


def table(pairs: Sequence[tuple[Case, Case]], options: InteractiveOptions) -> list[dict[str, Any]]:
    """One row for every segmenter, contrast, method and acceleration; see ``statistics.compared``."""
    groups: dict[tuple[str, str, str, float], list[tuple[Case, Case]]] = {}
    for case, reference in pairs:
        key = (case.segmenter, case.contrast, case.method, case.acceleration or 0.0)
        groups.setdefault(key, []).append((case, reference))
    names = ("segmenter", "contrast", "method", "acceleration")
    rows = []
    for key in sorted(groups):
        facts = {**dict(zip(names, key, strict=True)), "acceleration": groups[key][0][0].acceleration}
        rows.append({**facts, **compared(groups[key], options.repeats, options.seed)})
    return rows


def _rates_alike(pairs: Sequence[tuple[Case, Case]]) -> list[tuple[Case, Case]]:
    """The pairs with accelerations that are nearly the same made one, their mean: results state what a mask left of
    their own scan, which hangs on the matrix, and 5.5 and 5.7 are one arm."""
    rates = sorted({case.acceleration for case, _ in pairs if case.acceleration is not None})
    groups: list[list[float]] = []
    for rate in rates:
        if groups and rate <= groups[-1][-1] * (1 + SAME_RATE):
            groups[-1].append(rate)
        else:
            groups.append([rate])
    label = {rate: round(float(np.mean(group)), 2) for group in groups for rate in group}
    return [
        (replace(case, acceleration=None if case.acceleration is None else label[case.acceleration]), reference)
        for case, reference in pairs
    ]


def _both(
    entry: _Facts,
    segmenters: dict[str, Segment],
    options: InteractiveOptions,
    kept: dict[tuple[Any, ...], dict[str, Case]],
) -> list[tuple[Case, Case]]:
    """The result and its reference, by every segmenter; references are kept for the results to come."""
    image = read_reference(entry.path)
    with naming(entry.path):
        spacing = _spacing(image)
        truth = lesion_mask(on_grid(read_lesions(entry.lesions), image.values.shape, image.affine, "lesion mask"))
        place = None if image.affine is None else image.affine.tobytes()
        key = (entry.reference, entry.lesions, entry.scan, image.values.shape, place)
        if key not in kept:
            full = on_grid(read_reference(entry.reference), image.values.shape, image.affine, "reference")
            task, arm = _Task(full, truth, spacing, image.affine), _Arm(REFERENCE, None)
            kept[key] = {name: _case(entry, arm, name, task, one, options) for name, one in segmenters.items()}
        task, arm = _Task(image.values, truth, spacing, image.affine), _Arm(entry.method, entry.acceleration)
        return [(_case(entry, arm, name, task, one, options), kept[key][name]) for name, one in segmenters.items()]


@dataclass(frozen=True)
class _Arm:
    method: str
    acceleration: float | None


@dataclass(frozen=True)
class _Task:
    image: NDArray[Any]
    truth: NDArray[np.bool_]
    spacing: Spacing
    affine: NDArray[np.float64] | None


def _case(entry: _Facts, arm: _Arm, name: str, task: _Task, segment: Segment, options: InteractiveOptions) -> Case:
    """Segment one image. The generator knows the scan and the segmenter, not the arm."""
    generator = numpy_generator(options.seed, "clicks", entry.scan, name)
    found = interact(task.image, task.truth, task.spacing, segment, options, generator, task.affine)
    needed = clicks_to(found.dice, options.target)
    facts = (entry.scan, entry.person, entry.contrast, arm.method, arm.acceleration)
    return Case(*facts, segmenter=name, interaction=found, needed=needed)


def _paired(results: Sequence[Path], references: Sequence[Path], lesions: Sequence[Path]) -> list[_Facts]:
    stored = [result_attributes(path) if is_result(path) else {} for path in results]
    names = [str(known.get("scan_name", scan_name(path))) for path, known in zip(results, stored, strict=True)]
    truths, masks = pair(names, references, "reference"), pair(names, lesions, "lesions")
    said = {truth: _said_by(truth) for truth in set(truths)}
    entries = []
    for path, known, name, truth, mask in zip(results, stored, names, truths, masks, strict=True):
        rate, method = known.get("acceleration"), str(known.get("method", "image"))
        person, contrast = said[truth]
        acceleration = None if rate is None else float(rate)
        entries.append(_Facts(path, name, person or name, contrast, method, acceleration, truth, mask))
    return entries


def _said_by(reference: Path) -> tuple[str, str]:
    """The person's pseudonym and the contrast, where the reference is a scan that says them; else nothing."""
    if is_nifti(reference) or is_dicom(reference) or is_result(reference):
        return "", ""
    scan = open_scan(reference)
    return scan.header.subject or "", scan.contrast or ""


def _spacing(image: Volume) -> Spacing:
    """Millimetres along slice, readout, phase. Raises ReconError when the file does not state them."""
    found = image.voxel_size if image.affine is None else voxel_spacing(image.affine)
    if found is None:
        raise ReconError("its voxel size is not stated; clicks and surface distances are in millimetres")
    return (float(found[2]), float(found[0]), float(found[1]))
