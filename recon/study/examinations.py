"""Examinations of two planes: axial and sagittal studies of one name on a network's grids, and what it is given."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.encode.volumes import onto_reference
from recon.errors import ReconError
from recon.progress import Report, silent
from recon.study.contrasts import DIRECTIONS, Plane
from recon.study.images import Reconstructions, b_value_of
from recon.study.options import PlanesFitOptions
from recon.study.plane_network import Planes
from recon.study.preparation import prepared_studies
from recon.study.table import Study
from recon.study.volume import StudyVolume, study_volume

SAGITTAL = "sagittal "  # before the name of a series that was resampled


@dataclass(frozen=True, eq=False)
class Examination:
    """What was measured of one person at one time, by plane; series resampled to axial slices lie there, by a name that
    says so."""

    name: str
    person: str
    lesion: bool
    values: Mapping[Plane, StudyVolume]

    def channels(self, plane: Plane, contrasts: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """``[channel, slice, height, width]`` with zeros for what is missing, and which channels are there."""
        volume = self.values[plane]
        stacked = np.zeros((len(contrasts), *volume.values.shape[1:]), np.float32)
        there = np.zeros(len(contrasts), np.float32)
        for number, name in enumerate(contrasts):
            if name in volume.contrasts:
                stacked[number], there[number] = volume.values[volume.contrasts.index(name)], 1
        return stacked, there

    def outline(self, plane: Plane) -> NDArray[np.bool_] | None:
        """``[slice, height, width]``, the lesion in this plane's slices; None where only known that there is one."""
        volume = self.values[plane]
        if volume.lesion is None and not self.lesion:
            return np.zeros(volume.values.shape[1:], bool)
        return volume.lesion


def pairs_of(studies: Sequence[Study]) -> list[tuple[Study, Study]]:
    """Axial and sagittal studies of one name of which it is known whether they show a lesion. Raises ReconError when
    there is no pair, or one is of two persons."""
    by_name: dict[str, dict[Plane, Study]] = {}
    for study in studies:
        by_name.setdefault(study.name, {})[study.plane] = study
    pairs = [(found["axial"], found["sagittal"]) for found in by_name.values() if set(found) == set(DIRECTIONS)]
    if not pairs:
        raise ReconError(
            "no study was measured in both planes; simulate with --plane both, or give rows of one study with both in "
            "the table's column plane"
        )
    for axial, sagittal in pairs:
        if axial.person != sagittal.person:
            raise ReconError(
                f"study {axial.name}: axial of {axial.person}, sagittal of {sagittal.person}; one is right"
            )
    return [pair for pair in pairs if has_lesion(pair) is not None]


def has_lesion(pair: tuple[Study, Study]) -> bool | None:
    """Whether the examination shows a lesion: what either plane's table says; None where neither says it."""
    known = {study.shows_lesion for study in pair} - {None}
    return any(known) if known else None


def examinations(
    pairs: Sequence[tuple[Study, Study]],
    reconstructions: Reconstructions,
    options: PlanesFitOptions,
    report: Report = silent,
) -> list[Examination]:
    """Both planes of each pair on their grids, or all on the axial one. Raises ReconError when one cannot be read."""
    found = []
    for number, (axial, sagittal) in enumerate(pairs):
        report("preparing studies", number / len(pairs))
        (first,) = prepared_studies([axial], reconstructions, options.grid)
        values: dict[Plane, StudyVolume]
        if options.resampled:
            values = {"axial": _resampled(first, axial, sagittal, reconstructions, options)}
        else:
            grid = dataclasses.replace(options.grid, plane="sagittal")
            (other,) = prepared_studies([sagittal], reconstructions, grid)
            values = {"axial": first, "sagittal": other}
        reconstructions.opened.clear()
        found.append(Examination(axial.name, axial.person, bool(has_lesion((axial, sagittal))), values))
    return found


def _resampled(
    first: StudyVolume, axial: Study, sagittal: Study, reconstructions: Reconstructions, options: PlanesFitOptions
) -> StudyVolume:
    """The axial volume with the sagittal series, interpolated onto its slices, as series of their own."""
    import warnings

    reference = reconstructions.quick(next(iter(axial.files.values())))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it is interpolated is what was asked for
        series = {
            contrast: onto_reference(reconstructions.quick(path), reference, resample=True)
            for contrast, path in sagittal.files.items()
        }
    unlabelled = dataclasses.replace(sagittal, lesion=None, labelled=False)
    other = study_volume(unlabelled, series, b_value_of(sagittal, reconstructions), options.grid)
    return dataclasses.replace(
        first,
        contrasts=(*first.contrasts, *(SAGITTAL + name for name in other.contrasts)),
        values=np.concatenate([first.values, other.values]),
    )


def names_by_plane(contrasts: Sequence[str], resampled: bool) -> dict[Plane, tuple[str, ...]]:
    """The series of each plane's channels."""
    if resampled:
        return {"axial": (*contrasts, *(SAGITTAL + name for name in contrasts))}
    return {"axial": tuple(contrasts), "sagittal": tuple(contrasts)}


def given_planes(
    one: Examination, names: Mapping[Plane, Sequence[str]], planes: Sequence[Plane], device: str = "cpu"
) -> Planes:
    """What a network is given of an examination of which only ``planes`` were measured."""
    given: dict[Plane, tuple[Tensor, Tensor]] = {}
    for plane, series in names.items():
        kept = [name for name in series if ("sagittal" if name.startswith(SAGITTAL) else plane) in planes]
        stacked, there = one.channels(plane, series)
        absent = [number for number, name in enumerate(series) if name not in kept]
        stacked[absent], there[absent] = 0, 0
        if there.any():
            given[plane] = torch.from_numpy(stacked).to(device), torch.from_numpy(there).to(device)
    return given
