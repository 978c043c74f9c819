"""Cohorts of simulated subjects: who is in them, what they are measured in; what exists on disk already is kept."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recon.contrast_names import canonical_contrast
from recon.errors import ReconError
from recon.progress import Report, silent
from recon.seeding import numpy_generator
from recon.simulate.anatomy import AnatomySource
from recon.simulate.anatomy_files import find_anatomies
from recon.simulate.builtin_head import builtin_sources
from recon.simulate.lesion_files import LesionFiles, find_lesion_files
from recon.simulate.manifest import is_kept, read_manifest, scan_record, write_manifest
from recon.simulate.measurement import CoilArray, SimulatedScan, draw_coils, measure
from recon.simulate.options import Plane, SimulationOptions
from recon.simulate.planes import cut, whole_subject
from recon.simulate.pulse_sequence import CONTRASTS, UNWEIGHTED, draw_sequence
from recon.simulate.scan_files import write_lesion, write_scan
from recon.simulate.subject import Subject, simulate_subject

SAGITTAL = "-SAG"  # beside the axial one: what a name of files ends in


@dataclass(frozen=True)
class PositionedSubject:
    """A subject in the coil array, before anything is measured."""

    subject: Subject
    array: CoilArray


def position_planes(
    source: AnatomySource, name: str, options: SimulationOptions, lesion_files: LesionFiles | None = None
) -> list[PositionedSubject]:
    """The subject called ``name`` in every plane of ``options``: axial alone as ``position_subject`` draws it,
    otherwise cut from one whole head. Raises ReconError as ``position_subject``."""
    if options.plane == "axial":
        return [position_subject(source, name, options, lesion_files)]
    try:
        drawn = numpy_generator(options.seed, "whole-subject", name)
        whole = whole_subject(source.load(), name, options, drawn, lesion_files)
        found = []
        for plane in options.planes:
            subject = cut(whole, plane, options, numpy_generator(options.seed, "plane", name, plane))
            found.append(replace(subject, files=stem(name, plane, options)))
    except ReconError as error:
        raise ReconError(f"subject {name}: {error}") from error
    return [
        PositionedSubject(one, draw_coils(one, options.coils, numpy_generator(options.seed, "coils", name)))
        for one in found
    ]


def stem(name: str, plane: Plane, options: SimulationOptions) -> str:
    """What the names of a subject's files begin with."""
    return name + SAGITTAL if plane == "sagittal" and options.plane == "both" else name


def position_subject(
    source: AnatomySource, name: str, options: SimulationOptions, lesion_files: LesionFiles | None = None
) -> PositionedSubject:
    """Draw the subject called ``name`` and the coils around the head.

    Every draw depends only on ``options.seed``, ``name`` and, in ``acquire``, the contrast: neither on other subjects
    nor on which other contrasts are made. Raises ReconError, naming the subject, when the lesion's place is not imaged.
    """
    generator = numpy_generator(options.seed, "subject", name)
    try:
        subject = simulate_subject(source.load(), name, options, generator, lesion_files)
    except ReconError as error:
        raise ReconError(f"subject {name}: {error}") from error
    return PositionedSubject(subject, draw_coils(subject, options.coils, numpy_generator(options.seed, "coils", name)))


def acquire(positioned: PositionedSubject, contrast: str, options: SimulationOptions) -> SimulatedScan:
    """Measure one contrast, in memory. Raises ReconError for a contrast that cannot be made from this anatomy."""
    subject = positioned.subject
    generator = numpy_generator(options.seed, "scan", subject.stem, contrast)
    sequence = None
    if contrast in UNWEIGHTED:  # the timing is that of the diffusion-weighted image
        weighted = UNWEIGHTED[contrast]
        drawn = draw_sequence(weighted, numpy_generator(options.seed, "scan", subject.stem, weighted))
        sequence = replace(drawn, contrast=contrast, b_value=0.0)
    return measure(
        subject,
        contrast,
        positioned.array,
        generator,
        snr=options.snr,
        oversampling=options.oversampling,
        sequence=sequence,
    )


def plan_cohort(
    sources: Sequence[AnatomySource], subjects: int, contrasts: Sequence[str], cohort: str | None = None
) -> list[tuple[str, AnatomySource, tuple[str, ...]]]:
    """Names, heads and contrasts of ``subjects`` subjects: the heads in turn, then again in another shape. Names begin
    with the word ``cohort``, if any.

    Heads that were measured in none of ``contrasts`` are left out. Raises ReconError when none is left, or for an
    unknown contrast.
    """
    for contrast in contrasts:
        if contrast not in CONTRASTS:
            raise ReconError(f"contrast {contrast!r} cannot be simulated; choose from {', '.join(CONTRASTS)}")
    if subjects < 1 or not contrasts:
        raise ReconError("at least one subject and one contrast are needed")
    usable = [
        (source, tuple(c for c in dict.fromkeys(contrasts) if source.contrasts is None or c in source.contrasts))
        for source in sources
    ]
    usable = [(source, possible) for source, possible in usable if possible]
    if not usable:
        raise ReconError(
            f"none of the anatomies was measured in {', '.join(contrasts)}, and they have no tissue labels"
        )
    plan = []
    for index in range(subjects):
        source, possible = usable[index % len(usable)]
        name = f"{source.subject}-{index // len(usable):03d}"
        plan.append((name if cohort is None else f"{cohort}-{name}", source, possible))
    return plan


def simulate_cohort(
    out: str | Path,
    subjects: int,
    contrasts: Sequence[str],
    options: SimulationOptions,
    *,
    sources: Sequence[AnatomySource] | None = None,
    report: Report = silent,
) -> dict[str, Any]:
    """Write the scans of a cohort; returns the manifest, with ``written`` and ``kept`` counts added.

    ``sources`` are the heads; without them all those that ``options.anatomy`` names. Scans that an earlier run with the
    same options finished are kept. Raises ReconError when ``out`` holds a cohort of other options, or cannot be
    written.
    """
    out = Path(out)
    contrasts = [canonical_contrast(contrast) for contrast in contrasts]
    if sources is None:
        sources = (
            builtin_sources(options.plane != "axial") if options.anatomy is None else find_anatomies(options.anatomy)
        )
    lesion_files = find_lesion_files(options.lesion_shapes, options.territories)
    plan = plan_cohort(sources, subjects, contrasts, options.cohort)
    manifest = read_manifest(out, options)
    records: dict[str, dict[str, Any]] = {record["file"]: record for record in manifest["scans"]}
    written = kept = 0
    for number, (name, source, possible) in enumerate(plan):
        report("simulating", number / len(plan))
        missing = {
            plane: _missing(out, stem(name, plane, options), possible, options, records) for plane in options.planes
        }
        count = sum(map(len, missing.values()))
        kept += len(options.planes) * len(possible) - count
        if not count:
            continue
        for positioned in position_planes(source, name, options, lesion_files):
            subject = positioned.subject
            if subject.lesion is not None:
                write_lesion(out / f"{subject.stem}_lesion.h5", subject)
            for contrast in missing[subject.plane]:
                scan, file = acquire(positioned, contrast, options), f"{subject.stem}_{contrast}.h5"
                write_scan(out / file, subject, scan)
                records[file] = scan_record(out / file, subject, scan)
                written += 1
        manifest["scans"] = [records[file] for file in sorted(records)]
        write_manifest(out, manifest)
    report("simulating", 1.0)
    return {**manifest, "written": written, "kept": kept}


def _missing(
    out: Path, begin: str, contrasts: Sequence[str], options: SimulationOptions, records: dict[str, dict[str, Any]]
) -> list[str]:
    """The contrasts that no earlier run finished."""
    if options.stroke and not (out / f"{begin}_lesion.h5").is_file():
        return list(contrasts)
    files = {contrast: f"{begin}_{contrast}.h5" for contrast in contrasts}
    return [contrast for contrast, file in files.items() if not is_kept(records.get(file), out / file)]
