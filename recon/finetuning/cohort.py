"""The patients of a cohort: raw scans of any format are prepared here, prepared files are taken as they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from recon.errors import ReconError
from recon.folders import why_no_folder
from recon.prior.dataset import PreparedScan, is_prepared, open_prepared
from recon.prior.preparation import PreparationOptions, prepare_all
from recon.progress import Note, unsaid
from recon.scans.finding import scans_in
from recon.seeding import numpy_generator


@dataclass(frozen=True)
class Patient:
    """One person: prepared scans and, beside each, the raw scan that it was made from or None."""

    name: str
    scans: tuple[PreparedScan, ...]
    raw: tuple[Path | None, ...]


def gather(data: Path, prepared: Path, *, skip_bad: bool, note: Note = unsaid) -> tuple[list[Patient], list[str]]:
    """The patients in folder ``data``, in the order of their names, and the scans that were skipped with the reason.

    Raw scans are prepared into folder ``prepared``; what is there already is kept. Raises ReconError naming the scan
    that cannot be used unless ``skip_bad``, and when nothing is left.
    """
    if (wrong := why_no_folder(data)) is not None:
        raise ReconError(f"{data}: {wrong}; give the folder of the patients' scans with --data")
    files = scans_in(data)
    ready = [path for path in files if is_prepared(path)]
    raw = [path for path in files if path not in set(ready)]
    if len({path.stem for path in raw}) < len(raw):
        raise ReconError(f"{data}: two raw scans have the same name and would overwrite each other; rename one")
    skipped: list[str] = []
    found: list[tuple[PreparedScan, Path | None]] = []

    def refuse(reason: str) -> None:
        if not skip_bad:
            raise ReconError(f"{reason} (add --skip-bad to go on without such scans)")
        skipped.append(reason)
        note(f"skipped {reason}")

    sources: dict[Path, Path | None] = {path: None for path in ready}
    missing = []
    for path in raw:
        target = prepared / f"{path.stem}.h5"
        if target.is_file():
            sources[target] = path
        else:
            missing.append(path)
    if missing:
        note(f"preparing {len(missing)} raw scan(s)")
        for outcome in prepare_all(missing, prepared, PreparationOptions()):
            if outcome.state == "failed":
                refuse(outcome.reason)
            else:
                sources[outcome.output] = outcome.scan
    for path in sorted(sources):
        try:
            scan = open_prepared(path)
            if not all(torch.isfinite(torch.view_as_real(scan.read(j))).all() for j in range(scan.slices)):
                raise ReconError(f"{path}: NaN or infinite values; prepare it again")
            found.append((scan, sources[path]))
        except ReconError as error:
            refuse(str(error))
    if not found:
        raise ReconError(f"{data}: no scan can be used; {skipped[0] if skipped else 'the folder is empty'}")
    names = sorted({scan.subject for scan, _ in found})
    return [
        Patient(
            name,
            tuple(scan for scan, _ in found if scan.subject == name),
            tuple(source for scan, source in found if scan.subject == name),
        )
        for name in names
    ], skipped


def merge_persons(patients: Sequence[Patient], pairs: Sequence[tuple[str, str]]) -> list[Patient]:
    """Patients of whom ``pairs`` say that they are one person become one, so that no split parts them."""
    owner = {patient.name: patient.name for patient in patients}

    def root(name: str) -> str:
        while owner[name] != name:
            name = owner[name]
        return name

    for first, second in pairs:
        low, high = sorted((root(first), root(second)))
        owner[high] = low
    groups: dict[str, list[Patient]] = {}
    for patient in patients:
        groups.setdefault(root(patient.name), []).append(patient)
    return [
        Patient(name, tuple(s for p in members for s in p.scans), tuple(r for p in members for r in p.raw))
        for name, members in sorted(groups.items())
    ]


def split_folds(patients: Sequence[Patient], folds: int, seed: int) -> list[tuple[list[Patient], list[Patient]]]:
    """``(training, held out)`` patients of each fold. One fold holds out a quarter, at least two where
    three patients are there; more folds hold out every patient exactly once. No patient is on both sides."""
    order = numpy_generator(seed, "folds").permutation(len(patients))
    quarter = max(min(2, len(order) - 1), round(len(order) / 4))
    parts = [order[i::folds] for i in range(folds)] if folds > 1 else [order[:quarter]]
    splits = []
    for part in parts:
        held = {int(i) for i in part}
        splits.append(
            ([p for i, p in enumerate(patients) if i not in held], [p for i, p in enumerate(patients) if i in held])
        )
    return splits


def scans_of(patients: Sequence[Patient]) -> list[PreparedScan]:
    """All prepared scans of some patients."""
    return [scan for patient in patients for scan in patient.scans]
