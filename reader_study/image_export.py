"""The images of an export: every case on one grey scale, as DICOM series and as scripts of the viewer."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reader_study.allocation import Presentation, secret_generator
from reader_study.canonical import digest
from reader_study.dicom_writer import SeriesGeometry, SeriesIdentity, series_datasets
from reader_study.naming import ImageNames
from reader_study.packages import ImageFiles, package_name, write_viewer_image
from reader_study.pair_identity import PairIdentity
from reader_study.pixels import CaseImages, check_arms, prepare
from reader_study.protocol import Protocol
from reader_study.sources import CaseFiles
from reader_study.study import Study
from reader_study.volumes import read_mask, read_volume
from recon.digest import file_sha256
from recon.errors import ReconError
from recon.progress import Report


@dataclass(frozen=True)
class Draft:
    """An export while it is made: who sees what under which names, and the hidden folder it grows in."""

    study: Study
    folder: Path  # renamed into place at the end
    sources: Mapping[str, CaseFiles]  # case -> files
    rows: list[Presentation]
    names: list[ImageNames]
    seed: str

    @property
    def protocol(self) -> Protocol:
        """The frozen protocol."""
        return self.study.protocol


def write_images(draft: Draft, files: ImageFiles, report: Report) -> dict[str, str]:
    """All DICOM series and image scripts, case by case; gives the SHA-256 of every file under its relative name."""
    for row in files.rows:
        (draft.folder / "packages" / package_name(row) / "images").mkdir(parents=True, exist_ok=True)
    by_case: dict[str, list[ImageNames]] = {}
    for entry in draft.names:
        by_case.setdefault(entry.record.case, []).append(entry)
    hashes: dict[str, str] = {}
    seen: dict[str, str] = {}
    identity = {arm: PairIdentity() for arm in draft.protocol.compared}
    for index, (case, entries) in enumerate(by_case.items()):
        report("images", index / len(by_case))
        images = _case_images(draft, case, seen, identity)
        slices, rows, columns = next(iter(images.pixels.values())).shape
        files.shapes[case] = (slices, rows, columns)
        for entry in entries:
            own = _write_series(draft, entry, images)
            hashes |= {f"dicom/{entry.record.id}/{name}": mark for name, mark in own.items()}
            files.series[case, entry.record.arm, entry.record.copy] = digest(own)
            if entry.record.copy == 1:
                arm = entry.record.arm
                shown = write_viewer_image(files.of(case, arm), arm, images, draft.folder, hashes)
                files.digests[case, arm] = shown
    for pair in identity.values():
        pair.check()
    return hashes


def _case_images(draft: Draft, case: str, seen: dict[str, str], identity: Mapping[str, PairIdentity]) -> CaseImages:
    """All arms of a case; ``seen`` remembers the pixels of the cases before."""
    source, protocol = draft.sources[case], draft.protocol
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
    rng = secret_generator(draft.seed, "dither", counter)
    check_arms(volumes, f"case {case}")
    for arm, pair in identity.items():
        pair.add(case, volumes[protocol.reference].pixels, volumes[arm].pixels)
    return prepare(volumes, f"case {case}", protocol.viewing.intensity, rng, removed)


def _write_series(draft: Draft, entry: ImageNames, images: CaseImages) -> dict[str, str]:
    """Write one series; gives file name -> SHA-256."""
    folder = draft.folder / "dicom" / entry.record.id
    folder.mkdir(parents=True)
    pixels = images.pixels[entry.record.arm]
    geometry = SeriesGeometry(images.spacing, images.plane, images.window, draft.protocol.viewing.body_part)
    identity = SeriesIdentity(
        patient_id=entry.record.patient_id,
        study_uid=entry.record.study_uid,
        series_uid=entry.record.series_uid,
        frame_uid=entry.frame_uid,
        instance_uids=tuple(entry.instance_uid(draft.seed, index) for index in range(len(pixels))),
    )
    hashes: dict[str, str] = {}
    for index, dataset in enumerate(series_datasets(pixels, geometry, identity), start=1):
        path = folder / f"{index:04d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        hashes[path.name] = file_sha256(path)
    return hashes
