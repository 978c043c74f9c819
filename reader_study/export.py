"""From a frozen protocol and the images of both arms to sealed, blinded packages.

Everything is written into a hidden folder first, checked for blinding there, and renamed into place at the end:
a study folder holds a whole export or none. One case is in memory at a time.
"""

import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reader_study import audit_log
from reader_study.allocation import Presentation, allocate, new_seed, secret_generator
from reader_study.blind_check import BlindCheck, Pair, check_pairs
from reader_study.dicom_writer import series_datasets, stamp
from reader_study.naming import ImageNames, draw_names
from reader_study.packages import (
    MANIFEST,
    ImageFiles,
    package_name,
    write_packages,
    write_text,
    write_viewer_image,
    write_worklists,
)
from reader_study.pixels import Prepared, prepare
from reader_study.protocol import Protocol
from reader_study.seal import WORK_FACTOR, Key, check_passphrase, seal_key
from reader_study.sheet import Package
from reader_study.sources import Source, find_sources
from reader_study.study import KEY, LOG, Study, open_study, package_mapping
from reader_study.volumes import read_mask, read_volume
from recon.digest import file_sha256
from recon.errors import ReconError

_FOLDERS = ("packages", "dicom", "worklists")

Progress = Callable[[Sequence[Any]], Iterable[Any]]


@dataclass(frozen=True)
class Export:
    """What an export did. Nothing was kept when a check failed."""

    check: BlindCheck  # of the DICOM series
    viewer_check: BlindCheck  # of the viewer's image files
    packages: tuple[Package, ...]
    images: int
    commitment: str
    head: str  # the last hash of the log

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
    seed: str | None = None,
    work_factor: int = WORK_FACTOR,
    progress: Progress = lambda items: items,
) -> Export:
    """Export a frozen study. ``images`` and ``masks``: see ``sources.find_sources``.

    ``seed`` is drawn fresh unless a test gives one. Raises ReconError naming the case for a bad input; nothing is
    left behind then.
    """
    study = open_study(folder)
    check_passphrase(passphrase)
    for name in (*_FOLDERS, KEY):
        if (study.folder / name).exists():
            raise ReconError(f"{study.folder / name}: already exported; a new export needs a new study folder")
    sources = find_sources(study.protocol, images, masks)
    seed = seed or new_seed()
    rows = allocate(study.protocol, seed)
    names = draw_names(study.protocol, rows, {case: source.images for case, source in sources.items()}, seed)
    for left_over in study.folder.glob(".export-*"):  # of an export that was killed
        shutil.rmtree(left_over, ignore_errors=True)
    try:
        building = Path(tempfile.mkdtemp(prefix=".export-", dir=study.folder))
    except OSError as error:
        raise ReconError(f"{study.folder}: cannot write here ({error.strerror})") from error
    try:
        return _build(study, building, sources, rows, names, seed, passphrase, work_factor, progress)
    except OSError as error:
        raise ReconError(f"{study.folder}: the export failed ({error.strerror or error}); free some space") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _build(
    study: Study,
    building: Path,
    sources: dict[str, Source],
    rows: list[Presentation],
    names: list[ImageNames],
    seed: str,
    passphrase: str,
    work_factor: int,
    progress: Progress,
) -> Export:
    protocol = study.protocol
    files = ImageFiles(building, rows, seed)
    hashes = _write_images(building, protocol, sources, names, files, seed, progress)
    records = tuple(entry.record for entry in names)
    key = Key(protocol.hash, seed, secrets.token_hex(32), tuple(rows), records)
    packages = write_packages(study, files, key.commitment, hashes)
    write_worklists(building / "worklists", key)
    manifest = {name: value for name, value in hashes.items() if name.startswith("dicom/")}
    write_text(building / "dicom" / MANIFEST, json.dumps(manifest, indent=0, sort_keys=True))
    dicom_manifest = file_sha256(building / "dicom" / MANIFEST)
    for path in sorted(building.rglob("*"), reverse=True):
        stamp(path)
    check = check_pairs(dicom_pairs(building, protocol, key), progress)
    viewer_check = check_pairs(files.pairs(protocol))
    if not (check.passed and viewer_check.passed):
        found = {"check": check.as_mapping(), "viewer_check": viewer_check.as_mapping()}
        refused = audit_log.append(study.folder / LOG, "export-refused", found)
        return Export(check, viewer_check, (), 0, "", refused.hash)
    try:
        sealed = seal_key(study.folder / KEY, key, passphrase, work_factor)
        for name in _FOLDERS:
            os.replace(building / name, study.folder / name)
        details: dict[str, Any] = {
            "version": study.version,
            "study": protocol.hash,
            "sealed_key_sha256": sealed,
            "commitment": key.commitment,
            "dicom_manifest_sha256": dicom_manifest,
            "packages": [package_mapping(package) for package in packages],
            # Counts only: which case differs in what could tell something before the key is opened.
            "check": {"passed": True, "pairs": check.pairs, "warnings": len(check.findings)},
        }
        done = audit_log.append(study.folder / LOG, "export", details)
    except BaseException:
        (study.folder / KEY).unlink(missing_ok=True)
        for name in _FOLDERS:
            shutil.rmtree(study.folder / name, ignore_errors=True)
        raise
    return Export(check, viewer_check, tuple(packages), len(names), key.commitment, done.hash)


def _write_images(
    building: Path,
    protocol: Protocol,
    sources: dict[str, Source],
    names: list[ImageNames],
    files: ImageFiles,
    seed: str,
    progress: Progress,
) -> dict[str, str]:
    """All DICOM series and image scripts, case by case; gives the SHA-256 of every file under its relative name."""
    for row in files.rows:
        (building / "packages" / package_name(row) / "images").mkdir(parents=True, exist_ok=True)
    by_case: dict[str, list[ImageNames]] = {}
    for entry in names:
        by_case.setdefault(entry.record.case, []).append(entry)
    hashes: dict[str, str] = {}
    seen: dict[str, str] = {}
    for case in progress(list(by_case)):
        prepared = _prepare_case(case, sources[case], protocol, seed, seen)
        for entry in by_case[case]:
            _write_series(building / "dicom" / entry.record.id, entry, prepared, protocol, seed, hashes)
            if entry.record.copy == 1:
                targets = files.of(case, entry.record.arm)
                write_viewer_image(targets, entry.record.arm, prepared, building, hashes)
    return hashes


def _prepare_case(case: str, source: Source, protocol: Protocol, seed: str, seen: dict[str, str]) -> Prepared:
    volumes = {arm: read_volume(path, f"case {case}, arm '{arm}'") for arm, path in source.images.items()}
    for arm, volume in volumes.items():
        mark = hashlib.sha256(np.ascontiguousarray(volume.pixels).data).hexdigest()
        if mark in seen and seen[mark] != case:
            raise ReconError(f"case {case}, arm '{arm}': the same pixels as case {seen[mark]}; a case stands twice")
        seen[mark] = case
    removed = None
    if source.mask is not None:
        removed = read_mask(source.mask, next(iter(volumes.values())), f"case {case}")
    counter = [*protocol.case_ids, *protocol.training_cases].index(case)
    rng = secret_generator(seed, "dither", counter)
    return prepare(volumes, f"case {case}", protocol.viewing.intensity, rng, removed)


def _write_series(
    folder: Path, entry: ImageNames, prepared: Prepared, protocol: Protocol, seed: str, hashes: dict[str, str]
) -> None:
    folder.mkdir(parents=True)
    pixels = prepared.pixels[entry.record.arm]
    datasets = series_datasets(
        pixels,
        spacing=prepared.spacing,
        plane=prepared.plane,
        window=prepared.window,
        body_part=protocol.viewing.body_part,
        patient_id=entry.record.patient_id,
        study_uid=entry.record.study_uid,
        series_uid=entry.record.series_uid,
        frame_uid=entry.frame_uid,
        instance_uids=[entry.instance_uid(seed, index) for index in range(len(pixels))],
    )
    for index, dataset in enumerate(datasets, start=1):
        path = folder / f"{index:04d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        hashes[f"dicom/{folder.name}/{path.name}"] = file_sha256(path)


def dicom_pairs(folder: Path, protocol: Protocol, key: Key) -> list[Pair]:
    """The pairs of DICOM series of an export, reference first; needs the opened key."""
    by_image = {(image.case, image.arm, image.copy): image.id for image in key.images}

    def files(case: str, arm: str, copy: int) -> tuple[Path, ...]:
        return tuple(sorted((folder / "dicom" / by_image[case, arm, copy]).glob("*.dcm")))

    return [
        Pair(f"case {case}", files(case, protocol.reference, copy), files(case, protocol.new, copy))
        for case, arm, copy in by_image
        if arm == protocol.reference
    ]
