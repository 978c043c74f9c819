"""One simulated person: one head, one shape, one lesion, any number of contrasts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from recon.errors import ReconError
from recon.simulate.anatomy import (
    BRAIN_TISSUES,
    CSF,
    DEEP_GREY,
    FAT,
    GREY,
    MARROW,
    SCALP,
    TISSUES,
    WHITE,
    Anatomy,
)
from recon.simulate.contrast import Sequence, Tissue, draw_sequence, draw_tissues, tissue_signals
from recon.simulate.deformation import random_affine, random_displacement
from recon.simulate.fields import sample_volume, smooth_field
from recon.simulate.lesions import Lesion, draw_lesion, lesion_tissues


@dataclass(frozen=True)
class Subject:
    """A person in the scanner, before any contrast is chosen. Grids are ``[slice, readout, phase]``."""

    name: str
    group: str
    brain: NDArray[np.bool_]
    fractions: NDArray[np.float32] | None  # [tissue, slice, readout, phase]
    measured: Mapping[str, NDArray[np.float32]]  # contrast -> magnitude, for semi-synthetic subjects
    coordinates: NDArray[np.float32]  # [3, slice, readout, phase] approximate MNI mm
    texture: NDArray[np.float32]  # relative variation of the relaxation times, zero mean
    voxel_size: tuple[float, float, float]  # mm along readout, phase, slice
    affine: NDArray[np.float64]  # (readout, phase, slice) index -> RAS+ mm
    positions: NDArray[np.float64]  # mm along the slice axis, from the middle of the head
    tissues: Mapping[str, Tissue]
    lesioned_tissues: Mapping[str, Tissue] | None
    lesion: Lesion | None
    field_strength: float
    facts: Mapping[str, str | float | int]


@dataclass(frozen=True)
class ContrastImage:
    """The magnitude ``[slice, readout, phase]`` (float32, mean over the brain 1) and how it was made."""

    magnitude: NDArray[np.float32]
    sequence: Sequence
    facts: Mapping[str, str | float | int]


def simulate_subject(
    anatomy: Anatomy,
    generator: np.random.Generator,
    *,
    name: str,
    size: int | tuple[int, int] = 192,
    field_of_view: float | None = None,
    slices: int = 8,
    thickness: float | None = None,
    stroke: bool = False,
    territory: str | None = None,
    stage: str | None = None,
    field_strength: float | None = None,
    lowest: float = -18.0,
    highest: float = 62.0,
) -> Subject:
    """Draw a person from ``anatomy``: pose, deformation, sharpened tissue borders, skull, tissue parameters, a lesion.

    ``size`` is (readout, phase) or one number for both; ``field_of_view`` in mm is that of the readout, with square
    pixels (drawn from 220-250 when None). ``slices`` slices of ``thickness`` mm (drawn from 3-5 when None; less where the
    anatomy is thinner) are spread between ``lowest`` and ``highest`` mm MNI height, as far as the anatomy reaches.
    Everything random comes from ``generator``.

    Raises ReconError when the anatomy has no brain there or the lesion's territory is not imaged.
    """
    shape = (size, size) if isinstance(size, int) else size
    if min(shape) < 16 or slices < 1:
        raise ReconError(f"size {shape} and {slices} slices: at least 16 pixels and one slice are needed")
    view = float(generator.uniform(220, 250)) if field_of_view is None else float(field_of_view)
    pixel = view / shape[0]
    heights, thickness, step = _slice_heights(anatomy, slices, thickness, lowest, highest, generator)
    grid_shape, spacing = (len(heights), *shape), (step, pixel, pixel)
    centre, mirrored, coordinates = _pull_back(anatomy, heights, shape, spacing, generator)
    samples = _slab_offsets(anatomy, thickness)

    brain = _slab(anatomy.brain.astype(np.float32), anatomy, coordinates, samples) > 0.5
    if brain.sum() < 50:
        raise ReconError(f"{anatomy.source}, {anatomy.subject}: the chosen slices hold no brain; choose other slices")
    measured = {}
    for key, volume in anatomy.measured.items():
        coarser = [max(pixel / size, 1.0) for size in anatomy.voxel_size[1:]]
        # Sampling a finer image at this pixel size would fold its fine detail: average it first.
        widths = [0.0, *(0.35 * np.sqrt(ratio**2 - 1) for ratio in coarser)]
        measured[key] = _slab(gaussian_filter(volume, widths), anatomy, coordinates, samples)
    fractions = None
    if anatomy.fractions is not None:
        fractions = _tissue_grid(anatomy, coordinates, samples, brain, spacing, generator)
    world = np.tensordot(anatomy.affine[:3, :3], coordinates, 1).astype(np.float32)
    world += anatomy.affine[:3, 3].astype(np.float32)[:, None, None, None]
    texture = 0.6 * smooth_field(grid_shape, spacing, 4.0, generator) + 0.8 * smooth_field(
        grid_shape, spacing, 1.3, generator
    )
    strength = float(field_strength if field_strength is not None else generator.choice([1.5, 3.0]))
    tissues = draw_tissues(strength, generator)
    lesion, lesioned = None, None
    if stroke:
        tissue = _brain_tissue(fractions, brain, measured)
        lesion = draw_lesion(world, tissue, spacing, generator, territory, stage)
        lesioned = lesion_tissues(tissues, lesion.stage, generator)
    facts: dict[str, str | float | int] = {
        "source": anatomy.source,
        "licence": anatomy.licence,
        "kind": anatomy.kind,
        "anatomy": anatomy.subject,
        "field_strength_t": strength,
        "slice_thickness_mm": round(thickness, 3),
        "mirrored": int(mirrored),
    }
    if lesion is not None:
        facts |= {
            "lesion_ml": round(lesion.volume, 3),
            "lesion_territory": lesion.territory,
            "lesion_stage": lesion.stage,
        }
    return Subject(
        name=name,
        # Draws from a group average are as many persons; draws from one real head stay that person.
        group=name if anatomy.probabilistic else anatomy.group,
        brain=brain,
        fractions=fractions,
        measured=measured,
        coordinates=world,
        texture=texture,
        voxel_size=(pixel, pixel, step),
        affine=_scan_affine(shape, pixel, heights, step, centre),
        positions=heights - float(np.mean(heights)),
        tissues=tissues,
        lesioned_tissues=lesioned,
        lesion=lesion,
        field_strength=strength,
        facts=facts,
    )


def contrast_image(subject: Subject, contrast: str, generator: np.random.Generator) -> ContrastImage:
    """The subject's magnitude image in one contrast.

    For a semi-synthetic subject only its measured contrasts are possible. Raises ReconError otherwise.
    """
    sequence = draw_sequence(contrast, generator)
    if subject.fractions is None:
        if contrast not in subject.measured:
            have = ", ".join(sorted(subject.measured))
            raise ReconError(f"{subject.facts['source']}: only {have} was measured, {contrast} cannot be made from it")
        image = subject.measured[contrast].copy()
        if subject.lesion is not None:
            image *= _lesion_ratio(subject, sequence)
    else:
        image = np.abs(_mix(subject, sequence))
    mean = float(image[subject.brain].mean())
    if not np.isfinite(mean) or mean <= 0:
        raise ReconError(f"{subject.facts['source']}: the image has no signal in the brain")
    facts: dict[str, str | float | int] = {
        "sequence": sequence.kind if subject.fractions is not None else "measured",
        "tr_ms": round(sequence.repetition_time, 1),
        "te_ms": round(sequence.echo_time, 1),
    }
    if sequence.inversion_time:
        facts["ti_ms"] = round(sequence.inversion_time, 1)
    if sequence.b_value:
        facts["b_value"] = sequence.b_value
    return ContrastImage((image / mean).astype(np.float32), sequence, facts)


def _mix(subject: Subject, sequence: Sequence) -> NDArray[np.float32]:
    """Signed signal of the mixture: sum over tissues of fraction times signal, with lesion and texture."""
    assert subject.fractions is not None
    fractions = subject.fractions
    healthy = tissue_signals(subject.tissues, sequence)
    image = np.tensordot(healthy, fractions, 1)
    if subject.lesion is not None and subject.lesioned_tissues is not None:
        changed = tissue_signals(subject.lesioned_tissues, sequence)
        indices = [TISSUES.index(name) for name in BRAIN_TISSUES]
        brain = fractions[indices]
        difference = np.tensordot(changed[indices] - healthy[indices], brain, 1)
        image = image + subject.lesion.core * difference
        loss = subject.lesion.core * subject.lesion.cavity
        image = image * (1 - loss) + loss * healthy[CSF] * fractions[[CSF, *indices]].sum(0)
    # Relaxation times vary by a few per cent within a tissue: a first-order change of the signal with T1 and T2.
    slope = _relative_slope(subject.tissues, sequence)
    image = image + 0.04 * subject.texture * np.tensordot(slope * healthy, fractions, 1)
    return image.astype(np.float32)


def _relative_slope(tissues: Mapping[str, Tissue], sequence: Sequence) -> NDArray[np.float32]:
    """d ln S / d ln (T1 and T2 together) of every tissue, bounded: near a null the logarithm has no slope."""
    step = 0.02
    longer = {
        name: replace(tissue, t1=tissue.t1 * (1 + step), t2=tissue.t2 * (1 + step)) for name, tissue in tissues.items()
    }
    before, after = tissue_signals(tissues, sequence), tissue_signals(longer, sequence)
    slope = (after - before) / np.maximum(np.abs(before), 1e-3) / step
    # In fat and skin the texture is structure (septa, follicles), not relaxation: as strong as in muscle.
    slope[[FAT, SCALP, MARROW]] = 3.0
    return np.clip(slope, -3, 3).astype(np.float32)


def _lesion_ratio(subject: Subject, sequence: Sequence) -> NDArray[np.float32]:
    """What a lesion multiplies a measured magnitude with: the ratio of the signal equations for white and grey matter."""
    assert subject.lesion is not None and subject.lesioned_tissues is not None
    indices = [WHITE, GREY]
    healthy = float(np.abs(tissue_signals(subject.tissues, sequence)[indices]).mean())
    changed = float(np.abs(tissue_signals(subject.lesioned_tissues, sequence)[indices]).mean())
    fluid = float(np.abs(tissue_signals(subject.tissues, sequence)[CSF]))
    core, cavity = subject.lesion.core, subject.lesion.cavity
    ratio = 1 + core * (changed / healthy - 1)
    loss = core * cavity
    return (ratio * (1 - loss) + loss * fluid / healthy).astype(np.float32)


def _slice_heights(
    anatomy: Anatomy,
    slices: int,
    thickness: float | None,
    lowest: float,
    highest: float,
    generator: np.random.Generator,
) -> tuple[NDArray[np.float64], float, float]:
    """MNI heights of the slice centres, the slice thickness and the spacing, all in mm."""
    area = anatomy.brain.sum(axis=(1, 2))
    filled = np.flatnonzero(area > 0.35 * area.max())
    ends = anatomy.affine[2, 0] * filled[[0, -1]] + anatomy.affine[2, 3]
    bottom, top = max(float(ends.min()), lowest), min(float(ends.max()), highest)
    if top < bottom:
        bottom, top = float(ends.min()), float(ends.max())
    extent = top - bottom
    drawn = float(generator.uniform(3, 5)) if thickness is None else float(thickness)
    pitch = abs(float(anatomy.affine[2, 0]))
    if _native_slices(anatomy):
        heights = anatomy.affine[2, 0] * filled + anatomy.affine[2, 3]
        filled = filled[(heights >= bottom - 1e-6) & (heights <= top + 1e-6)]
        count = min(slices, len(filled))
        chosen = filled[np.unique(np.linspace(0, len(filled) - 1, count).round().astype(int))]
        heights = anatomy.affine[2, 0] * chosen + anatomy.affine[2, 3]
        return np.sort(heights), pitch, max(extent / max(count - 1, 1), pitch)
    drawn = max(drawn, pitch)
    step = max(drawn * 1.1, min(extent / max(slices, 1), 12.0)) if thickness is None else max(drawn, pitch)
    count = min(slices, int(extent // step) + 1)
    start = bottom + (extent - (count - 1) * step) * generator.uniform(0.35, 0.65)
    return start + step * np.arange(count), drawn, step


def _native_slices(anatomy: Anatomy) -> bool:
    """Whether slices are taken as they are: a thin slab, or slices so thick that between them there is nothing to see."""
    return anatomy.voxel_size[0] >= 2.5 or anatomy.brain.shape[0] * anatomy.voxel_size[0] < 30


def _pull_back(
    anatomy: Anatomy,
    heights: NDArray[np.float64],
    shape: tuple[int, int],
    spacing: tuple[float, float, float],
    generator: np.random.Generator,
) -> tuple[NDArray[np.float64], bool, NDArray[np.float32]]:
    """Where every pixel of the scan comes from: anatomy voxel coordinates ``[3, slice, readout, phase]``.

    Also the world point (mm) at the middle of the in-plane grid, and whether left and right are swapped.
    """
    occupied = np.argwhere(anatomy.brain.any(axis=0))
    middle_row, middle_column = (occupied.min(0) + occupied.max(0)) / 2
    grid = (len(heights), *shape)
    displacement = random_displacement(grid, spacing, generator)
    matrix = random_affine(generator)
    mirrored = bool(matrix[2, 2] < 0)
    if _native_slices(anatomy):
        displacement[0] = 0
        matrix[0], matrix[:, 0] = (1, 0, 0), (1, 0, 0)
    shift = generator.uniform(-5, 5, 2)
    centre_height = float(np.mean(heights))
    through = (heights - centre_height).astype(np.float32)[:, None, None]
    down = ((np.arange(shape[0]) - shape[0] // 2) * spacing[1] + shift[0]).astype(np.float32)[None, :, None]
    across = ((np.arange(shape[1]) - shape[1] // 2) * spacing[2] + shift[1]).astype(np.float32)[None, None, :]
    m = matrix.astype(np.float32)
    coordinates = np.empty((3, *grid), np.float32)
    origins = ((centre_height - anatomy.affine[2, 3]) / anatomy.affine[2, 0], middle_row, middle_column)
    direction = float(np.sign(anatomy.affine[2, 0]))
    for axis in range(3):
        moved = m[axis, 0] * through + m[axis, 1] * down + m[axis, 2] * across + displacement[axis]
        pitch = anatomy.voxel_size[axis] * (direction if axis == 0 else 1.0)
        coordinates[axis] = moved / np.float32(pitch) + np.float32(origins[axis])
    centre = anatomy.affine[:3, :3] @ np.array(origins) + anatomy.affine[:3, 3]
    return centre, mirrored, coordinates


def _slab_offsets(anatomy: Anatomy, thickness: float) -> NDArray[np.float32]:
    """Offsets in voxels along the slice axis whose mean is the slice profile: one every 1.2 mm or so."""
    count = max(int(round(thickness / max(anatomy.voxel_size[0], 1.2))), 1)
    if thickness <= anatomy.voxel_size[0]:
        return np.zeros(1, np.float32)
    return (((np.arange(count) + 0.5) / count - 0.5) * thickness / anatomy.voxel_size[0]).astype(np.float32)


def _slab(
    volume: NDArray[np.float32],
    anatomy: Anatomy,
    coordinates: NDArray[np.float32],
    offsets: NDArray[np.float32],
    outside: float = 0.0,
) -> NDArray[np.float32]:
    total = np.zeros(coordinates.shape[1:], np.float32)
    shift = np.zeros((3, 1, 1, 1), np.float32)
    for offset in offsets:
        shift[0] = offset
        total += sample_volume(volume, coordinates + shift, outside)
    return total / len(offsets)


def _tissue_grid(
    anatomy: Anatomy,
    coordinates: NDArray[np.float32],
    offsets: NDArray[np.float32],
    brain: NDArray[np.bool_],
    spacing: tuple[float, float, float],
    generator: np.random.Generator,
) -> NDArray[np.float32]:
    assert anatomy.fractions is not None
    fractions = np.stack(
        [
            _slab(volume, anatomy, coordinates, offsets)
            if volume.any()
            else np.zeros(coordinates.shape[1:], np.float32)
            for volume in anatomy.fractions
        ]
    )
    if anatomy.probabilistic:
        fractions = _own_boundaries(fractions, spacing, generator)
    if anatomy.distance is not None:
        distance = _slab(anatomy.distance, anatomy, coordinates, offsets[len(offsets) // 2 : len(offsets) // 2 + 1], 60.0)
        _add_skull(fractions, distance, brain, spacing, generator)
    return fractions


def _own_boundaries(
    fractions: NDArray[np.float32], spacing: tuple[float, float, float], generator: np.random.Generator
) -> NDArray[np.float32]:
    """Tissue borders of one person from a group average: the average says how likely a tissue is at a place, a smooth
    random field picks one, and a soft threshold leaves the partial volume of a voxel at the border."""
    brain = fractions[[CSF, GREY, WHITE, DEEP_GREY]]
    total = brain.sum(0)
    score = np.log(brain + 0.02)
    for index, strength in ((0, 0.9), (1, 0.7), (2, 0.7)):
        fine = smooth_field(total.shape, spacing, 2.2, generator) + 0.5 * smooth_field(
            total.shape, spacing, 5.0, generator
        )
        score[index] += strength * fine
    score *= 2.6
    score -= score.max(0)
    weight = np.exp(score)
    weight /= weight.sum(0)
    # A tissue that the average rules out stays out: no grey matter inside a ventricle.
    weight *= brain > 0.01
    weight *= total / np.maximum(weight.sum(0), 1e-3)
    result = fractions.copy()
    result[[CSF, GREY, WHITE, DEEP_GREY]] = weight
    return result


def _add_skull(
    fractions: NDArray[np.float32],
    distance: NDArray[np.float32],
    brain: NDArray[np.bool_],
    spacing: tuple[float, float, float],
    generator: np.random.Generator,
) -> None:
    """Fill in, by distance from the brain: CSF, inner table, marrow, outer table, muscle, fat, skin."""

    def thickness(mean: float, spread: float, roughness: float = 0.2) -> NDArray[np.float32]:
        own = mean * float(np.exp(spread * generator.standard_normal()))
        return own * (1 + roughness * np.clip(smooth_field(distance.shape, spacing, 18.0, generator), -2, 2))

    def layer(start: NDArray[np.float32], end: NDArray[np.float32]) -> NDArray[np.float32]:
        soft = 0.45 * spacing[1]
        rise = np.clip((distance - start) / soft + 0.5, 0, 1)
        return rise * np.clip((end - distance) / soft + 0.5, 0, 1)

    free = np.clip(1 - fractions.sum(0), 0, 1)
    csf_end = thickness(1.8, 0.3, 0.35)
    inner_end = csf_end + thickness(1.8, 0.15)
    marrow_end = inner_end + thickness(2.6, 0.3, 0.35)
    outer_end = marrow_end + thickness(1.8, 0.15)
    fat_end = outer_end + thickness(3.8, 0.35, 0.3)
    skin_end = fat_end + thickness(1.8, 0.15)
    fractions[CSF] += layer(np.full_like(distance, -60), csf_end) * free
    fractions[MARROW] += layer(inner_end, marrow_end) * free
    septa = np.clip(0.85 + 0.12 * smooth_field(distance.shape, spacing, 1.5, generator), 0.4, 1)
    fractions[FAT] += layer(outer_end, fat_end) * septa * free
    fractions[SCALP] += layer(outer_end, fat_end) * (1 - septa) * free + layer(fat_end, skin_end) * free


def _brain_tissue(
    fractions: NDArray[np.float32] | None, brain: NDArray[np.bool_], measured: Mapping[str, NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Fraction of brain tissue without CSF; of a measured image only an estimate by intensity."""
    if fractions is not None:
        return fractions[[TISSUES.index(name) for name in BRAIN_TISSUES]].sum(0)
    tissue = brain.astype(np.float32)
    for contrast, image in measured.items():
        typical = float(np.median(image[brain]))
        low, high = (0.55, 9.0) if contrast != "T2" else (0.4, 1.9)
        tissue *= (image > low * typical) & (image < high * typical)
    return gaussian_filter(tissue, (0, 0.6, 0.6))


def _scan_affine(
    shape: tuple[int, int], pixel: float, heights: NDArray[np.float64], step: float, centre: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(readout, phase, slice) index to RAS+ mm: readout towards posterior, phase towards the patient's left."""
    affine = np.eye(4)
    affine[:3, 0] = (0, -pixel, 0)
    affine[:3, 1] = (-pixel, 0, 0)
    affine[:3, 2] = (0, 0, step)
    affine[:3, 3] = (
        centre[0] + pixel * (shape[1] // 2),
        centre[1] + pixel * (shape[0] // 2),
        heights[0],
    )
    return affine
