"""Slices of other planes: a person is drawn as a whole head once, and slices of either plane are cut from it.

An axial cohort draws each person on its own few slices, which is faster. Cut from one whole head, axial and sagittal
slices show one person and one lesion. The head ends above the neck.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.simulate.anatomy import Anatomy
from recon.simulate.fields import sample_volume
from recon.simulate.lesion_files import LesionFiles
from recon.simulate.lesions import Lesion
from recon.simulate.options import Plane, SimulationOptions
from recon.simulate.prescription import HEIGHTS, SlicePrescription, field_of_view, native_slices, scan_affine, spread
from recon.simulate.subject import Subject, subject_on

WHOLE = (-66.0, 96.0)  # mm, MNI: from below the cerebellum to above the scalp
HEAD = (236.0, 190.0)  # mm from front to back and from side to side, scalp included
SIDES = (-58.0, 58.0)  # mm, MNI: sagittal slices lie between them
FINEST = 2.0  # mm between the planes of a whole head, at least
PROFILE = 1.2  # mm between the samples whose mean is a slice


def whole_subject(
    anatomy: Anatomy,
    name: str,
    options: SimulationOptions,
    generator: np.random.Generator,
    lesion_files: LesionFiles | None = None,
) -> Subject:
    """Draw a person on a grid that holds the whole head, with pixels of the size that the slices will have.

    Raises ReconError for an anatomy whose slices are too thick or too few to be cut otherwise, and as
    ``recon.simulate.subject``.
    """
    if native_slices(anatomy):
        raise ReconError(
            f"{anatomy.source}, {anatomy.subject}: its slices are too thick or too few to be cut into another plane; "
            "use --plane axial"
        )
    pixel = field_of_view(options, generator) / options.size[0]
    step = max(pixel, FINEST)
    heights = np.arange(WHOLE[0], WHOLE[1], step)
    rows, columns = (int(np.ceil(length / pixel)) for length in HEAD)
    prescription = SlicePrescription(heights, step, (step, pixel, pixel), (rows, columns))
    return subject_on(anatomy, name, options, prescription, generator, lesion_files, strokes=HEIGHTS)


def cut(whole: Subject, plane: Plane, options: SimulationOptions, generator: np.random.Generator) -> Subject:
    """The person on slices of ``plane``. Raises ReconError for a matrix that cuts the head off."""
    pixel = whole.voxel_size[0]
    places, thickness, step = _places(plane, options, generator)
    prescription = SlicePrescription(places, thickness, (step, pixel, pixel), options.size, plane)
    prescription.require_the_head_to_fit()
    affine = scan_affine(prescription, _middle(whole))
    index = _index(whole, prescription.shape, affine)
    offsets = _profile(thickness)
    along = np.linalg.inv(whole.affine)[:3, :3] @ (affine[:3, 2] / step)  # of the whole grid's voxels, per mm

    def averaged(volume: NDArray[Any]) -> NDArray[np.float32]:
        values = np.asarray(volume, np.float32).transpose(1, 2, 0)  # in the order of the affine
        moved = (index + (offset * along).astype(np.float32)[:, None, None, None] for offset in offsets)
        return np.mean([sample_volume(values, place) for place in moved], axis=0, dtype=np.float32)

    world = np.stack([_clamped(axis, index) for axis in whole.coordinates])
    fractions = None if whole.fractions is None else np.stack([averaged(tissue) for tissue in whole.fractions])
    towards = 1.0 if plane == "axial" else -1.0  # sagittal slices run to the left, their places to the right
    return replace(
        whole,
        brain=averaged(whole.brain) > 0.5,
        fractions=fractions,
        measured={contrast: averaged(image) for contrast, image in whole.measured.items()},
        coordinates=world,
        texture=_clamped(whole.texture, index),
        voxel_size=(pixel, pixel, step),
        thickness=thickness,
        affine=affine,
        positions=towards * (places - float(np.mean(places))),
        lesion=None if whole.lesion is None else _lesion(whole.lesion, averaged, pixel * pixel * step / 1000),
        plane=plane,
    )


def _places(
    plane: Plane, options: SimulationOptions, generator: np.random.Generator
) -> tuple[NDArray[np.floating], float, float]:
    """Where the slices' middles lie, in the order of the slices, their thickness and their spacing, in mm."""
    bottom, top = HEIGHTS if plane == "axial" else SIDES
    drawn = float(generator.uniform(3, 5)) if options.thickness is None else float(options.thickness)
    places, step = spread(bottom, top, options.slices, drawn, options.thickness is None, generator)
    return (places if plane == "axial" else places[::-1]), drawn, step


def _middle(whole: Subject) -> NDArray[np.float64]:
    """RAS+ mm of the middle of the brain, from front to back and from top to bottom; the midline of the grid."""
    inside = np.argwhere(whole.brain)  # slice, readout, phase
    low, high = inside.min(0), inside.max(0)
    ends = np.array([[end[1], end[2], end[0], 1] for end in (low, high)], float) @ whole.affine.T
    return np.asarray(ends.mean(0)[:3], np.float64)


def _index(whole: Subject, shape: tuple[int, int, int], affine: NDArray[np.float64]) -> NDArray[np.float32]:
    """``[3, slice, readout, phase]``: the whole grid's (readout, phase, slice) index of each pixel."""
    slices, readout, phase = np.indices(shape)
    index = np.linalg.inv(whole.affine) @ affine
    moved = np.tensordot(index[:3, :3], np.stack([readout, phase, slices]), 1) + index[:3, 3][:, None, None, None]
    return np.asarray(moved, np.float32)


def _profile(thickness: float) -> NDArray[np.float64]:
    """Places in mm about a slice's middle whose mean is the slice."""
    count = max(round(thickness / PROFILE), 1)
    return ((np.arange(count) + 0.5) / count - 0.5) * thickness


def _clamped(volume: NDArray[np.float32], index: NDArray[np.float32]) -> NDArray[np.float32]:
    """``volume`` [slice, readout, phase] at the slices' middles; beyond its edge that of the edge."""
    values = volume.transpose(1, 2, 0)
    ends = np.array(values.shape, np.float32)[:, None, None, None] - 1
    return sample_volume(values, np.clip(index, 0, ends))


def _lesion(whole: Lesion, averaged: Callable[[NDArray[Any]], NDArray[np.float32]], voxel_ml: float) -> Lesion:
    mask = averaged(whole.mask) > 0.5
    return replace(
        whole, core=averaged(whole.core), cavity=averaged(whole.cavity), mask=mask,
        volume=float(mask.sum()) * voxel_ml,
    )  # fmt: skip
