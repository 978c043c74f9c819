"""The random names under which images leave: folder names, patient IDs and UIDs, and the order of writing.

All come from the secret seed by a counter over a shuffled list, never from an arm or a case. A draw whose names would
let the blind check's classifier guess the arms by luck (one draw in twenty) is thrown away for the next one; the
condition treats both arms alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from reader_study.allocation import Presentation, secret_bytes, secret_generator
from reader_study.blind_check import LEVEL, name_signs, predict
from reader_study.dicom_writer import random_uid
from reader_study.protocol import Protocol
from reader_study.seal import ImageRecord
from recon.errors import ReconError

_Sources = Mapping[str, Mapping[tuple[str, str], Path]]  # case -> (arm, sequence) -> file


@dataclass(frozen=True)
class ImageNames:
    """An image's record for the key, and the names that follow from its counter."""

    record: ImageRecord
    frame_uid: str
    stream: str  # of the instance UIDs

    def instance_uid(self, seed: str, index: int) -> str:
        """The SOP Instance UID of slice ``index``."""
        return random_uid(secret_bytes(seed, self.stream, index))


def with_sequence(text: str, sequence: str) -> str:
    """What messages call a series: ``text`` names case or arm; ``sequence`` is "" where a case is one series."""
    return f"{text}, {sequence}" if sequence else text


def draw_names(protocol: Protocol, presentations: list[Presentation], sources: _Sources, seed: str) -> list[ImageNames]:
    """The images in the order in which they are to be written; the arms of a case follow each other, each in its
    sequences. Cases of ``repeat`` presentations get a second copy under other names.
    """
    repeated = {row.case for row in presentations if row.kind == "repeat"}
    for attempt in range(100):
        names = _draw(protocol, sorted(sources), repeated, sources, seed, attempt)
        if _lucky_guess(protocol, names, seed) > LEVEL:
            return names
    raise ReconError("no draw of random names passed the blind check; run the export again")


def _draw(
    protocol: Protocol,
    cases: list[str],
    repeated: set[str],
    sources: _Sources,
    seed: str,
    attempt: int,
) -> list[ImageNames]:
    rng = secret_generator(seed, "names", attempt)
    names: list[ImageNames] = []
    for case in rng.permutation(cases).tolist():
        for copy in (1, 2) if case in repeated else (1,):
            for arm in rng.permutation(protocol.arm_names).tolist():
                shared = attempt * 1_000_000 + len(names)  # the sequences of a presentation are one study
                frame = random_uid(secret_bytes(seed, "frame", shared))
                for sequence in protocol.sequence_names:
                    counter = attempt * 1_000_000 + len(names)
                    record = ImageRecord(
                        id=secret_bytes(seed, "image", counter, 8).hex(),
                        case=case,
                        arm=arm,
                        copy=copy,
                        source=str(sources[case][arm, sequence]),
                        patient_id=secret_bytes(seed, "patient", shared, 8).hex(),
                        study_uid=random_uid(secret_bytes(seed, "study", shared)),
                        series_uid=random_uid(secret_bytes(seed, "series", counter)),
                        sequence=sequence,
                    )
                    names.append(ImageNames(record, frame, f"instance/{counter}"))
    return names


def _lucky_guess(protocol: Protocol, names: list[ImageNames], seed: str) -> float:
    """The p-value that the blind check would find for these names, the least over the pairs of arms and sequences."""
    return min(
        predict(_signs(names, pair, sequence, seed))[2]
        for pair in combinations(protocol.arm_names, 2)
        for sequence in protocol.sequence_names
    )


def _signs(names: list[ImageNames], pair: tuple[str, str], sequence: str, seed: str) -> list[dict[str, int]]:
    """How the names of two arms compare in one sequence, case by case."""
    by_image = {
        (entry.record.case, entry.record.arm, entry.record.copy): index
        for index, entry in enumerate(names)
        if entry.record.sequence == sequence
    }
    signs = []
    for (case, arm, copy), first in by_image.items():
        if arm != pair[0]:
            continue
        second = by_image[case, pair[1], copy]
        texts = [_texts(names[index], seed) for index in (first, second)]
        # Files are stamped in the order of their names at the end, which is what their change time shows.
        compared = {
            "order on disk (inode)": 1 if first > second else -1,
            "change time order": 1 if names[first].record.id < names[second].record.id else -1,
        }
        for attribute, text in texts[0].items():
            compared.update(name_signs(attribute, text, texts[1][attribute]))
        signs.append(compared)
    return signs


def _texts(entry: ImageNames, seed: str) -> dict[str, str]:
    record, first = entry.record, entry.instance_uid(seed, 0)
    return {
        "series name": record.id,
        "PatientID": record.patient_id,
        "PatientName": f"Blinded^{record.patient_id}",
        "StudyInstanceUID": record.study_uid,
        "SeriesInstanceUID": record.series_uid,
        "FrameOfReferenceUID": entry.frame_uid,
        "SOPInstanceUID": first,
        "MediaStorageSOPInstanceUID": first,
    }
