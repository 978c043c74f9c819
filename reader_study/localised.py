"""Marks of readers against the lesions that are there: which hit one, and what the figures of merit compare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reader_study.arrays import Booleans, Floats, Integers
from reader_study.lesion_truth import Lesions
from reader_study.protocol import Protocol
from reader_study.seal import ImageRecord
from reader_study.sheet import Flag
from reader_study.statistics.localisation import UNMARKED
from recon.errors import ReconError


@dataclass(frozen=True)
class MarkedReading:
    """The marks that one reader left in one image; none where nothing was suspected."""

    arm: str
    reader: str
    case: str
    repeat: bool
    marks: tuple[Flag, ...]


@dataclass(frozen=True)
class JudgedMark:
    """A mark with its verdict: the lesion that it hits, from 1, or 0; mm to the nearest, NaN where there is none."""

    reading: MarkedReading
    mark: Flag
    lesion: int
    distance: float


@dataclass(frozen=True)
class Located:
    """Of the item that is answered by marks: ``ratings`` `[arm, reader, slot, case]` as ``statistics.localisation`` has
    them, arm 0 the reference; ``lesions`` `[case]` are how many there are; every mark with its verdict."""

    item: str
    ratings: Floats
    lesions: Integers
    readings: tuple[MarkedReading, ...]
    marks: tuple[JudgedMark, ...]

    @property
    def truth(self) -> Booleans:
        """`[case]`: is there a lesion?"""
        return np.asarray(self.lesions > 0)


def locate(
    protocol: Protocol,
    readings: Sequence[MarkedReading],
    readers: Sequence[str],
    lesions: Mapping[str, Lesions],
    images: Sequence[ImageRecord],
) -> Located:
    """Judge every mark. ``images`` are those of the opened key, which know where they lie.

    Raises ReconError for a key without places, as of a study that was exported without marks.
    """
    rule = protocol.localisation
    assert rule is not None  # the caller has looked
    item, cases = protocol.item(rule.item), list(protocol.case_ids)
    counts = np.array([len(lesions[case].voxels) for case in cases])
    shape = (len(protocol.arm_names), len(readers), 1 + max(int(counts.max()), 1), len(cases))
    ratings = np.full(shape, np.nan)
    affines = {(image.case, image.arm, image.sequence): _affine(image) for image in images}
    judged = []
    for reading in readings:
        found = lesions[reading.case]
        row = np.full(shape[2], np.nan)
        row[: 1 + len(found.voxels)] = UNMARKED
        for mark in reading.marks:
            assert mark.confidence is not None  # the sheet was checked
            place = affines[reading.case, reading.arm, mark.sequence] @ [mark.slice - 1, mark.y, mark.x, 1]
            distances = found.distances(place)
            nearest = int(np.argmin(distances)) if distances.size else 0
            hits = bool(distances.size) and distances[nearest] <= rule.acceptance_mm
            slot = nearest + 1 if hits else 0
            row[slot] = max(row[slot], item.oriented(mark.confidence) - item.scale[0] + 1)
            judged.append(JudgedMark(reading, mark, slot, float(distances[nearest]) if distances.size else np.nan))
        if not reading.repeat:
            at = protocol.arm_names.index(reading.arm), list(readers).index(reading.reader)
            ratings[(*at, slice(None), cases.index(reading.case))] = row
    return Located(item.id, ratings, counts, tuple(readings), tuple(judged))


def _affine(image: ImageRecord) -> Floats:
    if len(image.affine) != 12:
        raise ReconError("the key does not say where the images lie: the study was exported without marks of lesions")
    return np.array(image.affine, np.float64).reshape(3, 4)
