"""Receive coils: circular loops on a helmet, their fields by the Biot-Savart law."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom

from recon.simulate.options import Plane

_SEGMENTS = 24
_COARSE = 28  # points an axis at which the fields are computed; they are smooth, so splines do the rest


def coil_maps(
    positions: NDArray[np.floating],
    shape: tuple[int, int],
    voxel_size: tuple[float, float],
    coils: int,
    generator: np.random.Generator,
    plane: Plane = "axial",
) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """Sensitivities of ``coils`` loops for slices at ``positions`` (mm from the array's centre; axial ones
    upwards, sagittal ones towards the left).

    ``shape`` and ``voxel_size`` (mm) are (readout, phase). Loops of 45-75 mm radius sit on a helmet about 135 mm from
    the axis, in one ring up to 10 coils, in two beyond. The sensitivity is the transverse field B_x - i B_y of unit
    current (reciprocity: Hoult and Richards, J Magn Reson 24:71, 1976), each coil with a random receiver phase and
    gain.

    Returns the maps ``[slice, coil, readout, phase]`` complex64 with sum_c |S_c|^2 = 1 everywhere, and the root sum of
    squares they had before, ``[slice, readout, phase]`` float32 with unit mean: the receive shading.
    """
    rings = 1 if coils <= 10 else 2
    ring = np.arange(coils) % rings
    angle = 2 * np.pi * (np.arange(coils) / coils) + generator.uniform(0, 2 * np.pi) + generator.normal(0, 0.08, coils)
    height = (ring - (rings - 1) / 2) * 90 + generator.normal(0, 8, coils)
    distance = 135 + generator.normal(0, 6, coils)
    radius = np.clip(2.2 * np.pi * 135 / max(coils / rings, 5) / 2, 45, 75) * np.exp(generator.normal(0, 0.08, coils))
    gain = np.exp(generator.normal(0, 0.12, coils)) * np.exp(2j * np.pi * generator.random(coils))

    size = [min(_COARSE, count) for count in shape]
    # Centres of the pixels of the coarse grid that covers the same field of view.
    down, across = (
        (np.arange(s) + 0.5) * (count * pitch / s) - count * pitch / 2
        for s, count, pitch in zip(size, shape, voxel_size, strict=True)
    )
    # Cubic splines are separable: one matrix an axis does what interpolating each map would, many times faster.
    interpolation = [
        zoom(np.eye(s, dtype=np.float32), (count / s, 1), order=3, grid_mode=True, mode="nearest")
        for s, count in zip(size, shape, strict=True)
    ]
    maps = np.empty((len(positions), coils, *shape), np.complex64)
    for index, through in enumerate(positions):
        # x to the left, y backwards, z along the axis of the helmet (and of the main field).
        if plane == "axial":
            points = np.stack(np.broadcast_arrays(across[None, :], down[:, None], np.float64(through)), -1)
        else:
            points = np.stack(np.broadcast_arrays(np.float64(through), across[None, :], -down[:, None]), -1)
        for coil in range(coils):
            field = gain[coil] * _loop_field(points, angle[coil], height[coil], distance[coil], radius[coil])
            maps[index, coil] = interpolation[0] @ field.astype(np.complex64) @ interpolation[1].T
    total = np.sqrt(np.sum(np.abs(maps) ** 2, axis=1))
    maps /= total[:, None]
    return maps, (total / total.mean()).astype(np.float32)


def _loop_field(
    points: NDArray[np.floating], angle: float, height: float, distance: float, radius: float
) -> NDArray[np.complex128]:
    """B_x - i B_y at ``points`` [..., 3] of a loop facing the axis, by summing straight segments."""
    outward = np.array([np.cos(angle), np.sin(angle), 0.0])
    tangent = np.array([-np.sin(angle), np.cos(angle), 0.0])
    turn = 2 * np.pi * (np.arange(_SEGMENTS + 1)) / _SEGMENTS
    wire = (
        distance * outward
        + np.array([0.0, 0.0, height])
        + radius * (np.cos(turn)[:, None] * tangent + np.sin(turn)[:, None] * np.array([0.0, 0.0, 1.0]))
    )
    element = np.diff(wire, axis=0)
    middle = (wire[1:] + wire[:-1]) / 2
    away = points[..., None, :] - middle
    # Softened by 15 mm: the conductor is a strip outside the head, and a point on the wire has no infinite field.
    weight = (np.sum(away**2, axis=-1) + 15.0**2) ** -1.5
    field_x = np.sum((element[:, 1] * away[..., 2] - element[:, 2] * away[..., 1]) * weight, axis=-1)
    field_y = np.sum((element[:, 2] * away[..., 0] - element[:, 0] * away[..., 2]) * weight, axis=-1)
    return field_x - 1j * field_y
