"""Each subject's own shape: a small affine change and a smooth random displacement without folds."""

import numpy as np
from numpy.typing import NDArray

from recon.simulate.fields import smooth_field

# Largest |d displacement / dx| per component: below 1/3 in every entry, the Jacobian I + G stays diagonally dominant,
# so the map has no fold.
_STEEPEST = 0.3


def random_affine(generator: np.random.Generator, rotation: float = 6.0, scale: float = 0.05) -> NDArray[np.float64]:
    """A 3x3 matrix (slice, row, column in mm about the head's centre): rotations of up to about ``rotation`` degrees in
    the plane and a third of that through it, scalings of standard deviation ``scale``, and a mirror (left-right) half
    of the time."""
    angles = np.deg2rad(rotation) * generator.uniform(-1, 1, 3) * np.array([1.0, 1 / 3, 1 / 3])
    matrix = np.diag(np.exp(scale * generator.standard_normal(3)))
    for axis, angle in enumerate(angles):
        first, second = (a for a in range(3) if a != axis)
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    if generator.random() < 0.5:
        matrix[:, 2] *= -1
    return matrix


def random_displacement(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    generator: np.random.Generator,
    amplitude: float = 2.6,
    length: float = 32.0,
) -> NDArray[np.float32]:
    """A smooth displacement in mm, ``[3, slice, row, column]`` along (slice, row, column).

    The sum of a wide (``length`` mm) and a fine (a third of it) Gaussian field, of standard deviation ``amplitude`` and
    a fifth of that; scaled down where its steepest gradient would fold the image. Raises nothing.
    """
    wide, fine = np.float32(amplitude), np.float32(0.2 * amplitude)
    field: NDArray[np.float32] = np.stack(
        [
            wide * smooth_field(shape, spacing, length, generator)
            + fine * smooth_field(shape, spacing, length / 3, generator)
            for _ in range(3)
        ]
    )
    steepest = 0.0
    for axis, pitch in enumerate(spacing):
        if shape[axis] > 1:
            steepest = max(steepest, float(np.abs(np.diff(field, axis=axis + 1)).max()) / pitch)
    return field * np.float32(min(1.0, _STEEPEST / max(steepest, 1e-6)))
