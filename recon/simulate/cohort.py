"""Cohorts on disk: fastMRI-format scans, lesion masks and a manifest; what exists already is kept.

Beside ``SUBJECT_CONTRAST.h5`` lies, with ``stroke``, ``SUBJECT_lesion.h5`` for all contrasts of the subject: dataset
``lesion`` bool ``[slice, readout, phase]`` on the scan's image grid, dataset ``lesion_fraction`` float32 of the same
shape (soft edges), attributes territory, stage, volume_ml, voxel_size_mm and affine. ``manifest.json`` lists every
scan with its person (``group``: split by it), its source and licence.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recon.atomic import atomic_path
from recon.errors import ReconError
from recon.seeding import numpy_generator
from recon.simulate.anatomy import AnatomySource
from recon.simulate.contrast import CONTRASTS
from recon.simulate.lesion_files import LesionFiles
from recon.simulate.lesions import STAGES
from recon.simulate.measurement import CoilArray, SimulatedScan, draw_coils, measure
from recon.simulate.subject import Subject, simulate_subject
from recon.simulate.territories import TERRITORY_SHARES

MANIFEST = "manifest.json"
FORMAT = "recon-simulation-1"


@dataclass(frozen=True)
class Settings:
    """What makes two runs the same cohort. The number of subjects and the contrasts may grow later."""

    size: tuple[int, int] = (192, 192)  # readout, phase
    coils: int = 8
    slices: int = 8
    snr: float = 30.0
    stroke: bool = False
    seed: int = 0
    oversampling: int = 1
    field_of_view: float | None = None  # mm along the readout; drawn for each subject when None
    thickness: float | None = None  # mm; drawn when None
    territory: str | None = None
    stage: str | None = None
    anatomy: str = "icbm152"
    lesion_shapes: str | None = None  # name of the folder of real masks
    territories: str | None = None  # name of the territory atlas

    def __post_init__(self) -> None:
        if min(self.size) < 16 or max(self.size) > 1024:
            raise ReconError(f"size {self.size[0]} x {self.size[1]} is out of range; choose 16 to 1024")
        if not 1 <= self.coils <= 128:
            raise ReconError(f"{self.coils} coils: choose 1 to 128")
        if not 1 <= self.slices <= 256:
            raise ReconError(f"{self.slices} slices: choose 1 to 256")
        if not np.isfinite(self.snr) or self.snr <= 0:
            raise ReconError(f"SNR {self.snr} must be a positive number")
        if self.oversampling not in (1, 2):
            raise ReconError(f"readout oversampling {self.oversampling}: choose 1 or 2")
        if self.field_of_view is not None and not 200 <= self.field_of_view <= 500:
            raise ReconError(f"field of view {self.field_of_view} mm: choose 200 to 500")
        if self.thickness is not None and not 0.5 <= self.thickness <= 10:
            raise ReconError(f"slice thickness {self.thickness} mm: choose 0.5 to 10")
        if self.territory is not None and self.territories is None and self.territory not in TERRITORY_SHARES:
            raise ReconError(f"territory {self.territory!r} is unknown; choose from {', '.join(TERRITORY_SHARES)}")
        if self.stage is not None and self.stage not in STAGES:
            raise ReconError(f"lesion stage {self.stage!r} is unknown; choose from {', '.join(STAGES)}")


@dataclass(frozen=True)
class Examination:
    """One subject in the scanner, before anything is measured."""

    subject: Subject
    array: CoilArray


def examine(
    source: AnatomySource, name: str, settings: Settings, lesion_files: LesionFiles | None = None
) -> Examination:
    """Draw the subject called ``name`` and the coils around the head.

    Every draw depends only on ``settings.seed``, ``name`` and, in ``acquire``, the contrast: neither on other subjects
    nor on which other contrasts are made. Raises ReconError, naming the subject, when the lesion's place is not imaged.
    """
    try:
        subject = simulate_subject(
            source.load(),
            numpy_generator(settings.seed, "subject", name),
            name=name,
            size=settings.size,
            field_of_view=settings.field_of_view,
            slices=settings.slices,
            thickness=settings.thickness,
            stroke=settings.stroke,
            territory=settings.territory,
            stage=settings.stage,
            lesion_files=lesion_files,
        )
    except ReconError as error:
        raise ReconError(f"subject {name}: {error}") from error
    return Examination(subject, draw_coils(subject, settings.coils, numpy_generator(settings.seed, "coils", name)))


def acquire(examination: Examination, contrast: str, settings: Settings) -> SimulatedScan:
    """Measure one contrast, in memory. Raises ReconError for a contrast that cannot be made from this anatomy."""
    generator = numpy_generator(settings.seed, "scan", examination.subject.name, contrast)
    return measure(
        examination.subject,
        contrast,
        examination.array,
        generator,
        snr=settings.snr,
        oversampling=settings.oversampling,
    )


def plan_cohort(
    sources: Sequence[AnatomySource], subjects: int, contrasts: Sequence[str]
) -> list[tuple[str, AnatomySource, tuple[str, ...]]]:
    """Names, heads and contrasts of ``subjects`` subjects: the heads in turn, then again in another shape.

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
        plan.append((f"{source.subject}-{index // len(usable):03d}", source, possible))
    return plan


def simulate_cohort(
    out: str | Path,
    sources: Sequence[AnatomySource],
    subjects: int,
    contrasts: Sequence[str],
    settings: Settings,
    lesion_files: LesionFiles | None = None,
    progress: Callable[[Iterator[Any], int], Iterator[Any]] = lambda steps, total: steps,
) -> dict[str, Any]:
    """Write the scans of a cohort; returns the manifest, with ``written`` and ``kept`` counts added.

    Scans that an earlier run with the same settings finished are kept. ``progress`` wraps the iterator over subjects (a
    progress bar). Raises ReconError when ``out`` holds a cohort of other settings, or cannot be written.
    """
    out = Path(out)
    plan = plan_cohort(sources, subjects, contrasts)
    manifest = _read_manifest(out, settings)
    entries: dict[str, dict[str, Any]] = {entry["file"]: entry for entry in manifest["scans"]}
    written = kept = 0
    for name, source, possible in progress(iter(plan), len(plan)):
        files = {contrast: f"{name}_{contrast}.h5" for contrast in possible}
        lesion_file = out / f"{name}_lesion.h5"
        missing = [c for c, file in files.items() if file not in entries or not (out / file).is_file()]
        if settings.stroke and not lesion_file.is_file():
            missing = list(possible)
        kept += len(possible) - len(missing)
        if not missing:
            continue
        examination = examine(source, name, settings, lesion_files)
        if examination.subject.lesion is not None:
            write_lesion(lesion_file, examination.subject)
        for contrast in missing:
            scan = acquire(examination, contrast, settings)
            write_scan(out / files[contrast], examination.subject, scan)
            entries[files[contrast]] = _entry(files[contrast], examination.subject, scan, settings)
            written += 1
        manifest["scans"] = [entries[file] for file in sorted(entries)]
        with atomic_path(out / MANIFEST) as temporary:
            temporary.write_text(json.dumps(manifest, indent=1, allow_nan=False), encoding="utf-8")
    return {**manifest, "written": written, "kept": kept}


def write_scan(path: Path, subject: Subject, scan: SimulatedScan) -> None:
    """One contrast as a fully sampled fastMRI-format file, with its reference and a noise scan.

    The reference is the noise-free truth: the root sum of squares of the noisy kspace would carry the noise that a
    reconstruction is meant to remove, and would favour those that keep it.

    Raises ReconError when it cannot be written; nothing is left half-written.
    """
    from recon.scans.fastmri import write_fastmri

    kspace = scan.acquisition.kspace
    facts = {
        "vendor": "simulation",
        "model": f"{subject.facts['kind']} ({subject.facts['source']})",
        "field_strength_t": subject.field_strength,
        "subject": subject.group,
        "origin": f"{subject.facts['kind']} ({subject.facts['source']})",
        "licence": str(subject.facts["licence"]),
        **scan.contrast.facts,
    }
    with write_fastmri(
        path,
        shape=kspace.shape,
        contrast=scan.contrast.sequence.contrast,
        image_shape=scan.image.shape[1:],
        voxel_size=subject.voxel_size,
        affine=subject.affine,
        noise=scan.acquisition.noise,
        noise_covariance=scan.acquisition.noise_covariance,
        facts=facts,
    ) as writer:
        for index, lines in enumerate(kspace):
            writer.put(index, lines, reference=np.abs(scan.image[index]).astype(np.float32))


def write_lesion(path: Path, subject: Subject) -> None:
    """The lesion of a subject, on the grid of its scans (see the module's docstring). Raises ReconError."""
    import h5py

    lesion = subject.lesion
    if lesion is None:
        raise ReconError(f"{subject.name} has no lesion to write")
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("lesion", data=lesion.mask, compression="gzip")
        file.create_dataset("lesion_fraction", data=lesion.core, compression="gzip")
        file.attrs["territory"] = lesion.territory
        file.attrs["stage"] = lesion.stage
        file.attrs["volume_ml"] = lesion.volume
        file.attrs["voxel_size_mm"] = subject.voxel_size
        file.attrs["affine"] = subject.affine


def _entry(file: str, subject: Subject, scan: SimulatedScan, settings: Settings) -> dict[str, Any]:
    facts = dict(subject.facts)
    return {
        "file": file,
        "subject": subject.name,
        "group": subject.group,
        "contrast": scan.contrast.sequence.contrast,
        "kind": facts.pop("kind"),
        "source": facts.pop("source"),
        "licence": facts.pop("licence"),
        "lesion_file": f"{subject.name}_lesion.h5" if subject.lesion is not None else None,
        "lesion_ml": facts.pop("lesion_ml", 0.0),
        "slices": int(subject.brain.shape[0]),
        "voxel_size_mm": [round(size, 4) for size in subject.voxel_size],
        "snr": settings.snr,
        **facts,
        **scan.contrast.facts,
    }


def _read_manifest(out: Path, settings: Settings) -> dict[str, Any]:
    own = json.loads(json.dumps(asdict(settings)))
    path = out / MANIFEST
    if not path.is_file():
        return {"format": FORMAT, "settings": own, "scans": []}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        stored, scans = manifest["settings"], manifest["scans"]
        if manifest["format"] != FORMAT or not all(isinstance(entry["file"], str) for entry in scans):
            raise ValueError("not a simulation manifest")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReconError(f"{path}: not a readable manifest ({error}); choose another --out") from error
    if stored != own:
        different = sorted(key for key in own if stored.get(key) != own[key])
        raise ReconError(
            f"{out}: holds a cohort simulated with other settings ({', '.join(different)} differ); choose another --out"
        )
    return dict(manifest)
