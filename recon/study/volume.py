"""A study on the grid of a network: pixels of one size, slices as measured, intensities standardised series by series.

Nothing is taken from one series for another, so a study without a series is what a scanner without it would give.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.encode.geometry import axis_codes, check_volume, orient, resample_onto
from recon.encode.latent_prediction.preparation import head_mask, intensity_map, standardise
from recon.encode.volumes import Series, onto_reference
from recon.errors import ReconError
from recon.images.grid import on_grid
from recon.images.references import read_lesions
from recon.images.slice_axis import header_slice_axis, single_slice_axis, voxel_spacing
from recon.study.contrasts import DIRECTIONS, UNWEIGHTED, in_order
from recon.study.diffusion import apparent_diffusion
from recon.study.options import GridOptions
from recon.study.table import Study

ADC_MEAN, ADC_STANDARD_DEVIATION = 1.0, 0.6  # um^2/ms, about those of a head


@dataclass(frozen=True, eq=False)
class StudyVolume:
    """What a network takes of a study, and what is known of its lesion."""

    name: str
    person: str
    contrasts: tuple[str, ...]
    values: NDArray[np.float32]  # [contrast, slice, height, width], standardised
    lesion: NDArray[np.bool_] | None  # [slice, height, width]; None where it is not known
    voxel_ml: float
    lesion_age: str | None = None  # where it is known

    @property
    def lesion_ml(self) -> float | None:
        """Volume of the lesion on this grid; None where it is not known."""
        return None if self.lesion is None else float(self.lesion.sum()) * self.voxel_ml


@dataclass(frozen=True, eq=False)
class Placement:
    """The grid of a study: that of its first series, turned upright, at the network's pixels."""

    reference: Series
    shape: tuple[int, int, int]  # width, height, slice
    affine: NDArray[np.float64]

    @property
    def voxel_ml(self) -> float:
        """Each slice is taken to fill the slice spacing."""
        return float(np.prod(voxel_spacing(self.affine))) / 1000

    def put(self, values: NDArray[np.floating], affine: NDArray[np.float64]) -> NDArray[np.float32]:
        """``[readout, phase, slice]`` on this grid, as ``[slice, height, width]``."""
        placed = resample_onto(np.asarray(values, np.float32), affine, self.shape, self.affine)
        return np.ascontiguousarray(placed.transpose(2, 1, 0))


def place(series: Mapping[str, Series], study: Study, options: GridOptions) -> Placement:
    """The grid of a study. Raises ReconError when a series has no place in space, or is of another plane."""
    first = next(iter(series))
    reference = series[first]
    where = f"study {study.name}, {first}"
    check_volume(np.abs(reference.values), reference.affine, where, least_slices=1)
    affine = np.asarray(reference.affine, np.float64)
    axis = (single_slice_axis(reference.values.shape) or header_slice_axis(affine)).axis
    _, turned, source = orient(reference.values, affine, DIRECTIONS[options.plane])
    if int(source[2]) != axis:
        raise ReconError(
            f"{where}: its slices are not {options.plane} (axes run to {axis_codes(affine)}, slices along axis {axis})"
            "; a table names the plane of a study in its column plane, a recipe that of a network (grid: plane)"
        )
    old = np.array([reference.values.shape[index] for index in source])
    step = np.array([options.pixel, options.pixel, voxel_spacing(turned)[2]])
    shape = np.array([options.matrix[1], options.matrix[0], old[2]])
    target = turned.copy()
    target[:3, :3] *= step / np.array(voxel_spacing(turned))
    # The middles of both fields of view coincide.
    target[:3, 3] = turned[:3, :3] @ ((old - 1) / 2) + turned[:3, 3] - target[:3, :3] @ ((shape - 1) / 2)
    return Placement(reference, (int(shape[0]), int(shape[1]), int(shape[2])), target)


def study_volume(
    study: Study, series: Mapping[str, Series], b_value: float | None, options: GridOptions
) -> StudyVolume:
    """The series ``{contrast: series}`` of a study on the network's grid.

    Raises ReconError when series lie on other grids (unless ``options.resample``), cannot be placed, or are empty.
    """
    placement = place(series, study, options)
    on_one: dict[str, Series] = {}
    for contrast, one in series.items():
        where = f"study {study.name}, {contrast}"
        check_volume(np.abs(one.values), one.affine, where, least_slices=1)
        try:
            on_one[contrast] = onto_reference(one, placement.reference, resample=options.resample)
        except ReconError as error:
            raise ReconError(f"{where}: {error}") from error
    values: dict[str, NDArray[np.float32]] = {}
    affine = np.asarray(placement.reference.affine, np.float64)
    for contrast, one in on_one.items():
        if contrast == UNWEIGHTED:
            weighted, unweighted = np.abs(on_one["DWI"].values), np.abs(one.values)
            if b_value is None:
                raise ReconError(f"study {study.name}: no b-value is known, so no ADC follows")
            adc = placement.put(apparent_diffusion(weighted, unweighted, b_value), affine)
            inside = head_mask(np.maximum(placement.put(unweighted, affine), 0))
            values["ADC"] = _standard_adc(np.where(inside, adc, 0))
        elif contrast == "ADC":
            values["ADC"] = _standard_adc(_in_um2_per_ms(placement.put(one.values, affine)))
        else:
            values[contrast] = _standard(placement.put(np.abs(one.values), affine), study, contrast)
    order = in_order(values)
    lesion = _lesion(study, placement)
    return StudyVolume(
        study.name,
        study.person,
        order,
        np.stack([values[c] for c in order]),
        lesion,
        placement.voxel_ml,
        study.lesion_age,
    )


def _standard(placed: NDArray[np.float32], study: Study, contrast: str) -> NDArray[np.float32]:
    placed = np.maximum(placed, 0)  # splines overshoot
    head = head_mask(placed)
    try:
        # Air differs with how coils are combined (a noise floor, or zeros where coil maps end); heads do not.
        return standardise(np.where(head, placed, 0), intensity_map(placed, head))
    except ReconError as error:
        raise ReconError(f"study {study.name}, {contrast}: {error}") from error


def _standard_adc(adc: NDArray[np.float32]) -> NDArray[np.float32]:
    """An ADC is a quantity: its scale is that of physics, not that of the image."""
    return ((np.clip(adc, 0, 4) - ADC_MEAN) / ADC_STANDARD_DEVIATION).astype(np.float32)


def _in_um2_per_ms(adc: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scanners store ADC maps in um^2/s (a brain has about 800), in um^2/ms, or in mm^2/s."""
    typical = float(np.median(adc[adc > 0])) if (adc > 0).any() else 1.0
    scale = 1e-3 if typical > 20 else 1e3 if typical < 0.02 else 1.0
    return (adc * np.float32(scale)).astype(np.float32)


def _lesion(study: Study, placement: Placement) -> NDArray[np.bool_] | None:
    if not study.labelled:
        return None
    width, height, slices = placement.shape
    if study.lesion is None:
        return np.zeros((slices, height, width), bool)
    reference = placement.reference
    shape = np.moveaxis(reference.values, -1, 0).shape
    mask = on_grid(read_lesions(study.lesion), shape, reference.affine, "lesion mask")
    affine = np.asarray(reference.affine, np.float64)
    return placement.put(np.moveaxis(mask > 0, 0, -1).astype(np.float32), affine) > 0.5
