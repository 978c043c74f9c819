"""The images of an export: every case on one grey scale, as DICOM series and as scripts of the viewer."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from reader_study.allocation import Presentation, secret_generator
from reader_study.canonical import digest
from reader_study.dicom_writer import SeriesGeometry, SeriesIdentity, series_datasets
from reader_study.geometry import check_arms_in_place, positions
from reader_study.lesion_truth import Lesions
from reader_study.naming import ImageNames, with_sequence
from reader_study.packages import ImageFiles, package_name, write_viewer_image
from reader_study.pair_identity import PairIdentity
from reader_study.pixels import CaseImages, check_arms, prepare
from reader_study.protocol import Protocol
from reader_study.sources import CaseFiles
from reader_study.study import Study
from reader_study.volumes import DisplayVolume, read_mask, read_volume
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
    lesions: Mapping[str, Lesions] | None = None  # by case, of what readers will mark

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
    protocol = draft.protocol
    differing = [name for name in protocol.sequence_names if not protocol.same_in_all_arms(name)]
    identity = {(arm, name): PairIdentity() for arm in protocol.compared for name in differing}
    for index, (case, entries) in enumerate(by_case.items()):
        report("images", index / len(by_case))
        by_sequence = _case_images(draft, case, seen, identity, files)
        for name, images in by_sequence.items():
            slices, rows, columns = next(iter(images.pixels.values())).shape
            files.shapes[case, name] = (slices, rows, columns)
        for entry in entries:
            images = by_sequence[entry.record.sequence]
            own = _write_series(draft, entry, images)
            hashes |= {f"dicom/{entry.record.id}/{name}": mark for name, mark in own.items()}
            files.series[case, entry.record.arm, entry.record.sequence, entry.record.copy] = digest(own)
            if entry.record.copy == 1:
                place = (case, entry.record.arm, entry.record.sequence)
                shown = write_viewer_image(files.of(*place), entry.record.arm, images, draft.folder, hashes)
                files.digests[place] = shown
    for pair in identity.values():
        pair.check()
    return hashes


def _case_images(
    draft: Draft, case: str, seen: dict[str, str], identity: Mapping[tuple[str, str], PairIdentity], files: ImageFiles
) -> dict[str, CaseImages]:
    """All arms of a case by sequence; ``seen`` remembers the pixels of the cases before."""
    source, protocol = draft.sources[case], draft.protocol
    places: dict[str, DisplayVolume] = {}
    found: dict[str, CaseImages] = {}
    cases = [*protocol.case_ids, *protocol.training_cases]
    for number, name in enumerate(protocol.sequence_names):
        where = with_sequence(f"case {case}", name)
        shared = protocol.same_in_all_arms(name)
        arms = (protocol.reference,) if shared else protocol.arm_names
        volumes = {
            arm: read_volume(source.images[arm, name], with_sequence(f"case {case}, arm '{arm}'", name)) for arm in arms
        }
        for arm, volume in volumes.items():
            _refuse_seen(volume, seen, with_sequence(case, name), with_sequence(f"case {case}, arm '{arm}'", name))
        reference = volumes[protocol.reference]
        removed = read_mask(source.masks[name], reference, where) if name in source.masks else None
        rng = secret_generator(draft.seed, "dither", number * len(cases) + cases.index(case))
        check_arms(volumes, where)
        if name or protocol.localisation is not None:
            check_arms_in_place(volumes, where)
        if protocol.localisation is not None:
            if reference.affine is None:
                raise ReconError(f"{where}: the images do not say where they lie, so that no mark has a place in space")
            files.affines[case, name] = reference.affine
        for (arm, sequence), pair in identity.items():
            if sequence == name:
                pair.add(with_sequence(case, name), reference.pixels, volumes[arm].pixels)
        images = prepare(volumes, where, protocol.viewing.intensity, rng, removed)
        if shared:
            images = replace(images, pixels=dict.fromkeys(protocol.arm_names, images.pixels[protocol.reference]))
        found[name], places[name] = (
            images,
            replace(reference, pixels=np.broadcast_to(np.float32(0), reference.pixels.shape)),
        )
    if not protocol.sequences:
        return found
    lying = positions(places, f"case {case}")
    return {name: replace(images, position=lying[name]) for name, images in found.items()}


def _refuse_seen(volume: DisplayVolume, seen: dict[str, str], owner: str, where: str) -> None:
    """Raises ReconError for pixels of another case, or of another sequence of this one."""
    mark = hashlib.sha256(np.ascontiguousarray(volume.pixels).data).hexdigest()
    if mark in seen and seen[mark] != owner:
        raise ReconError(f"{where}: the same pixels as case {seen[mark]}; a case stands twice")
    seen[mark] = owner


def _write_series(draft: Draft, entry: ImageNames, images: CaseImages) -> dict[str, str]:
    """Write one series; gives file name -> SHA-256."""
    folder = draft.folder / "dicom" / entry.record.id
    folder.mkdir(parents=True)
    pixels = images.pixels[entry.record.arm]
    body_part = draft.protocol.viewing.body_part
    geometry = SeriesGeometry(images.spacing, images.plane, images.window, body_part, images.position)
    identity = SeriesIdentity(
        patient_id=entry.record.patient_id,
        study_uid=entry.record.study_uid,
        series_uid=entry.record.series_uid,
        frame_uid=entry.frame_uid,
        instance_uids=tuple(entry.instance_uid(draft.seed, index) for index in range(len(pixels))),
        number=draft.protocol.sequence_names.index(entry.record.sequence) + 1,
        description=entry.record.sequence,
    )
    hashes: dict[str, str] = {}
    for index, dataset in enumerate(series_datasets(pixels, geometry, identity), start=1):
        path = folder / f"{index:04d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        hashes[path.name] = file_sha256(path)
    return hashes
