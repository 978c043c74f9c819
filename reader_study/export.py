"""From a frozen protocol and the images of both arms to sealed, blinded packages.

Everything is written into a hidden folder first, checked for blinding there, and renamed into place at the end:
a study folder holds a whole export or none. One case is in memory at a time.
"""

import base64
import csv
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader_study import audit_log
from reader_study.allocation import Presentation, allocate, new_seed, secret_bytes, secret_generator
from reader_study.blind_check import BlindCheck, Pair, check_pairs
from reader_study.dicom_writer import series_datasets, stamp
from reader_study.naming import ImageNames, draw_names
from reader_study.pixels import Prepared, prepare
from reader_study.protocol import Protocol
from reader_study.seal import WORK_FACTOR, Key, check_passphrase, seal_key
from reader_study.sheet import Expected, Package
from reader_study.signing import new_signing_key
from reader_study.sources import Source, find_sources
from reader_study.study import KEY, LOG, Study, open_study, package_mapping
from reader_study.volumes import read_mask, read_volume
from recon.errors import ReconError

PACKAGE_FORMAT = "recon-reader-package-1"
MANIFEST = "manifest.json"
_FOLDERS = ("packages", "dicom", "worklists")
_VIEWER_FILES = ("start.html", "viewer.css", "image.js", "pane.js", "form.js", "store.js", "viewer.js")

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
    folders = {(row.reader, row.session): _package_name(row) for row in rows}
    for name in folders.values():
        (building / "packages" / name / "images").mkdir(parents=True)
    files = _file_names(rows, seed)
    hashes: dict[str, str] = {}
    by_case: dict[str, list[ImageNames]] = {}
    for entry in names:
        by_case.setdefault(entry.record.case, []).append(entry)
    pixel_hashes: dict[str, str] = {}
    for case in progress(list(by_case)):
        prepared = _prepare_case(case, sources[case], protocol, seed, pixel_hashes)
        for entry in by_case[case]:
            _write_series(building / "dicom" / entry.record.id, entry, prepared, protocol, seed, hashes)
            if entry.record.copy == 1:
                targets = [
                    building / "packages" / folders[row.reader, row.session] / "images" / f"{files[row.id, side]}.js"
                    for row in rows
                    for side, arm in enumerate(row.arms)
                    if (row.case, arm) == (case, entry.record.arm)
                ]
                _write_viewer_image(targets, entry.record.arm, prepared, building, hashes)
    key = Key(
        study=protocol.hash,
        seed=seed,
        salt=secrets.token_hex(32),
        presentations=tuple(rows),
        images=tuple(entry.record for entry in names),
    )
    packages = _write_packages(study, building, rows, folders, files, key.commitment, hashes)
    _write_worklists(building / "worklists", rows, folders, key)
    manifest = {name: value for name, value in hashes.items() if name.startswith("dicom/")}
    _write_text(building / "dicom" / MANIFEST, json.dumps(manifest, indent=0, sort_keys=True))
    dicom_manifest = hashlib.sha256((building / "dicom" / MANIFEST).read_bytes()).hexdigest()
    for path in sorted(building.rglob("*"), reverse=True):
        stamp(path)
    check = check_pairs(dicom_pairs(building, protocol, key), progress)
    viewer_check = check_pairs(_viewer_pairs(building, rows, folders, files, protocol))
    if not (check.passed and viewer_check.passed):
        details = {"check": check.as_mapping(), "viewer_check": viewer_check.as_mapping()}
        entry = audit_log.append(study.folder / LOG, "export-refused", details)
        return Export(check, viewer_check, (), 0, "", entry.hash)
    try:
        sealed = seal_key(study.folder / KEY, key, passphrase, work_factor)
        for name in _FOLDERS:
            os.replace(building / name, study.folder / name)
        details = {
            "version": study.version,
            "study": protocol.hash,
            "sealed_key_sha256": sealed,
            "commitment": key.commitment,
            "dicom_manifest_sha256": dicom_manifest,
            "packages": [package_mapping(package) for package in packages],
            # Counts only: which case differs in what could tell something before the key is opened.
            "check": {"passed": True, "pairs": check.pairs, "warnings": len(check.findings)},
        }
        entry = audit_log.append(study.folder / LOG, "export", details)
    except BaseException:
        (study.folder / KEY).unlink(missing_ok=True)
        for name in _FOLDERS:
            shutil.rmtree(study.folder / name, ignore_errors=True)
        raise
    return Export(check, viewer_check, tuple(packages), len(names), key.commitment, entry.hash)


def _prepare_case(case: str, source: Source, protocol: Protocol, seed: str, pixel_hashes: dict[str, str]) -> Prepared:
    volumes = {arm: read_volume(path, f"case {case}, arm '{arm}'") for arm, path in source.images.items()}
    for arm, volume in volumes.items():
        mark = hashlib.sha256(np.ascontiguousarray(volume.pixels).data).hexdigest()
        if mark in pixel_hashes and pixel_hashes[mark] != case:
            raise ReconError(
                f"case {case}, arm '{arm}': the same pixels as case {pixel_hashes[mark]}; a case stands twice"
            )
        pixel_hashes[mark] = case
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
        hashes[f"dicom/{folder.name}/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()


def _write_viewer_image(
    targets: list[Path], arm: str, prepared: Prepared, building: Path, hashes: dict[str, str]
) -> None:
    """One script for one image; every further presentation of it is a hard link, or a copy where links do not work.

    The script does not hold its own name, so that all its presentations share one content.
    """
    pixels: NDArray[np.uint16] = prepared.pixels[arm]
    facts = {"shape": list(pixels.shape), "spacing": list(prepared.spacing), "window": list(prepared.window)}
    head = f"reconImage({json.dumps(facts)},\n".encode()
    content = head + b'"' + base64.b64encode(pixels.astype("<u2").tobytes()) + b'");\n'
    mark = hashlib.sha256(content).hexdigest()
    targets[0].write_bytes(content)
    for target in targets[1:]:
        try:
            os.link(targets[0], target)
        except OSError:
            target.write_bytes(content)
    for target in targets:
        hashes[target.relative_to(building).as_posix()] = mark


def _write_packages(
    study: Study,
    building: Path,
    rows: list[Presentation],
    folders: dict[tuple[str, int], str],
    files: dict[tuple[str, int], str],
    commitment: str,
    hashes: dict[str, str],
) -> list[Package]:
    packages = []
    viewer = resources.files("reader_study") / "viewer"
    for (reader, session), name in folders.items():
        folder = building / "packages" / name
        mine = [row for row in rows if (row.reader, row.session) == (reader, session)]
        identifier = secrets.token_hex(8)
        private, public = new_signing_key()
        shown = [
            {
                "id": row.id,
                "order": row.order,
                "training": row.kind == "training",
                "guess": row.guess,
                "images": [files[row.id, side] for side in range(len(row.arms))],
            }
            for row in mine
        ]
        content = {
            "format": PACKAGE_FORMAT,
            "study": study.protocol.hash,
            "package": identifier,
            "reader": reader,
            "session": session,
            "signing_key": private,
            "commitment": commitment,
            "log_head": study.head,
            **_public_protocol(study.protocol),
            "presentations": shown,
        }
        _write_text(folder / "package.js", f"reconPackage({json.dumps(content, ensure_ascii=True)});\n")
        for file in _VIEWER_FILES:
            _write_text(folder / file, (viewer / file).read_text(encoding="utf-8"))
        prefix = f"packages/{name}/"
        manifest = {key[len(prefix) :]: value for key, value in hashes.items() if key.startswith(prefix)}
        for file in ("package.js", *_VIEWER_FILES):
            manifest[file] = hashlib.sha256((folder / file).read_bytes()).hexdigest()
        _write_text(folder / MANIFEST, json.dumps(manifest, indent=0, sort_keys=True))
        packages.append(
            Package(
                id=identifier,
                reader=reader,
                session=session,
                folder=f"packages/{name}",
                public_key=public,
                manifest_sha256=hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest(),
                presentations=tuple(Expected(row.id, row.order, row.kind == "training", row.guess) for row in mine),
            )
        )
    return packages


def _public_protocol(protocol: Protocol) -> dict[str, Any]:
    """What the viewer may know: no arms, no cases, no hypothesis."""
    return {
        "title": protocol.title,
        "mode": protocol.mode,
        "sessions": protocol.sessions.count,
        "washout_weeks": protocol.sessions.washout_weeks,
        "items": [
            {**asdict(item), "scores": list(protocol.allowed(item.id)) if not item.scale else list(item.scale)}
            for item in protocol.items
        ],
        "viewing": asdict(protocol.viewing),
        "guess": asdict(protocol.guess),
        "instructions": protocol.instructions,
    }


def _write_worklists(folder: Path, rows: list[Presentation], folders: dict[tuple[str, int], str], key: Key) -> None:
    """Reading orders for a DICOM viewer: which patient ID to open as A (and B), presentation by presentation."""
    patients = {(image.case, image.arm, image.copy): image.patient_id for image in key.images}
    folder.mkdir()
    for (reader, session), name in folders.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["order", "presentation", "training", "patient_id_a", "patient_id_b"])
            for row in rows:
                if (row.reader, row.session) == (reader, session):
                    copy = 2 if row.kind == "repeat" else 1
                    shown = [patients[row.case, arm, copy] for arm in row.arms]
                    training = str(row.kind == "training").lower()
                    table.writerow([row.order, row.id, training, *shown, *[""] * (2 - len(shown))])


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


def _viewer_pairs(
    building: Path,
    rows: list[Presentation],
    folders: dict[tuple[str, int], str],
    files: dict[tuple[str, int], str],
    protocol: Protocol,
) -> list[Pair]:
    """The first reader's image scripts of both arms, case by case."""
    found: dict[str, dict[str, Path]] = {}
    for row in rows:
        if row.reader == protocol.readers[0].id:
            for side, arm in enumerate(row.arms):
                package = building / "packages" / folders[row.reader, row.session]
                found.setdefault(row.case, {}).setdefault(arm, package / "images" / f"{files[row.id, side]}.js")
    return [Pair(case, (arms[protocol.reference],), (arms[protocol.new],)) for case, arms in found.items()]


def _file_names(rows: list[Presentation], seed: str) -> dict[tuple[str, int], str]:
    """Random names of the image scripts: (presentation, side) -> name."""
    sides = [(row.id, side) for row in rows for side in range(len(row.arms))]
    return {place: secret_bytes(seed, "file", counter, 8).hex() for counter, place in enumerate(sides)}


def _package_name(row: Presentation) -> str:
    return f"{row.reader}-session-{row.session}"


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
