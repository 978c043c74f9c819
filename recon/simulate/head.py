"""One person's tissues on the grid of the scan: own tissue borders, sulci, skull and scalp."""

import numpy as np
from numpy.typing import NDArray

from recon.simulate.anatomy import CSF, DEEP_GREY, FAT, GREY, MARROW, SCALP, WHITE, Anatomy
from recon.simulate.fields import smooth_field
from recon.simulate.pose import Pose


def tissue_grid(
    anatomy: Anatomy,
    pose: Pose,
    spacing: tuple[float, float, float],
    generator: np.random.Generator,
) -> NDArray[np.float32]:
    """Tissue fractions ``[tissue, slice, readout, phase]`` of one person on the grid of the scan.

    ``spacing`` is mm along slice, readout, phase; the anatomy must hold fractions.
    """
    assert anatomy.fractions is not None
    fractions = np.stack(
        [
            pose.slab_average(volume) if volume.any() else np.zeros(pose.coordinates.shape[1:], np.float32)
            for volume in anatomy.fractions
        ]
    )
    distance = pose.middle_of_slab(anatomy.distance, 60.0) if anatomy.distance is not None else None
    if anatomy.probabilistic:
        fractions = _own_boundaries(fractions, distance, spacing, generator)
    if distance is not None:
        _add_skull(fractions, distance, spacing, generator)
    return fractions


def _own_boundaries(
    fractions: NDArray[np.float32],
    distance: NDArray[np.float32] | None,
    spacing: tuple[float, float, float],
    generator: np.random.Generator,
) -> NDArray[np.float32]:
    """Tissue borders of one person from a group average: the average says how likely a tissue is at a place, a smooth
    random field picks one, and a soft threshold leaves the partial volume of a voxel at the border.

    An average has lost the sulci, which no two people share. Within 16 mm of the surface (``distance`` in mm, negative
    inside) they are put back as the zero lines of a random field: CSF on the line, cortex beside it.
    """
    brain = fractions[[CSF, GREY, WHITE, DEEP_GREY]]
    total = brain.sum(0)
    score = np.log(brain + 0.02)
    for index, strength in ((0, 0.9), (1, 0.7), (2, 0.7)):
        fine = smooth_field(total.shape, spacing, 2.2, generator) + 0.5 * smooth_field(
            total.shape, spacing, 5.0, generator
        )
        score[index] += strength * fine
    if distance is not None:
        cortical = np.clip((distance + 17) / 4, 0, 1) * (distance < 3) * np.clip((brain[1] + brain[0] - 0.25) * 4, 0, 1)
        line = _line_distance(smooth_field(total.shape, spacing, 6.5, generator), spacing)
        width = np.clip(0.7 + 0.35 * smooth_field(total.shape, spacing, 12.0, generator), 0.1, 1.6)
        score[0] += cortical * 2.6 * _step(width - line, 0.5)
        score[1] += cortical * 1.4 * _step(3.2 - line, 0.8)
        score[2] += cortical * 1.0 * _step(line - 3.4, 0.8)
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


def _line_distance(field: NDArray[np.float32], spacing: tuple[float, float, float]) -> NDArray[np.float32]:
    """Distance in mm from the zero lines of ``field`` in each slice, to first order: |f| / |grad f|."""
    down, across = np.gradient(field, spacing[1], spacing[2], axis=(1, 2))
    return np.abs(field) / np.maximum(np.hypot(down, across), 0.02)


def _step(depth: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    """0 to 1 around ``depth`` = 0, over some ``width`` mm."""
    return np.clip(depth / width * 0.5 + 0.5, 0, 1)


def _add_skull(
    fractions: NDArray[np.float32],
    distance: NDArray[np.float32],
    spacing: tuple[float, float, float],
    generator: np.random.Generator,
) -> None:
    """Fill in, by ``distance`` in mm from the brain: CSF, inner table, marrow, outer table, muscle, fat, skin."""

    def thickness(mean: float, variation: float, roughness: float = 0.2) -> NDArray[np.float32]:
        own = mean * float(np.exp(variation * generator.standard_normal()))
        return own * (1 + roughness * np.clip(smooth_field(distance.shape, spacing, 18.0, generator), -2, 2))

    def layer(start: NDArray[np.float32], end: NDArray[np.float32]) -> NDArray[np.float32]:
        soft = 0.45 * spacing[1]
        rise = np.clip((distance - start) / soft + 0.5, 0, 1)
        return rise * np.clip((end - distance) / soft + 0.5, 0, 1)

    free = np.clip(1 - fractions.sum(0), 0, 1)
    csf_end = thickness(1.1, 0.3, 0.35)
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
