"""From a frozen protocol and the images of all arms to sealed, blinded packages.

Everything is written into a hidden folder first, checked for blinding there, and renamed into place at the end:
a study folder holds a whole export or none. One case is in memory at a time.
"""

import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from reader_study import audit_log
from reader_study.allocation import allocate, new_seed, secret_bytes
from reader_study.blind_check import BlindCheck, Pair, check_pairs
from reader_study.case_subsets import achieved
from reader_study.dicom_writer import stamp
from reader_study.handed_out import exported
from reader_study.image_export import Draft, write_images
from reader_study.incomplete_blocks import Balance
from reader_study.lesion_truth import Lesions, freeze_lesions, read_masks
from reader_study.naming import draw_names, with_sequence
from reader_study.packages import ImageFiles, write_manifest, write_packages
from reader_study.protocol import Protocol
from reader_study.seal import WORK_FACTOR, ImageRecord, Key, check_passphrase, seal_key
from reader_study.sheet import Package
from reader_study.sources import find_sources, source_sha256, without_common_folder
from reader_study.study import KEY, LOG, open_study, package_mapping
from reader_study.worklists import write_worklists
from recon.errors import ReconError, system_reason
from recon.held_signals import HeldSignals
from recon.progress import Report, part_of, silent

_FOLDERS = ("packages", "dicom", "worklists")
# Names and orders are drawn anew where chance alone lets them tell the arms, as it does in one draw of twenty: a sound
# export is refused once in 20^5, three million.
_DRAWS = 5


@dataclass(frozen=True)
class Export:
    """What an export did. Nothing was kept when a check failed."""

    check: BlindCheck  # of the DICOM series
    viewer_check: BlindCheck  # of the viewer's image files
    packages: tuple[Package, ...]
    images: int
    commitment: str
    head: str  # the last hash of the log
    subsets: Balance | None = None  # of case subsets by reader

    @property
    def passed(self) -> bool:
        """Did both blind checks pass, so that the packages exist?"""
        return self.check.passed and self.viewer_check.passed


def export_study(
    folder: str | Path,
    images: str,
    passphrase: str,
    *,
    masks: str | None = None,
    lesions: str | None = None,
    seed: str | None = None,
    work_factor: int = WORK_FACTOR,
    report: Report = silent,
) -> Export:
    """Export a frozen study. ``images`` and ``masks``: see ``sources.find_sources``.

    ``lesions``: the pattern of the lesion masks of a study in which lesions are marked; see ``lesion_truth``.
    ``seed`` is drawn fresh unless a test gives one. Raises ReconError naming the case for a bad input; nothing is
    left behind then.
    """
    study = open_study(folder)
    check_passphrase(passphrase)
    if exported(study.entries) is not None:
        raise ReconError(f"{study.folder}: already exported; a new export needs a new study folder")
    for name in (*_FOLDERS, KEY):
        if (study.folder / name).exists():
            raise ReconError(
                f"{study.folder / name}: is there, but the log knows of no export; remove it (an export that was "
                "killed may have left it), then export again"
            )
    sources = find_sources(study.protocol, images, masks)
    known = _known_lesions(study.protocol, lesions)  # what is wrong with them is said before anything is written
    seed = seed or new_seed()
    for left_over in study.folder.glob(".export-*"):  # of an export that was killed
        shutil.rmtree(left_over, ignore_errors=True)
    # Each two arms may look told by chance, in each sequence.
    draws = _DRAWS * len(list(combinations(study.protocol.arms, 2))) * len(study.protocol.sequence_names)
    for attempt in range(draws):
        drawn = seed if attempt == 0 else secret_bytes(seed, "redraw", attempt, 32).hex()
        rows = allocate(study.protocol, drawn)
        names = draw_names(study.protocol, rows, {case: source.images for case, source in sources.items()}, drawn)
        try:
            building = Path(tempfile.mkdtemp(prefix=".export-", dir=study.folder))
        except OSError as error:
            raise ReconError(f"{study.folder}: cannot write here ({error.strerror})") from error
        try:
            draft = Draft(study, building, sources, rows, names, drawn, known)
            outcome = _build(draft, passphrase, work_factor, report)
        except OSError as error:
            raise ReconError(f"{study.folder}: the export failed ({system_reason(error)}); free some space") from error
        finally:
            shutil.rmtree(building, ignore_errors=True)
        if outcome.passed or not (outcome.check.by_chance and outcome.viewer_check.by_chance):
            break
    if not outcome.passed:
        found = {"check": outcome.check.as_mapping(), "viewer_check": outcome.viewer_check.as_mapping()}
        return replace(outcome, head=audit_log.append(study.folder / LOG, "export-refused", found).hash)
    return outcome


def _known_lesions(protocol: Protocol, lesions: str | None) -> dict[str, Lesions] | None:
    if lesions is not None:
        return read_masks(protocol, lesions)
    if protocol.localisation is not None:
        raise ReconError(
            "readers will mark lesions; name the masks of the lesions that are there with --lesions "
            "'masks/{case}.nii.gz': they are frozen by their hashes before anybody reads"
        )
    return None


def _build(draft: Draft, passphrase: str, work_factor: int, report: Report) -> Export:
    """Write and check the draft, seal the key, and rename everything into place; nothing of it where a check fails."""
    protocol, building = draft.protocol, draft.folder
    files = ImageFiles(building, draft.rows, draft.seed, protocol.sequence_names)
    hashes = write_images(draft, files, part_of(report, 0, 0.7))
    truth = {}
    if draft.lesions is not None:
        grids = {place: (affine, files.shapes[place]) for place, affine in files.affines.items()}
        truth = {"lesions": freeze_lesions(protocol, draft.lesions, grids)}
    read_from = without_common_folder(entry.record.source for entry in draft.names)
    records = tuple(
        replace(_record(entry.record, files), source=read_from[entry.record.source]) for entry in draft.names
    )
    key = Key(protocol.hash, draft.seed, secrets.token_hex(32), tuple(draft.rows), records)
    packages = write_packages(draft.study, files, key.commitment, hashes)
    worklists = write_worklists(building, packages, key)
    manifest = {name: value for name, value in hashes.items() if name.startswith("dicom/")}
    mark = write_manifest(building / "dicom", manifest)
    for path in sorted(building.rglob("*"), reverse=True):
        stamp(path)
    check = check_pairs(dicom_pairs(building, protocol, key), part_of(report, 0.7, 1))
    viewer_check = check_pairs(files.pairs(protocol))
    if not (check.passed and viewer_check.passed):
        return Export(check, viewer_check, (), 0, "", draft.study.head)
    details: dict[str, Any] = {
        "version": draft.study.version,
        "study": protocol.hash,
        "commitment": key.commitment,
        "dicom_manifest_sha256": mark,
        "packages": [package_mapping(package) for package in packages],
        "worklists": worklists,
        # Counts only: which case differs in what could tell something before the key is opened.
        "check": {"passed": True, "pairs": check.pairs, "warnings": len(check.findings)},
        **truth,
    }
    head = _keep(draft, key, passphrase, work_factor, details)
    subsets = None
    if protocol.readers_per_case is not None:
        subsets = achieved(protocol, ((row.reader, row.case) for row in draft.rows))
    return Export(check, viewer_check, tuple(packages), len(draft.names), key.commitment, head, subsets)


def _record(record: ImageRecord, files: ImageFiles) -> ImageRecord:
    """With the hash of its source and, where lesions are marked, its place in space."""
    affine = files.affines.get((record.case, record.sequence))
    rows = () if affine is None else tuple(float(value) for value in np.round(affine[:3], 9).ravel())
    return replace(record, source_sha256=source_sha256(record.source), affine=rows)


def _keep(draft: Draft, key: Key, passphrase: str, work_factor: int, details: dict[str, Any]) -> str:
    """Seal the key, rename the folders into place and log it; gives the log's new head. All or nothing."""
    folder = draft.study.folder
    with HeldSignals():  # between the log's line and its return a signal would leave a line without packages
        try:
            details["sealed_key_sha256"] = seal_key(folder / KEY, key, passphrase, work_factor)
            for name in _FOLDERS:
                os.replace(draft.folder / name, folder / name)
            return audit_log.append(folder / LOG, "export", details).hash
        except BaseException:
            (folder / KEY).unlink(missing_ok=True)
            for name in _FOLDERS:
                shutil.rmtree(folder / name, ignore_errors=True)
            raise


def dicom_pairs(folder: Path, protocol: Protocol, key: Key) -> list[Pair]:
    """The pairs of DICOM series of an export, those of each two arms in each sequence; needs the opened key."""
    by_image = {(image.case, image.arm, image.copy, image.sequence): image.id for image in key.images}

    def files(case: str, arm: str, copy: int, sequence: str) -> tuple[Path, ...]:
        return tuple(sorted((folder / "dicom" / by_image[case, arm, copy, sequence]).glob("*.dcm")))

    return [
        Pair(
            with_sequence(f"case {case}", sequence),
            files(case, first, copy, sequence),
            files(case, second, copy, sequence),
            (first, second),
            sequence,
        )
        for first, second in combinations(protocol.arm_names, 2)
        for case, arm, copy, sequence in by_image
        if arm == first
    ]
